package main

import (
	"io"
	"log/slog"

	"lazyolo/internal/config"
)

// newLogger writes a line of text or of JSON per record, of level at least.
func newLogger(c *config.Config, w io.Writer, level slog.Leveler) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if c.LogFormat == config.LogJSON {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
