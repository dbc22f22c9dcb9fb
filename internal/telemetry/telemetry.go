// Package telemetry tells operators what the server does: metrics in Prometheus'
// text format, traces to an OpenTelemetry collector, and request ids that tie the
// answer, the log and the trace of one request together. No other package imports
// the libraries for these.
//
// Handler goes around all doors, Watch around the detector, Transition and Decide
// are a pool's hooks, LogHandler goes around the log's handler, and Metrics answers
// a scrape. What is known without being told is asked for at each scrape
// (Options.State).
//
// # Labels are bounded
//
// Nothing that a client can choose freely becomes a label. A model is named by its
// folder once it was used; after maxModels of them the rest count as "other".
// Routes come from the doors' tables. Methods, outcomes, reasons and states are
// fixed lists.
//
// # Traces
//
// The standard variables OTEL_* decide (see docs/en/operations.md). Without an
// endpoint there is no tracer, and a request pays nothing for it. With one, spans
// are handed to a queue that drops what it cannot hold: a collector that is slow or
// down is logged once a minute and counted, and delays no request.
package telemetry

import (
	"context"
	"errors"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"lazyolo/yolo"
)

// Options configures New. All but Getenv are required.
type Options struct {
	Log     *slog.Logger
	Version string
	// Model finds a model by what a request calls it.
	Model func(id string) (*yolo.Model, bool)
	// State is asked at each scrape; it must not block for long.
	State func() State
	// Getenv finds the OTEL_* variables; nil: there are none, and so no traces.
	Getenv func(string) string
}

// A Telemetry counts, traces and names requests. Its methods may be called
// concurrently; none waits for a collector but Shutdown.
type Telemetry struct {
	o        Options
	registry *prometheus.Registry
	m        *metrics
	provider *sdktrace.TracerProvider // nil: no traces
	tracer   trace.Tracer             // nil: no traces
}

// New makes a Telemetry. Variables that cannot be followed are warned of and leave
// tracing off: they may be meant for other programs. The caller must Shutdown.
func New(o Options) (*Telemetry, error) {
	if o.Log == nil || o.Model == nil || o.State == nil {
		return nil, errors.New("telemetry: New needs Options.Log, Model and State")
	}
	if o.Getenv == nil {
		o.Getenv = func(string) string { return "" }
	}
	t := &Telemetry{o: o, registry: prometheus.NewRegistry()}
	t.m = newMetrics(t.registry, o)
	exporter, why := newExporter(o)
	if why != nil {
		o.Log.Warn("no traces are sent", "err", why)
	}
	if exporter != nil {
		t.trace(exporter)
	}
	return t, nil
}

// Tracing reports whether traces are sent.
func (t *Telemetry) Tracing() bool { return t.tracer != nil }

// Shutdown sends the spans that wait and ends tracing, no later than ctx.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	if t.provider == nil {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		t.o.Log.Warn("the last spans are lost", "err", err)
	}
	return nil
}
