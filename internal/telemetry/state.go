package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"lazyolo/yolo"
)

// A State is what is asked for at each scrape. Sizes are bytes.
type State struct {
	Ready bool // requests should be sent here: what /readyz says

	Budget, Free int64
	Resident     int64            // the process and its children
	Ledger       map[string]int64 // what is charged to the budget, by kind
	Unexplained  int64            // resident beyond that, charged too

	WaitLoad, WaitMemory int // requests that wait

	Catalog int           // models that are served
	Models  []yolo.Status // of those that were ever asked for

	Preheated, PreheatUsed int64 // models loaded ahead of their use; of those, used

	CacheBytes  int64 // prepared models
	CacheModels int
}

// A stateCollector turns a State into metrics.
type stateCollector struct {
	state  func() State
	models *labels

	ready, budget, free, resident, ledger, unexplained,
	waiting, catalog, inState, memory, leases,
	preheated, preheatUsed, cacheBytes, cacheModels *prometheus.Desc
}

func newStateCollector(state func() State, models *labels) *stateCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &stateCollector{
		state: state, models: models,
		ready:       desc("lazyolo_ready", "1 if /readyz says ready, else 0."),
		budget:      desc("lazyolo_memory_budget_bytes", "Memory that the process and its children may take."),
		free:        desc("lazyolo_memory_free_bytes", "What is left of the budget; negative after it was lowered."),
		resident:    desc("lazyolo_memory_resident_bytes", "Resident memory of the process and its children."),
		ledger:      desc("lazyolo_memory_ledger_bytes", "Memory charged to the budget, by kind.", "kind"),
		unexplained: desc("lazyolo_memory_unexplained_bytes", "Resident memory beyond what is charged by kind; it is charged too."),
		waiting:     desc("lazyolo_queue_requests", "Requests that wait, for a model to be loaded or for working memory.", "wait"),
		catalog:     desc("lazyolo_catalog_models", "Models in the models folder that are served."),
		inState:     desc("lazyolo_models", "Models that were ever asked for, by state; an open model whose pages were given back is cool.", "state"),
		memory:      desc("lazyolo_model_memory_bytes", "Memory of a model that is open: weights mapped from its file, and private.", "model", "kind"),
		leases:      desc("lazyolo_model_requests", "Requests that use an open model now.", "model"),
		preheated:   desc("lazyolo_preheat_loads_total", "Models loaded ahead of their use."),
		preheatUsed: desc("lazyolo_preheat_hits_total", "Of these, used before they were closed."),
		cacheBytes:  desc("lazyolo_prepared_cache_bytes", "Size of the prepared models in the cache folder."),
		cacheModels: desc("lazyolo_prepared_cache_models", "Prepared models in the cache folder."),
	}
}

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.ready, c.budget, c.free, c.resident, c.ledger, c.unexplained, c.waiting, c.catalog,
		c.inState, c.memory, c.leases, c.preheated, c.preheatUsed, c.cacheBytes, c.cacheModels} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(to chan<- prometheus.Metric) {
	s := c.state()
	gauge := func(d *prometheus.Desc, v int64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	ready := int64(0)
	if s.Ready {
		ready = 1
	}
	gauge(c.ready, ready)
	gauge(c.budget, s.Budget)
	gauge(c.free, s.Free)
	gauge(c.resident, s.Resident)
	for kind, n := range s.Ledger {
		gauge(c.ledger, n, kind)
	}
	gauge(c.unexplained, s.Unexplained)
	gauge(c.waiting, int64(s.WaitLoad), "load")
	gauge(c.waiting, int64(s.WaitMemory), "memory")
	gauge(c.catalog, int64(s.Catalog))
	gauge(c.cacheBytes, s.CacheBytes)
	gauge(c.cacheModels, int64(s.CacheModels))
	to <- prometheus.MustNewConstMetric(c.preheated, prometheus.CounterValue, float64(s.Preheated))
	to <- prometheus.MustNewConstMetric(c.preheatUsed, prometheus.CounterValue, float64(s.PreheatUsed))
	states, memory, leases := c.byModel(s.Models)
	for state, n := range states {
		gauge(c.inState, n, state)
	}
	for k, n := range memory {
		gauge(c.memory, n, k.model, k.kind)
	}
	for model, n := range leases {
		gauge(c.leases, n, model)
	}
}

// modelKind is the labels of a model's memory.
type modelKind struct{ model, kind string }

// byModel sums what is known of models: both heads of a checkpoint share a folder, and
// models beyond the bound a label.
func (c *stateCollector) byModel(all []yolo.Status) (states map[string]int64, memory map[modelKind]int64, leases map[string]int64) {
	states, memory, leases = make(map[string]int64), make(map[modelKind]int64), make(map[string]int64)
	for s := yolo.Unloaded; s <= yolo.Failed; s++ {
		states[s.String()] = 0
	}
	states[cool] = 0
	for _, m := range all {
		state := m.State.String()
		if m.State == yolo.Ready && !m.Warm {
			state = cool
		}
		states[state]++
		if m.State != yolo.Ready && m.State != yolo.Draining {
			continue
		}
		name := c.models.of(folder(m.Model))
		memory[modelKind{name, "mapped"}] += m.Mapped
		memory[modelKind{name, "private"}] += m.Private
		leases[name] += int64(m.Leases)
	}
	return states, memory, leases
}

// cool is the state of an open model whose pages were given back.
const cool = "cool"
