package telemetry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"lazyolo/yolo"
)

// models are the catalog of the tests.
func models(id string) (*yolo.Model, bool) {
	if !strings.HasPrefix(id, "model_") {
		return nil, false
	}
	return &yolo.Model{ID: id}, true
}

// busy is a State with something of everything.
func busy() State {
	return State{
		Ready: true, Budget: 1000, Free: 300, Resident: 600, Ledger: map[string]int64{"base": 100, "mapped": 500}, Unexplained: 7,
		WaitLoad: 2, WaitMemory: 1, Catalog: 3,
		Models: []yolo.Status{
			{Model: &yolo.Model{ID: "model_0"}, State: yolo.Ready, Warm: true, Mapped: 40, Private: 4, Leases: 1},
			{Model: &yolo.Model{ID: "model_0/one2one"}, State: yolo.Ready, Private: 5},
			{Model: &yolo.Model{ID: "model_1"}, State: yolo.Failed},
		},
		Preheated: 4, PreheatUsed: 3, CacheBytes: 99, CacheModels: 2,
	}
}

func newTest(t *testing.T, change func(*Options)) *Telemetry {
	t.Helper()
	o := Options{Log: slog.New(slog.DiscardHandler), Version: "test", Model: models, State: busy}
	if change != nil {
		change(&o)
	}
	tel, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tel.Shutdown(context.Background()) })
	return tel
}

// detectFunc is a Detector that is a function.
type detectFunc func(context.Context, yolo.Request) (*yolo.Result, error)

func (f detectFunc) Detect(ctx context.Context, r yolo.Request) (*yolo.Result, error) {
	return f(ctx, r)
}

// exercise moves every metric.
func exercise(t *testing.T, tel *Telemetry) {
	t.Helper()
	m := &yolo.Model{ID: "model_0"}
	tel.Transition(yolo.Transition{Model: m, From: yolo.Queued, To: yolo.Loading})
	tel.Transition(yolo.Transition{Model: m, From: yolo.Loading, To: yolo.Ready})
	tel.Transition(yolo.Transition{Model: m, From: yolo.Queued, To: yolo.Failed, Err: yolo.Errorf(yolo.TooBig, "x")})
	tel.Decide(yolo.Decision{Kind: yolo.Closed, Model: m, Cause: yolo.ForRoom})
	tel.Decide(yolo.Decision{Kind: yolo.Cooled, Model: m, Cause: yolo.Unused})
	tel.Decide(yolo.Decision{Kind: yolo.Refused, Model: m, Cause: yolo.Cause(yolo.TooBig)})
	d := tel.Watch(detectFunc(func(context.Context, yolo.Request) (*yolo.Result, error) {
		return &yolo.Result{Cold: true, Took: yolo.Took{Began: time.Now(), Load: 300 * time.Millisecond, Run: 20 * time.Millisecond}}, nil
	}))
	h := tel.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := d.Detect(r.Context(), yolo.Request{Model: "model_0"}); err != nil {
			t.Error(err)
		}
	}), func(r *http.Request) (string, string) { return "old", r.URL.Path })
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/api/v2/detect", nil))
}

// scrape is what Metrics answers, without the lines of comments.
func scrape(t *testing.T, tel *Telemetry) string {
	t.Helper()
	w := httptest.NewRecorder()
	tel.Metrics().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	return regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(w.Body.String(), "")
}

// has checks for lines of a scrape.
func has(t *testing.T, scraped string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if !strings.Contains("\n"+scraped, "\n"+l+"\n") {
			t.Errorf("no line %q in\n%s", l, scraped)
		}
	}
}

func TestWhatIsCounted(t *testing.T) {
	tel := newTest(t, nil)
	exercise(t, tel)
	has(t, scrape(t, tel),
		`lazyolo_requests_total{door="old",method="POST",route="/api/v2/detect",status="2xx"} 1`,
		`lazyolo_request_duration_seconds_count{door="old",route="/api/v2/detect"} 1`,
		`lazyolo_requests_in_flight 0`,
		`lazyolo_inferences_total{model="model_0",outcome="ok"} 1`,
		`lazyolo_inference_duration_seconds_count{model="model_0"} 1`,
		`lazyolo_cold_starts_total{model="model_0"} 1`,
		`lazyolo_stage_duration_seconds_sum{stage="load"} 0.3`,
		`lazyolo_stage_duration_seconds_bucket{stage="run",le="0.01"} 0`,
		`lazyolo_stage_duration_seconds_bucket{stage="run",le="0.025"} 1`,
		`lazyolo_stage_duration_seconds_count{stage="decode"} 1`,
		`lazyolo_model_loads_total{model="model_0",outcome="ok"} 1`,
		`lazyolo_model_loads_total{model="model_0",outcome="too_big"} 1`,
		`lazyolo_model_load_duration_seconds_count 1`,
		`lazyolo_model_evictions_total{model="model_0",reason="room"} 1`,
		`lazyolo_model_coolings_total{model="model_0",reason="unused"} 1`,
		`lazyolo_refusals_total{reason="too_big"} 1`,
		`lazyolo_ready 1`,
		`lazyolo_memory_budget_bytes 1000`, `lazyolo_memory_free_bytes 300`, `lazyolo_memory_resident_bytes 600`, `lazyolo_memory_unexplained_bytes 7`,
		`lazyolo_memory_ledger_bytes{kind="mapped"} 500`,
		`lazyolo_queue_requests{wait="load"} 2`, `lazyolo_queue_requests{wait="memory"} 1`,
		`lazyolo_catalog_models 3`,
		`lazyolo_models{state="ready"} 1`, `lazyolo_models{state="cool"} 1`, `lazyolo_models{state="failed"} 1`, `lazyolo_models{state="loading"} 0`,
		`lazyolo_model_memory_bytes{kind="private",model="model_0"} 9`, // both heads
		`lazyolo_model_memory_bytes{kind="mapped",model="model_0"} 40`,
		`lazyolo_model_requests{model="model_0"} 1`,
		`lazyolo_preheat_loads_total 4`, `lazyolo_preheat_hits_total 3`,
		`lazyolo_prepared_cache_bytes 99`, `lazyolo_prepared_cache_models 2`,
	)
}

// gathered is every family of ours.
func gathered(t *testing.T, tel *Telemetry) []*dto.MetricFamily {
	t.Helper()
	all, err := tel.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var ours []*dto.MetricFamily
	for _, f := range all {
		if strings.HasPrefix(f.GetName(), "lazyolo_") {
			ours = append(ours, f)
		}
	}
	return ours
}

func TestMetricsKeepTheConventions(t *testing.T) {
	tel := newTest(t, nil)
	exercise(t, tel)
	all := gathered(t, tel)
	if len(all) < 25 {
		t.Errorf("only %d metrics were exercised", len(all))
	}
	problems, err := promlint.NewWithMetricFamilies(all).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, f := range all {
		if !strings.HasSuffix(f.GetHelp(), ".") {
			t.Errorf("%s: the help %q is no sentence", f.GetName(), f.GetHelp())
		}
	}
}

// Whatever clients ask for, the number of series is bounded.
func TestSeriesAreBounded(t *testing.T) {
	tel := newTest(t, nil)
	d := tel.Watch(detectFunc(func(context.Context, yolo.Request) (*yolo.Result, error) {
		return nil, yolo.Errorf(yolo.NotFound, "no")
	}))
	h := tel.Handler(http.NotFoundHandler(), func(r *http.Request) (string, string) { return "old", r.URL.Path })
	for i := range maxRoutes + maxModels {
		_, _ = d.Detect(t.Context(), yolo.Request{Model: fmt.Sprintf("model_%d", i)})
		_, _ = d.Detect(t.Context(), yolo.Request{Model: fmt.Sprintf("garbage %d", i)})
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(fmt.Sprintf("VERB%d", i), fmt.Sprintf("/%d", i), nil))
		tel.Decide(yolo.Decision{Kind: yolo.Refused, Model: &yolo.Model{ID: "model_0"}, Cause: yolo.Cause(fmt.Sprint(i))})
	}
	most := map[string]int{
		"lazyolo_inferences_total": maxModels + 2, "lazyolo_requests_total": maxRoutes + 1,
		"lazyolo_request_duration_seconds": maxRoutes + 1, "lazyolo_refusals_total": maxCauses + 1,
	}
	seen := 0
	for _, f := range gathered(t, tel) {
		if n, ok := most[f.GetName()]; ok {
			seen++
			if len(f.GetMetric()) > n {
				t.Errorf("%s has %d series, more than %d", f.GetName(), len(f.GetMetric()), n)
			}
		}
	}
	if seen != len(most) {
		t.Errorf("only %d of %d metrics are there", seen, len(most))
	}
	has(t, scrape(t, tel),
		`lazyolo_inferences_total{model="other",outcome="not_found"} 200`,
		`lazyolo_inferences_total{model="unknown",outcome="not_found"} 400`,
		`lazyolo_requests_total{door="old",method="other",route="other",status="4xx"} 200`)
}

// A folder's name need not be text.
func TestAnyFolderCanBeALabel(t *testing.T) {
	tel := newTest(t, nil)
	tel.Decide(yolo.Decision{Kind: yolo.Closed, Model: &yolo.Model{ID: "模型\xff"}, Cause: yolo.Asked})
	has(t, scrape(t, tel), `lazyolo_model_evictions_total{model="模型?",reason="asked"} 1`)
}

func TestFailuresAreCountedByCode(t *testing.T) {
	tel := newTest(t, nil)
	for _, err := range []error{yolo.Errorf(yolo.NoRoom, "x"), context.Canceled, errors.New("x")} {
		d := tel.Watch(detectFunc(func(context.Context, yolo.Request) (*yolo.Result, error) { return nil, err }))
		if _, got := d.Detect(t.Context(), yolo.Request{Model: "model_1"}); got != err {
			t.Errorf("got %v, want %v", got, err)
		}
	}
	scraped := scrape(t, tel)
	has(t, scraped, `lazyolo_inferences_total{model="model_1",outcome="no_room"} 1`,
		`lazyolo_inferences_total{model="model_1",outcome="canceled"} 1`, `lazyolo_inferences_total{model="model_1",outcome="internal"} 1`)
	if strings.Contains(scraped, "lazyolo_inference_duration_seconds_count{") {
		t.Error("failures are in the durations of what succeeded")
	}
}

const (
	parentTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	parentSpan  = "00f067aa0ba902b7"
	traceParent = "00-" + parentTrace + "-" + parentSpan + "-01"
)

func TestRequestIDs(t *testing.T) {
	made := regexp.MustCompile(`^[0-9a-f]{32}$`)
	for _, c := range []struct {
		name, id, parent string
		want             string // "" for one that is made
	}{
		{name: "none"},
		{name: "given", id: "order-7/a.b:c_d+e=f@g~h", want: "order-7/a.b:c_d+e=f@g~h"},
		{name: "longest", id: strings.Repeat("x", maxID), want: strings.Repeat("x", maxID)},
		{name: "too long", id: strings.Repeat("x", maxID+1)},
		{name: "line break", id: "a\nlevel=ERROR"},
		{name: "space", id: "a b"},
		{name: "quote", id: `a"b`},
		{name: "not ASCII", id: "订单"},
		{name: "of the trace", parent: traceParent, want: parentTrace},
		{name: "both", id: "mine", parent: traceParent, want: "mine"},
		{name: "bad parent", parent: "00-zz-zz-01"},
		{name: "parent of zeros", parent: "00-" + strings.Repeat("0", 32) + "-" + parentSpan + "-01"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tel := newTest(t, nil)
			var log bytes.Buffer
			logger := slog.New(LogHandler(slog.NewJSONHandler(&log, nil)))
			h := tel.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				logger.InfoContext(r.Context(), "in work")
			}), func(*http.Request) (string, string) { return "old", "/x" })
			r := httptest.NewRequest("GET", "/x", nil)
			if c.id != "" {
				r.Header["X-Request-Id"] = []string{c.id}
			}
			if c.parent != "" {
				r.Header.Set("Traceparent", c.parent)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			got := w.Header().Get("X-Request-ID")
			if c.want != "" && got != c.want || c.want == "" && !made.MatchString(got) {
				t.Errorf("the answer's id is %q, want %q", got, c.want)
			}
			wantParent := ""
			if c.parent == traceParent {
				wantParent = traceParent
			}
			if p := w.Header().Get("Traceparent"); p != wantParent {
				t.Errorf("the answer's traceparent is %q, want %q", p, wantParent)
			}
			line := log.String()
			if !strings.Contains(line, `"request_id":"`+got+`"`) || strings.Contains(line, "trace_id") != (wantParent != "") {
				t.Errorf("logged %s", line)
			}
		})
	}
}

func TestLogHandler(t *testing.T) {
	var b bytes.Buffer
	plain := slog.HandlerOptions{Level: slog.LevelInfo, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}
	log := slog.New(LogHandler(slog.NewTextHandler(&b, &plain)))
	ctx := context.WithValue(t.Context(), identityKey{}, &identity{request: "r1", trace: "t1"})
	log.Info("outside")
	log.InfoContext(ctx, "inside", "a", 1)
	log.With("b", 2).InfoContext(ctx, "with")
	log.WithGroup("g").InfoContext(ctx, "group", "c", 3)
	log.DebugContext(ctx, "too quiet")
	want := `level=INFO msg=outside
level=INFO msg=inside a=1 request_id=r1 trace_id=t1
level=INFO msg=with b=2 request_id=r1 trace_id=t1
level=INFO msg=group g.c=3 g.request_id=r1 g.trace_id=t1
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
}

// What a handler does with its connection goes through, and what it answers is counted.
func TestHandlerKeepsWhatTheConnectionCan(t *testing.T) {
	tel := newTest(t, nil)
	h := tel.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/flush":
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
		case "/hints":
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusTeapot)
		case "/abort":
			panic(http.ErrAbortHandler)
		}
	}), func(r *http.Request) (string, string) { return "old", r.URL.Path })
	s := httptest.NewServer(h)
	defer s.Close()
	// A client would repeat a request that fails on a connection it used before.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for path, ok := range map[string]bool{"/flush": true, "/hints": true, "/abort": false} {
		r, err := client.Get(s.URL + path)
		if (err == nil) != ok {
			t.Errorf("%s: %v", path, err)
		}
		if err == nil {
			_, _ = io.Copy(io.Discard, r.Body)
			r.Body.Close()
		}
	}
	s.Close() // waits for the handlers
	has(t, scrape(t, tel),
		`lazyolo_requests_total{door="old",method="GET",route="/flush",status="2xx"} 1`,
		`lazyolo_requests_total{door="old",method="GET",route="/hints",status="4xx"} 1`,
		`lazyolo_requests_total{door="old",method="GET",route="/abort",status="aborted"} 1`,
		`lazyolo_requests_in_flight 0`)
}

// Another kind of door counts by the names of its codes.
func TestBeginForAnotherDoor(t *testing.T) {
	tel := newTest(t, nil)
	spans := tracetest.NewInMemoryExporter()
	tel.trace(spans)
	header := map[string]string{"x-request-id": "g1", "traceparent": traceParent}
	ctx, end := tel.Begin(t.Context(), "grpc", "ModelInfer", "gRPC", func(name string) string { return header[name] })
	answer := map[string]string{}
	tel.Answer(ctx, func(name, value string) { answer[name] = value })
	end("Unavailable")
	if answer["x-request-id"] != "g1" || !strings.HasPrefix(answer["traceparent"], "00-"+parentTrace+"-") {
		t.Errorf("answered %v", answer)
	}
	has(t, scrape(t, tel), `lazyolo_requests_total{door="grpc",method="gRPC",route="ModelInfer",status="Unavailable"} 1`)
	if err := tel.provider.ForceFlush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := spans.GetSpans(); len(got) != 1 || got[0].Status.Code.String() != "Error" {
		t.Errorf("%+v", got)
	}
}

func TestNewNeedsItsOptions(t *testing.T) {
	if _, err := New(Options{Log: slog.New(slog.DiscardHandler), Model: models}); err == nil {
		t.Error("no error")
	}
}
