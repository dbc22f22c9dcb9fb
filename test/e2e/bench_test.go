package e2e

import (
	"encoding/json"
	"path/filepath"
	"testing"
)

// lazyolo bench load drives a server and reports; it fails when too many requests do.
func TestBenchLoad(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	s := start(t, h, "SAVE_ANNOTATED=off")
	photo := filepath.Join(h.cwd, "a.jpg")
	writeFile(t, photo, smallPicture(t))
	code, out, log := h.run(t, "bench", "load", photo, "--url", s.url, "--requests", "12", "--clients", "3", "--json")
	var r struct {
		Requests, Failed int
		Codes            map[string]int
		Latency          struct{ P50, P99 float64 } `json:"latency_s"`
		Peak             float64                    `json:"peak_mb"`
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 {
		t.Fatalf("%d %v\n%s%s", code, err, out, log)
	}
	if r.Requests != 12 || r.Failed != 0 || r.Codes["200"] != 12 || r.Latency.P50 <= 0 || r.Latency.P99 < r.Latency.P50 || r.Peak <= 0 {
		t.Errorf("%+v", r)
	}
	if code, out, log = h.run(t, "bench", "load", photo, "--url", s.url, "--requests", "4", "--models", "0,99", "--options", "conf=0.5"); code != 1 {
		t.Errorf("half of the models are not there: %d\n%s%s", code, out, log)
	}
	if code, _, log = h.run(t, "bench", "load", photo, "--models", "x"); code != 2 {
		t.Errorf("no models: %d %s", code, log)
	}
}
