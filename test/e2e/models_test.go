package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

// lazyolo models lists a folder, and a running server with what is in memory.
func TestModels(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	h.many(t, 2)
	type listed struct {
		ID, Hits, Loads           int
		Folder, State, Name, Task string
		Prepared                  bool
		MB                        float64
	}
	ask := func(args ...string) []listed {
		t.Helper()
		code, out, log := h.run(t, "models", append(args, "--json")...)
		var all []listed
		if err := json.Unmarshal([]byte(out), &all); err != nil || code != 0 {
			t.Fatalf("%v: %d %v\n%s%s", args, code, err, out, log)
		}
		return all
	}
	if all := ask(); len(all) < 2 || all[0].Folder != "a" || all[1].ID != 1 || all[0].Task == "" {
		t.Errorf("folder: %+v", all)
	}
	s := start(t, h, "SAVE_ANNOTATED=off")
	s.serves(t, "0")
	all := ask("--url", s.url)
	if all[0].State != "ready" || all[0].Hits != 1 || all[0].Loads != 1 || all[0].MB <= 0 || all[1].State != "unloaded" {
		t.Errorf("server: %+v", all)
	}
	var one struct {
		listed
		Inputs  []string
		Classes map[int]string
	}
	for _, args := range [][]string{{"a"}, {"show", "0"}} {
		code, out, log := h.run(t, "models", append(args, "--json", "--url", s.url)...)
		if err := json.Unmarshal([]byte(out), &one); err != nil || code != 0 || one.Folder != "a" || !one.Prepared || len(one.Inputs) != 1 || len(one.Classes) == 0 {
			t.Errorf("%v: %d %v\n%s%s", args, code, err, out, log)
		}
	}
	if code, out, _ := h.run(t, "models", "--url", s.url); code != 0 || !strings.HasPrefix(out, "ID  FOLDER") || strings.Contains(out, "\x1b") {
		t.Errorf("table: %d\n%s", code, out)
	}
	for want, args := range map[string][]string{
		"no model":           {"models", "nobody", "--url", s.url},
		"is it running":      {"models", "--url", "http://127.0.0.1:9"},
		"needs a running se": {"models", "--watch"},
	} {
		if code, _, log := h.run(t, args[0], args[1:]...); code == 0 || !strings.Contains(log, want) {
			t.Errorf("%v: %d %s", args, code, log)
		}
	}
}
