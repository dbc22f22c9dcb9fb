package telemetry

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// newExporter makes what sends spans, as the standard variables say. Both results are
// nil when they ask for none; the error says why what they ask for cannot be done.
func newExporter(o Options) (sdktrace.SpanExporter, error) {
	endpoint := cmp.Or(o.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), o.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT"))
	exporter := o.Getenv("OTEL_TRACES_EXPORTER")
	if endpoint == "" || exporter == "none" || strings.EqualFold(o.Getenv("OTEL_SDK_DISABLED"), "true") {
		return nil, nil
	}
	protocol := cmp.Or(o.Getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), o.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL"))
	switch {
	case exporter != "" && exporter != "otlp":
		return nil, fmt.Errorf("OTEL_TRACES_EXPORTER=%s is not served: otlp is", exporter)
	case protocol != "" && protocol != "http/protobuf":
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL=%s is not served: http/protobuf is, usually on port 4318", protocol)
	}
	if u, err := url.Parse(endpoint); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_ENDPOINT=%s is no address like http://collector:4318", endpoint)
	}
	if err := checkSampler(o); err != nil {
		return nil, err
	}
	e, err := otlptracehttp.New(context.Background())
	if err != nil {
		return nil, fmt.Errorf("set up the sending of traces: %w", err)
	}
	return e, nil
}

// checkSampler says why the sampler that the variables ask for cannot be used: the
// library would trace every request instead.
func checkSampler(o Options) error {
	name, arg := o.Getenv("OTEL_TRACES_SAMPLER"), o.Getenv("OTEL_TRACES_SAMPLER_ARG")
	switch name {
	case "", "always_on", "always_off", "parentbased_always_on", "parentbased_always_off":
		return nil
	case "traceidratio", "parentbased_traceidratio":
		if v, err := strconv.ParseFloat(arg, 64); arg != "" && (err != nil || !(v >= 0 && v <= 1)) {
			return fmt.Errorf("OTEL_TRACES_SAMPLER_ARG=%s is not a number from 0 to 1", arg)
		}
		return nil
	}
	return fmt.Errorf("OTEL_TRACES_SAMPLER=%s is not known: always_on, always_off, traceidratio and each with parentbased_ in front are", name)
}

// trace begins to trace into an exporter. The library reads the other variables:
// OTEL_TRACES_SAMPLER, OTEL_BSP_*, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES.
func (t *Telemetry) trace(e sdktrace.SpanExporter) {
	// Later detectors win.
	about, err := resource.New(context.Background(), resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", "lazyolo"), attribute.String("service.version", t.o.Version)), resource.WithFromEnv())
	if err != nil {
		t.o.Log.Warn("OTEL_RESOURCE_ATTRIBUTES cannot be followed", "err", err)
	}
	t.provider = sdktrace.NewTracerProvider(sdktrace.WithResource(about), sdktrace.WithBatcher(&quietExporter{SpanExporter: e, t: t}))
	t.tracer = t.provider.Tracer("lazyolo")
}

// quietEvery is how often at most a failing collector is logged.
const quietEvery = time.Minute

// A quietExporter counts failures and logs the first of each minute, where the library
// would write every one to standard error.
type quietExporter struct {
	sdktrace.SpanExporter
	t *Telemetry

	mu   sync.Mutex
	last time.Time
}

// ExportSpans implements sdktrace.SpanExporter; it does not fail.
func (e *quietExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	if err == nil {
		return nil
	}
	e.t.m.lostSpans.Inc()
	e.mu.Lock()
	defer e.mu.Unlock()
	if now := time.Now(); now.Sub(e.last) >= quietEvery {
		e.last = now
		e.t.o.Log.Warn("the collector takes no spans", "lost", len(spans), "err", err)
	}
	return nil
}
