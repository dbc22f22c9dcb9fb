package telemetry

import (
	"context"
	"log/slog"
)

// LogHandler has every record that is logged with a request's context carry its
// request_id and, where the request is part of a trace, its trace_id.
func LogHandler(h slog.Handler) slog.Handler { return logHandler{h} }

type logHandler struct{ slog.Handler }

// Handle implements slog.Handler.
func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	if id := identityOf(ctx); id != nil {
		r = r.Clone() // its attributes may be shared
		r.AddAttrs(slog.String("request_id", id.request))
		if id.trace != "" {
			r.AddAttrs(slog.String("trace_id", id.trace))
		}
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h logHandler) WithGroup(name string) slog.Handler { return logHandler{h.Handler.WithGroup(name)} }
