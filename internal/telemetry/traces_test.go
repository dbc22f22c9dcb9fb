package telemetry

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"lazyolo/yolo"
)

// A span is what the tests look at.
type span struct {
	Name, Parent string
	Start, Took  time.Duration // Start is since the request came
}

// traced serves one request with tracing on and returns its spans.
func traced(t *testing.T, header http.Header, detect detectFunc) []tracetest.SpanStub {
	t.Helper()
	tel := newTest(t, nil)
	exporter := tracetest.NewInMemoryExporter()
	tel.trace(exporter)
	d := tel.Watch(detect)
	h := tel.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := d.Detect(r.Context(), yolo.Request{Model: "model_0"}); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}), func(r *http.Request) (string, string) { return "old", r.URL.Path })
	r := httptest.NewRequest("POST", "/api/v2/detect", nil)
	r.Header = header
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if err := tel.provider.ForceFlush(t.Context()); err != nil {
		t.Fatal(err)
	}
	spans := exporter.GetSpans()
	for _, s := range spans {
		if id := s.SpanContext.TraceID().String(); !strings.Contains(w.Header().Get("Traceparent"), id) {
			t.Errorf("%s is of trace %s, the answer says %s", s.Name, id, w.Header().Get("Traceparent"))
		}
	}
	return spans
}

func TestASpanPerStage(t *testing.T) {
	var began time.Time
	spans := traced(t, http.Header{"Traceparent": {traceParent}}, func(context.Context, yolo.Request) (*yolo.Result, error) {
		began = time.Now().Add(2 * time.Millisecond)
		return &yolo.Result{Took: yolo.Took{Began: began, Load: 5 * time.Millisecond, Memory: time.Millisecond, Decode: 3 * time.Millisecond, Run: 10 * time.Millisecond}}, nil
	})
	names := make(map[string]string)
	for _, s := range spans {
		names[s.SpanContext.SpanID().String()] = s.Name
		if s.SpanContext.TraceID().String() != parentTrace {
			t.Errorf("%s does not follow the caller's trace", s.Name)
		}
	}
	var got []span
	for _, s := range spans {
		parent := names[s.Parent.SpanID().String()]
		if s.Parent.SpanID().String() == parentSpan {
			parent = "caller"
		}
		v := span{Name: s.Name, Parent: parent}
		if parent == "detect" { // the others take as long as they take
			v.Start, v.Took = s.StartTime.Sub(began), s.EndTime.Sub(s.StartTime)
		}
		got = append(got, v)
	}
	ms := time.Millisecond
	want := []span{ // in the order of their ends
		{"load", "detect", 0, 5 * ms}, {"memory", "detect", 5 * ms, ms}, {"decode", "detect", 6 * ms, 3 * ms}, {"run", "detect", 9 * ms, 10 * ms},
		{Name: "detect", Parent: "POST /api/v2/detect"}, {Name: "POST /api/v2/detect", Parent: "caller"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// An error's text may hold paths; it stays out of what leaves the machine.
func TestAFailureIsMarkedWithoutItsText(t *testing.T) {
	spans := traced(t, http.Header{}, func(context.Context, yolo.Request) (*yolo.Result, error) {
		return nil, &yolo.Error{Code: yolo.LoadFailed, Msg: "cannot open", Err: errors.New("/secret/path")}
	})
	if len(spans) != 2 {
		t.Fatalf("%d spans", len(spans))
	}
	for _, s := range spans {
		if s.Status.Code.String() != "Error" || strings.Contains(s.Status.Description, "secret") {
			t.Errorf("%s: %+v", s.Name, s.Status)
		}
	}
}

// A caller that does not record its trace has no spans here either, but keeps its ids.
func TestACallersDecisionHolds(t *testing.T) {
	header := http.Header{"Traceparent": {strings.TrimSuffix(traceParent, "01") + "00"}}
	spans := traced(t, header, func(context.Context, yolo.Request) (*yolo.Result, error) { return &yolo.Result{}, nil })
	if len(spans) != 0 {
		t.Errorf("%d spans", len(spans))
	}
}

// env is an environment.
func env(vars ...string) func(string) string {
	m := make(map[string]string)
	for _, v := range vars {
		name, value, _ := strings.Cut(v, "=")
		m[name] = value
	}
	return func(name string) string { return m[name] }
}

func TestWhatTheVariablesAskFor(t *testing.T) {
	const at = "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1"
	for _, c := range []struct {
		vars []string
		on   bool
		warn string
	}{
		{},
		{vars: []string{at}, on: true},
		{vars: []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://collector/v1/traces"}, on: true},
		{vars: []string{at, "OTEL_SDK_DISABLED=true"}},
		{vars: []string{at, "OTEL_SDK_DISABLED=TRUE"}},
		{vars: []string{at, "OTEL_SDK_DISABLED=false", "OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"}, on: true},
		{vars: []string{at, "OTEL_TRACES_EXPORTER=none"}},
		{vars: []string{at, "OTEL_TRACES_EXPORTER=zipkin"}, warn: "OTEL_TRACES_EXPORTER=zipkin"},
		{vars: []string{at, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}, warn: "4318"},
		{vars: []string{at, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf"}, on: true},
		{vars: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=collector:4318"}, warn: "OTEL_EXPORTER_OTLP_ENDPOINT=collector:4318"},
		{vars: []string{at, "OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=0.1"}, on: true},
		{vars: []string{at, "OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=10"}, warn: "OTEL_TRACES_SAMPLER_ARG=10"},
		{vars: []string{at, "OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=NaN"}, warn: "OTEL_TRACES_SAMPLER_ARG=NaN"},
		{vars: []string{at, "OTEL_TRACES_SAMPLER=sometimes"}, warn: "OTEL_TRACES_SAMPLER=sometimes"},
	} {
		t.Run(strings.Join(c.vars, " "), func(t *testing.T) {
			var log bytes.Buffer
			tel := newTest(t, func(o *Options) { o.Getenv, o.Log = env(c.vars...), slog.New(slog.NewTextHandler(&log, nil)) })
			if tel.Tracing() != c.on {
				t.Errorf("tracing is %v", tel.Tracing())
			}
			if c.warn == "" && log.Len() > 0 || !strings.Contains(log.String(), c.warn) {
				t.Errorf("logged %q, want %q", log.String(), c.warn)
			}
		})
	}
}

// A blockedExporter takes spans only when its context ends.
type blockedExporter struct{ sdktrace.SpanExporter }

func (blockedExporter) ExportSpans(ctx context.Context, _ []sdktrace.ReadOnlySpan) error {
	<-ctx.Done()
	return ctx.Err()
}
func (blockedExporter) Shutdown(context.Context) error { return nil }

// A collector that takes nothing delays neither requests nor the end for long.
func TestACollectorThatHangs(t *testing.T) {
	tel := newTest(t, nil)
	tel.trace(blockedExporter{})
	h := tel.Handler(http.NotFoundHandler(), func(*http.Request) (string, string) { return "old", "/x" })
	start := time.Now()
	for range 10_000 { // five times what the queue holds
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/x", nil))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := tel.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
}

// A collector that is down is logged once, not with each batch, and counted.
func TestACollectorThatIsDown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	l.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
	var log lockedBuffer
	tel := newTest(t, func(o *Options) {
		o.Getenv, o.Log = env("OTEL_EXPORTER_OTLP_ENDPOINT="+url), slog.New(slog.NewTextHandler(&log, nil))
	})
	for range 3 {
		_, end := tel.Begin(t.Context(), "old", "/x", "GET", func(string) string { return "" })
		end("200")
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		_ = tel.provider.ForceFlush(ctx)
		cancel()
	}
	has(t, scrape(t, tel), "lazyolo_trace_export_failures_total 3")
	if n := strings.Count(log.String(), "takes no spans"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, log.String())
	}
}

// A lockedBuffer may be written while it is read.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
