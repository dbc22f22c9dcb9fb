package load

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"time"
)

// A Report is how a server did. Times are seconds.
type Report struct {
	URL       string            `json:"url"`
	Clients   int               `json:"clients"`
	Rate      float64           `json:"rate"` // asked for; 0: as fast as answers came
	Models    int               `json:"models"`
	Zipf      float64           `json:"zipf"`
	Pictures  int               `json:"pictures"`
	Took      float64           `json:"seconds"`
	Requests  int               `json:"requests"` // answered or failed
	Failed    int               `json:"failed"`
	Codes     map[string]int    `json:"codes"`     // how requests ended: "200", another status, "error", "timeout", "refused", "broken"
	Messages  map[string]string `json:"messages"`  // what was said first, by code of failure
	GaveUp    bool              `json:"gave_up"`   // it ended early: nothing was answered at all
	Answers   float64           `json:"answers_s"` // good ones a second
	Latency   *Latency          `json:"latency_s"` // of good answers; null: there was none
	Memory    []Sample          `json:"memory"`    // the server's, over time; empty: it does not tell
	Peak      float64           `json:"peak_mb"`   // the highest of Memory
	latencies []time.Duration
}

// A Latency is how long answers took, in seconds.
type Latency struct {
	Min  float64 `json:"min"`
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P75  float64 `json:"p75"`
	P90  float64 `json:"p90"`
	P95  float64 `json:"p95"`
	P99  float64 `json:"p99"`
	Max  float64 `json:"max"`
}

// A Sample is the server's memory at a time.
type Sample struct {
	At float64 `json:"at_s"` // since the first request
	MB float64 `json:"mb"`
}

// ErrorRate is the share of requests that failed, 0..1.
func (r *Report) ErrorRate() float64 {
	if r.Requests == 0 {
		return 0
	}
	return float64(r.Failed) / float64(r.Requests)
}

// finish computes what the report says of all requests together.
func (r *Report) finish() {
	if r.Took > 0 {
		r.Answers = float64(len(r.latencies)) / r.Took
	}
	for _, s := range r.Memory {
		r.Peak = max(r.Peak, s.MB)
	}
	n := len(r.latencies)
	if n == 0 {
		return
	}
	slices.Sort(r.latencies)
	// The nearest-rank definition: the smallest latency that so many do not exceed.
	at := func(p float64) float64 { return r.latencies[max(0, int(math.Ceil(p*float64(n)))-1)].Seconds() }
	sum := time.Duration(0)
	for _, l := range r.latencies {
		sum += l
	}
	r.Latency = &Latency{
		Min: r.latencies[0].Seconds(), Mean: sum.Seconds() / float64(n), Max: r.latencies[n-1].Seconds(),
		P50: at(0.5), P75: at(0.75), P90: at(0.9), P95: at(0.95), P99: at(0.99),
	}
}

// Text writes the report for people.
func (r *Report) Text(w io.Writer) error {
	asked := "as fast as answers come"
	if r.Rate > 0 {
		asked = fmt.Sprintf("%g a second", r.Rate)
	}
	lines := []string{
		fmt.Sprintf("%s: %d clients, %s, %d models, %d pictures", r.URL, r.Clients, asked, r.Models, r.Pictures),
		fmt.Sprintf("%d requests in %.1f s, %.1f good answers a second, %d failed (%.2f %%)",
			r.Requests, r.Took, r.Answers, r.Failed, 100*r.ErrorRate()),
	}
	if l := r.Latency; l != nil {
		lines = append(lines, fmt.Sprintf("latency in ms  p50 %.1f  p75 %.1f  p90 %.1f  p95 %.1f  p99 %.1f  (%.1f to %.1f, mean %.1f)",
			1000*l.P50, 1000*l.P75, 1000*l.P90, 1000*l.P95, 1000*l.P99, 1000*l.Min, 1000*l.Max, 1000*l.Mean))
	}
	if r.Failed > 0 {
		line := "failures      "
		for _, code := range slices.Sorted(maps.Keys(r.Codes)) {
			if code != ok {
				line += fmt.Sprintf("  %s: %d", code, r.Codes[code])
			}
		}
		lines = append(lines, line)
		for _, code := range slices.Sorted(maps.Keys(r.Messages)) {
			lines = append(lines, fmt.Sprintf("  %s: %s", code, r.Messages[code]))
		}
	}
	if r.GaveUp {
		lines = append(lines, "given up: no request was answered")
	}
	if n := len(r.Memory); n > 0 {
		lines = append(lines, fmt.Sprintf("server memory in MB  %.1f at first, %.1f at the end, %.1f at most", r.Memory[0].MB, r.Memory[n-1].MB, r.Peak))
	}
	for _, l := range lines {
		if _, err := fmt.Fprintln(w, l); err != nil {
			return err
		}
	}
	return nil
}
