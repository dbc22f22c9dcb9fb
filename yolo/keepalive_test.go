package yolo_test

import (
	"testing"
	"time"

	"lazyolo/yolo"
)

func TestParseKeepAlive(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"10m": 10 * time.Minute, "0": 0, "0s": 0, "-1": yolo.KeepAliveForever, " 90 ": 90 * time.Second,
		"1.5": 1500 * time.Millisecond, "24h": 24 * time.Hour, "250ms": 250 * time.Millisecond,
	} {
		if got, ok := yolo.ParseKeepAlive(text); !ok || got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "-2", "-1s", "25h", "1e300", "-1e300", "NaN", "Inf", "soon", "10 m", "-1.0"} {
		if got, ok := yolo.ParseKeepAlive(text); ok {
			t.Errorf("%q: taken as %v", text, got)
		}
	}
}
