package telemetry

import (
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"

	"lazyolo/yolo"
)

// The bounds of histograms, in seconds.
var (
	requestBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	stageBuckets   = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	loadBuckets    = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}
)

// The stages of a request, in their order, as labels and names of spans.
const (
	stageLoad   = "load"
	stageMemory = "memory"
	stageDecode = "decode"
	stageRun    = "run"
)

// metrics are what is counted as it happens.
type metrics struct {
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	inFlight  prometheus.Gauge

	inferences *prometheus.CounterVec
	inferred   *prometheus.HistogramVec
	cold       *prometheus.CounterVec
	stages     map[string]prometheus.Observer

	loads    *prometheus.CounterVec
	loadTook prometheus.Histogram
	closes   *prometheus.CounterVec
	coolings *prometheus.CounterVec
	refusals *prometheus.CounterVec

	lostSpans prometheus.Counter

	models, routes, causes *labels

	mu      sync.Mutex
	loading map[string]time.Time // since when, by model id
}

func newMetrics(r *prometheus.Registry, o Options) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		r.MustRegister(v)
		return v
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
		r.MustRegister(v)
		return v
	}
	stages := histogram("lazyolo_stage_duration_seconds", "Time of each stage of an inference that succeeded.", stageBuckets, "stage")
	m := &metrics{
		requests:  counter("lazyolo_requests_total", "Requests answered, by door, route, method and class of status.", "door", "route", "method", "status"),
		durations: histogram("lazyolo_request_duration_seconds", "Time from a request's header to the end of its answer.", requestBuckets, "door", "route"),
		inFlight:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "lazyolo_requests_in_flight", Help: "Requests that are being received, wait or are in work."}),

		inferences: counter("lazyolo_inferences_total", "Inferences asked for, by model and outcome: ok, or the code of the error.", "model", "outcome"),
		inferred:   histogram("lazyolo_inference_duration_seconds", "Time of an inference that succeeded, waits included.", requestBuckets, "model"),
		cold:       counter("lazyolo_cold_starts_total", "Inferences that waited for their model to be loaded.", "model"),
		stages:     make(map[string]prometheus.Observer),

		loads: counter("lazyolo_model_loads_total", "Loads of models, by outcome: ok, or the code of the error.", "model", "outcome"),
		loadTook: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "lazyolo_model_load_duration_seconds",
			Help: "Time of a load that succeeded, preparing included.", Buckets: loadBuckets}),
		closes:   counter("lazyolo_model_evictions_total", "Models taken out of memory, by reason.", "model", "reason"),
		coolings: counter("lazyolo_model_coolings_total", "Models whose pages were given back, by reason.", "model", "reason"),
		refusals: counter("lazyolo_refusals_total", "Decisions not to load or run a model, by the code of the error; a full queue is counted once each time it fills.", "reason"),

		lostSpans: prometheus.NewCounter(prometheus.CounterOpts{Name: "lazyolo_trace_export_failures_total", Help: "Batches of spans that the collector did not take."}),

		models: newLabels(maxModels), routes: newLabels(maxRoutes), causes: newLabels(maxCauses),
		loading: make(map[string]time.Time),
	}
	for _, s := range []string{stageLoad, stageMemory, stageDecode, stageRun} {
		m.stages[s] = stages.WithLabelValues(s)
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "lazyolo_build_info", Help: "1, labelled with what was built.",
		ConstLabels: prometheus.Labels{"version": o.Version, "go_version": runtime.Version()}})
	build.Set(1)
	r.MustRegister(m.inFlight, m.loadTook, m.lostSpans, build, newStateCollector(o.State, m.models),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Transition counts a change of state; it is a pool's hook.
func (t *Telemetry) Transition(c yolo.Transition) {
	m, id := t.m, c.Model.ID
	m.mu.Lock()
	since, loading := m.loading[id]
	delete(m.loading, id)
	if c.To == yolo.Loading {
		m.loading[id] = time.Now()
	}
	m.mu.Unlock()
	switch {
	case c.To == yolo.Failed:
		outcome := string(yolo.Internal)
		if c.Err != nil {
			outcome = string(yolo.CodeOf(c.Err))
		}
		m.loads.WithLabelValues(m.models.of(folder(c.Model)), outcome).Inc()
	case c.To == yolo.Ready && loading:
		m.loads.WithLabelValues(m.models.of(folder(c.Model)), "ok").Inc()
		m.loadTook.Observe(time.Since(since).Seconds())
	}
}

// Decide counts a decision; it is a pool's hook.
func (t *Telemetry) Decide(d yolo.Decision) {
	m := t.m
	cause := m.causes.of(string(d.Cause))
	switch d.Kind {
	case yolo.Closed:
		m.closes.WithLabelValues(m.models.of(folder(d.Model)), cause).Inc()
	case yolo.Cooled:
		m.coolings.WithLabelValues(m.models.of(folder(d.Model)), cause).Inc()
	case yolo.Refused:
		m.refusals.WithLabelValues(cause).Inc()
	}
}

// Metrics answers a scrape, in Prometheus' text format.
func (t *Telemetry) Metrics() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		found, err := t.registry.Gather()
		if err != nil {
			t.o.Log.ErrorContext(r.Context(), "gather metrics", "err", err)
			http.Error(w, "the metrics cannot be read: see the log", http.StatusInternalServerError)
			return
		}
		format := expfmt.NewFormat(expfmt.TypeTextPlain)
		w.Header().Set("Content-Type", string(format))
		var b strings.Builder
		e := expfmt.NewEncoder(&b, format)
		for _, f := range found {
			if err := e.Encode(f); err != nil {
				t.o.Log.ErrorContext(r.Context(), "encode metrics", "metric", f.GetName(), "err", err)
			}
		}
		_, _ = w.Write([]byte(b.String())) // the client may have left
	})
}
