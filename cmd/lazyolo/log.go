package main

import (
	"io"
	"log/slog"

	"lazyolo/internal/config"
	"lazyolo/internal/telemetry"
)

// newLogger writes a line of text or of JSON per record, of level at least, with the id
// of the request that it is about.
func newLogger(c *config.Config, w io.Writer, level slog.Leveler) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if c.LogFormat == config.LogJSON {
		return slog.New(telemetry.LogHandler(slog.NewJSONHandler(w, o)))
	}
	return slog.New(telemetry.LogHandler(slog.NewTextHandler(w, o)))
}
