package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"lazyolo/yolo"
)

// A Detector looks for objects in one picture.
type Detector interface {
	Detect(ctx context.Context, r yolo.Request) (*yolo.Result, error)
}

// A Watched is a detector whose calls are counted and traced.
type Watched struct {
	detector Detector
	t        *Telemetry
}

// Watch has the calls of d counted and traced.
func (t *Telemetry) Watch(d Detector) *Watched { return &Watched{d, t} }

// Detect asks the detector.
func (w *Watched) Detect(ctx context.Context, r yolo.Request) (*yolo.Result, error) {
	ctx, c := w.t.call(ctx, "detect", r.Model)
	result, err := w.detector.Detect(ctx, r)
	if err != nil {
		c.end(yolo.Took{}, false, err)
		return nil, err
	}
	c.end(result.Took, result.Cold, nil)
	return result, nil
}

// Infer counts and traces an inference of tensors, which run does.
func (w *Watched) Infer(ctx context.Context, model string, run func(context.Context) error) error {
	ctx, c := w.t.call(ctx, "infer", model)
	err := run(ctx)
	c.end(yolo.Took{}, false, err)
	return err
}

// A call is one inference on its way.
type call struct {
	t     *Telemetry
	model string
	start time.Time
	ctx   context.Context // holds span; the parent of the stages
	span  trace.Span      // nil: not traced
}

// call opens the record of an inference through the model that a request names.
func (t *Telemetry) call(ctx context.Context, what, model string) (context.Context, *call) {
	c := &call{t: t, model: "unknown", start: time.Now()}
	if m, ok := t.o.Model(model); ok {
		c.model = t.m.models.of(folder(m))
	}
	if t.tracer != nil && trace.SpanFromContext(ctx).IsRecording() {
		ctx, c.span = t.tracer.Start(ctx, what, trace.WithTimestamp(c.start), trace.WithAttributes(attribute.String("lazyolo.model", c.model)))
	}
	c.ctx = ctx
	return ctx, c
}

// end closes the record. took is where the time went, its zero where that is not
// known: then there are no stages. err is nil for a call that succeeded.
func (c *call) end(took yolo.Took, cold bool, err error) {
	m := c.t.m
	outcome := "ok"
	if err != nil {
		outcome = string(yolo.CodeOf(err))
	}
	m.inferences.WithLabelValues(c.model, outcome).Inc()
	if err == nil {
		m.inferred.WithLabelValues(c.model).Observe(time.Since(c.start).Seconds())
		if cold {
			m.cold.WithLabelValues(c.model).Inc()
		}
		if !took.Began.IsZero() {
			for _, s := range stages(took) {
				m.stages[s.name].Observe(s.took.Seconds())
			}
		}
	}
	if c.span == nil {
		return
	}
	c.span.SetAttributes(attribute.String("lazyolo.outcome", outcome), attribute.Bool("lazyolo.cold", cold))
	if err != nil {
		c.span.SetStatus(codes.Error, outcome) // an error's text may hold what only the log may
	}
	c.stageSpans(took)
	c.span.End()
}

// stageSpans makes a span of each stage, as they followed each other.
func (c *call) stageSpans(took yolo.Took) {
	if took.Began.IsZero() {
		return
	}
	at := took.Began
	for _, s := range stages(took) {
		_, span := c.t.tracer.Start(c.ctx, s.name, trace.WithTimestamp(at))
		at = at.Add(s.took)
		span.End(trace.WithTimestamp(at))
	}
}

// A stage is a part of a call.
type stage struct {
	name string
	took time.Duration
}

// stages lists the parts of a call in their order.
func stages(t yolo.Took) [4]stage {
	return [...]stage{{stageLoad, t.Load}, {stageMemory, t.Memory}, {stageDecode, t.Decode}, {stageRun, t.Run}}
}
