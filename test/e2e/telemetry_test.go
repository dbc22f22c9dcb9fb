package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// metrics is what the server exports, by series.
func (s *server) metrics(t *testing.T) map[string]string {
	t.Helper()
	r, err := s.client.Get(s.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%d %v %s", r.StatusCode, err, b)
	}
	out := make(map[string]string)
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name != "#" {
			out[name] = value
		}
	}
	return out
}

// Metrics move with requests, and the names of models are their folders'.
func TestMetricsMove(t *testing.T) {
	t.Parallel()
	needORT(t)
	s := start(t, newHome(t))
	before := s.metrics(t)
	for series, want := range map[string]string{"lazyolo_ready": "1", "lazyolo_catalog_models": "1", "lazyolo_prepared_cache_models": "0"} {
		if before[series] != want {
			t.Errorf("%s is %q before the first request, want %s", series, before[series], want)
		}
	}
	s.serves(t, "0")
	s.serves(t, "0")
	s.post(t, picture("7", smallPicture(t)))
	s.post(t, picture("0", []byte("no picture")))
	if status, body := s.act(t, "/api/v2/models/0/unload", nil); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
	after := s.metrics(t)
	for series, want := range map[string]string{
		`lazyolo_requests_total{door="old",method="POST",route="/api/v2/detect",status="2xx"}`:                "4",
		`lazyolo_requests_total{door="old",method="POST",route="/api/v2/models/{model}/unload",status="2xx"}`: "1",
		`lazyolo_requests_total{door="operations",method="GET",route="/metrics",status="2xx"}`:                "1",
		`lazyolo_inferences_total{model="model_0",outcome="ok"}`:                                              "2",
		`lazyolo_inferences_total{model="model_0",outcome="invalid"}`:                                         "1",
		`lazyolo_cold_starts_total{model="model_0"}`:                                                          "1",
		`lazyolo_stage_duration_seconds_count{stage="run"}`:                                                   "2",
		`lazyolo_model_loads_total{model="model_0",outcome="ok"}`:                                             "1",
		`lazyolo_model_load_duration_seconds_count`:                                                           "1",
		`lazyolo_model_evictions_total{model="model_0",reason="asked"}`:                                       "1",
		`lazyolo_models{state="unloaded"}`:                                                                    "1",
		`lazyolo_prepared_cache_models`:                                                                       "1",
		`lazyolo_requests_in_flight`:                                                                          "1", // this scrape
	} {
		if after[series] != want {
			t.Errorf("%s is %q, want %s", series, after[series], want)
		}
	}
	if after["lazyolo_prepared_cache_bytes"] == "0" {
		t.Error("the cache has no size")
	}
}

// ready is the answer of /readyz.
type ready struct {
	status  int
	Ready   bool
	Reasons []string
}

func (s *server) ready(t *testing.T) (a ready) {
	t.Helper()
	a.status = s.get(t, "/readyz", &a).StatusCode
	return a
}

// The paths of operations are not the old API's, and answer its HEAD and no POST.
func TestHealthPaths(t *testing.T) {
	t.Parallel()
	s := start(t, newHome(t))
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/livez", 200}, {"HEAD", "/livez", 200}, {"POST", "/livez", 405},
		{"HEAD", "/metrics", 200}, {"DELETE", "/metrics", 405}, {"GET", "/livez/", 404},
	} {
		r, err := http.NewRequest(c.method, s.url+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := s.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != c.status {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, res.StatusCode, c.status)
		}
		if res.Header.Get("X-Request-ID") == "" {
			t.Errorf("%s %s: no request id", c.method, c.path)
		}
	}
}

// A server without ONNX Runtime lives and is not ready.
func TestNotReadyWithoutInference(t *testing.T) {
	t.Parallel()
	s := start(t, newHome(t), "ORT_LIBRARY=/nowhere/libonnxruntime.so")
	a := s.ready(t)
	if a.status != http.StatusServiceUnavailable || a.Ready || len(a.Reasons) != 1 || !strings.Contains(a.Reasons[0], "ONNX Runtime") {
		t.Errorf("%+v", a)
	}
	if r := s.get(t, "/livez", nil); r.StatusCode != http.StatusOK {
		t.Errorf("/livez: %d", r.StatusCode)
	}
	if v := s.metrics(t)["lazyolo_ready"]; v != "0" {
		t.Errorf("lazyolo_ready is %s", v)
	}
}

// With READY_AFTER=preload a server is ready when its models are, not before.
func TestReadyzAfterPreload(t *testing.T) {
	t.Parallel()
	needORT(t)
	needProc(t)
	s := start(t, newHome(t), "READY_AFTER=preload", "PRELOAD_MODELS=model_0")
	child := s.child(t, nil) // prepares the model, and is stopped
	if a := s.ready(t); a.status != http.StatusServiceUnavailable || len(a.Reasons) != 1 || !strings.Contains(a.Reasons[0], "READY_AFTER") {
		t.Errorf("while the model is prepared: %+v", a)
	}
	if err := child.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the server to be ready", func() bool { return s.ready(t).Ready })
	if a := s.ready(t); a.status != http.StatusOK || a.Reasons == nil || len(a.Reasons) != 0 {
		t.Errorf("%+v", a)
	}
	if n := s.metrics(t)[`lazyolo_models{state="ready"}`]; n != "1" {
		t.Errorf("%s models are ready", n)
	}
}

// After SIGTERM a server says at once that it is not ready, and serves for the grace.
func TestNotReadyWhileItStops(t *testing.T) {
	t.Parallel()
	needORT(t)
	s := start(t, newHome(t), "SHUTDOWN_GRACE=60s", "SAVE_ANNOTATED=off") // a second signal would cut a picture off
	if a := s.ready(t); !a.Ready {
		t.Fatalf("%+v", a)
	}
	s.terminate(t)
	if a := s.ready(t); a.status != http.StatusServiceUnavailable || len(a.Reasons) != 1 || !strings.HasPrefix(a.Reasons[0], "stopping") {
		t.Errorf("%+v", a)
	}
	s.serves(t, "0")
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil { // the grace is longer than the test
		t.Fatal(err)
	}
	s.wait(t)
	if code := s.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("a second signal ends with %d, want 1", code)
	}
}

// The grace ends by itself.
func TestTheGraceEnds(t *testing.T) {
	t.Parallel()
	s := start(t, newHome(t), "SHUTDOWN_GRACE=300ms")
	begin := time.Now()
	s.stop(t)
	if took := time.Since(begin); took < 300*time.Millisecond {
		t.Errorf("stopped after %v", took)
	}
}

// A collector is an OTLP/HTTP sink.
type collector struct {
	*httptest.Server
	mu   sync.Mutex
	body []byte
	path string
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := new(collector)
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(r.Body)
			if err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			body = z
		}
		b, err := io.ReadAll(body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.body, c.path = append(c.body, b...), r.URL.Path
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(c.Close)
	return c
}

// has reports whether the spans that came have a text in them.
func (c *collector) has(s string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Contains(c.body, []byte(s))
}

// A collector gets a span of each stage, in the caller's trace; the ids stand in the
// answer and in the log.
func TestACollectorGetsSpans(t *testing.T) {
	t.Parallel()
	needORT(t)
	c := newCollector(t)
	s := start(t, newHome(t), "OTEL_EXPORTER_OTLP_ENDPOINT="+c.URL, "OTEL_SERVICE_NAME=shop-floor", "OTEL_BSP_SCHEDULE_DELAY=50", "LOG_FORMAT=json")
	const trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	contentType, body := picture("0", smallPicture(t)).encode()
	r, err := http.NewRequest("POST", s.url+"/api/v2/detect", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("Traceparent", "00-"+trace+"-"+parent+"-01")
	r.Header.Set("X-Request-ID", "order-7")
	res, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readAnswer(res); err != nil {
		t.Fatal(err)
	}
	if id, tp := res.Header.Get("X-Request-ID"), res.Header.Get("Traceparent"); id != "order-7" || !strings.HasPrefix(tp, "00-"+trace+"-") || strings.Contains(tp, parent) {
		t.Errorf("the answer has the ids %q and %q", id, tp)
	}
	rawTrace := "\x4b\xf9\x2f\x35\x77\xb3\x4d\xa6\xa3\xce\x92\x9d\x0e\x0e\x47\x36"
	for _, part := range []string{"shop-floor", "POST /api/v2/detect", "detect", "load", "memory", "decode", "run", "model_0", rawTrace} {
		waitFor(t, "the collector to get "+part, func() bool { return c.has(part) })
	}
	if c.path != "/v1/traces" {
		t.Errorf("spans came to %s", c.path)
	}
	found := false
	for line := range strings.Lines(s.log.String()) {
		var l struct {
			Msg, Path string
			RequestID string `json:"request_id"`
			TraceID   string `json:"trace_id"`
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Errorf("%v in %s", err, line)
		}
		found = found || l.Msg == "request" && l.Path == "/api/v2/detect" && l.RequestID == "order-7" && l.TraceID == trace
	}
	if !found {
		t.Errorf("no log line has both ids:\n%s", s.log.String())
	}
}

// The last spans leave with the server.
func TestAStopSendsTheLastSpans(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	s := start(t, newHome(t), "OTEL_EXPORTER_OTLP_ENDPOINT="+c.URL, "OTEL_BSP_SCHEDULE_DELAY=600000")
	s.get(t, "/api/v2/models", nil)
	s.stop(t)
	if !c.has("GET /api/v2/models") {
		t.Error("they did not")
	}
}

// A collector that is down is told of, and costs neither requests nor the stop much.
func TestACollectorThatIsDown(t *testing.T) {
	t.Parallel()
	needORT(t)
	c := newCollector(t)
	c.Close()
	s := start(t, newHome(t), "OTEL_EXPORTER_OTLP_ENDPOINT="+c.URL, "OTEL_BSP_SCHEDULE_DELAY=50")
	s.serves(t, "0")
	begin := time.Now()
	s.stop(t)
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("stopped after %v", took)
	}
}

// Without the variables nothing is said of traces, and a bad id is not repeated.
func TestRequestIDs(t *testing.T) {
	t.Parallel()
	s := start(t, newHome(t))
	r, err := http.NewRequest("GET", s.url+"/api/v2/models", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Request-ID", `a" b`)
	res, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	id := res.Header.Get("X-Request-ID")
	if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(id) || res.Header.Get("Traceparent") != "" {
		t.Errorf("id %q, traceparent %q", id, res.Header.Get("Traceparent"))
	}
	if s.log.count("request_id="+id) == 0 {
		t.Errorf("%s is not in the log:\n%s", id, s.log.String())
	}
}
