package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"lazyolo/internal/telemetry"
	"lazyolo/yolo"
)

// telemetryTable measures what metrics, request ids and traces take of a request: a
// handler around a fake detector, alone and in the server's telemetry, in turns.
func telemetryTable(ctx context.Context, out *report, b *work) error {
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	defer collector.Close()
	var none, off, on, all sample
	for i := range b.rounds.told {
		progress("telemetry, round %d of %d", i+1, b.rounds.told)
		for _, v := range []struct {
			into *sample
			vars []string
		}{
			{&none, nil}, {&off, []string{}},
			{&on, []string{"OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL, "OTEL_TRACES_SAMPLER", "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG", "0.1"}},
			{&all, []string{"OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL, "OTEL_TRACES_SAMPLER", "always_on"}},
		} {
			took, err := told(ctx, v.vars, b.rounds.telling)
			if err != nil {
				return err
			}
			*v.into = append(*v.into, took)
		}
	}
	extra := func(s sample) (out sample) {
		for i, v := range s {
			out = append(out, v-none[i])
		}
		return out
	}
	out.section("Telemetry", fmt.Sprintf(
		"Processor time of a request of a fake detector beyond that of the same without telemetry, %d requests in each of %d rounds, in turns: with a log line, six spans where it is traced (more than the queue holds are dropped), a scrape for every 1,000, sending and the collector's receiving included.",
		b.rounds.telling, b.rounds.told))
	out.table([]figure{
		{what: "metrics and ids, tracing off", in: inMicros, measured: extra(off), most: 300e-6, spread: true},
		{what: "the same, tracing 10 %", in: inMicros, measured: extra(on), most: 1000e-6, spread: true},
		{what: "the same, tracing all", in: inMicros, measured: extra(all), spread: true},
	})
	return nil
}

// fakeDetector answers at once.
type fakeDetector struct{}

func (fakeDetector) Detect(context.Context, yolo.Request) (*yolo.Result, error) {
	return &yolo.Result{Took: yolo.Took{Began: time.Now(), Memory: time.Microsecond, Decode: time.Millisecond, Run: 10 * time.Millisecond}}, nil
}

// told is the processor time in seconds of one of n requests, with the variables vars
// of telemetry, names and values in turn; nil: without telemetry.
func told(ctx context.Context, vars []string, n int) (float64, error) {
	for i := 0; i < len(vars); i += 2 {
		if err := os.Setenv(vars[i], vars[i+1]); err != nil { // the library reads them itself
			return 0, err
		}
		defer os.Unsetenv(vars[i])
	}
	m := &yolo.Model{ID: "model_0"}
	t, err := telemetry.New(telemetry.Options{
		Log: slog.New(slog.DiscardHandler), Getenv: os.Getenv,
		Model: func(string) (*yolo.Model, bool) { return m, true },
		State: func() telemetry.State { return telemetry.State{Ready: true} },
	})
	if err != nil {
		return 0, err
	}
	var detector telemetry.Detector = fakeDetector{}
	if vars != nil {
		detector = t.Watch(detector)
	}
	lines := slog.Handler(slog.NewJSONHandler(io.Discard, nil))
	if vars != nil {
		lines = telemetry.LogHandler(lines)
	}
	log := slog.New(lines)
	var handler http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = detector.Detect(r.Context(), yolo.Request{Model: "model_0"})
		log.InfoContext(r.Context(), "request", "path", r.URL.Path)
		w.WriteHeader(http.StatusOK)
	})
	if vars != nil {
		handler = t.Handler(handler, func(r *http.Request) (string, string) { return "old", r.URL.Path })
	}
	scrape, metrics := httptest.NewRequest(http.MethodGet, "/metrics", nil), t.Metrics()
	before, err := ownTime()
	if err != nil {
		return 0, err
	}
	for i := range n {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/api/v2/detect", nil)
		if err != nil {
			return 0, err
		}
		handler.ServeHTTP(&discard{header: make(http.Header)}, r)
		if i%1000 == 999 && vars != nil {
			metrics.ServeHTTP(&discard{header: make(http.Header)}, scrape)
		}
	}
	if err := t.Shutdown(ctx); err != nil {
		return 0, err
	}
	after, err := ownTime()
	return (after - before).Seconds() / float64(n), err
}

// ownTime is the processor time this process has used so far.
func ownTime() (time.Duration, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
