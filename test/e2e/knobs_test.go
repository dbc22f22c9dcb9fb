package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"
)

// The budget is what MAX_MEMORY_MB says, or the old server's switch.
func TestTheBudgetThatIsSetIsShown(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		settings []string
		want     float64
	}{
		{[]string{"MAX_MEMORY_MB=300"}, 300},
		{[]string{"ENABLE_LRU_CACHE=true"}, 4096},
		{[]string{"ENABLE_LRU_CACHE=true", "MAX_MEMORY_MB=300"}, 300},
		{[]string{"ENABLE_LRU_CACHE=false", "MAX_MEMORY_MB=300"}, 300},
	} {
		s := start(t, newHome(t), c.settings...)
		if m := s.memory(t); m.Max != c.want {
			t.Errorf("%q: max_memory_mb %v, want %v", c.settings, m.Max, c.want)
		}
	}
}

// In a budget in which sessions must close, those used longest ago do.
func TestLRUClosesWhatWasUsedLongestAgo(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	h.many(t, 9)
	if code, _, log := h.run(t, "prepare"); code != 0 {
		t.Fatalf("prepare: %d\n%s", code, log)
	}
	s := start(t, h, "MAX_MEMORY_MB=140", "EVICTION_POLICY=lru", "SAVE_ANNOTATED=off")
	for id := range 10 {
		s.serves(t, strconv.Itoa(id))
	}
	order := s.pool(t).Loaded
	if len(order) < 3 || len(order) == 10 || slices.Contains(order, 0) || slices.Contains(order, 1) {
		t.Fatalf("%v are loaded, want some of the later ones", order)
	}
	// A model stays a quarter of a second at least, whatever the policy says.
	old := time.Now().Add(300 * time.Millisecond)
	waitFor(t, "all to be of age", func() bool { return time.Now().After(old) })
	slices.Reverse(order) // not the order of loading
	for _, id := range order {
		s.serves(t, strconv.Itoa(id))
	}
	for _, id := range []int{0, 1} {
		s.serves(t, strconv.Itoa(id))
		order = append(order[1:], id)
		m, want := s.pool(t), slices.Sorted(slices.Values(order))
		if !slices.Equal(m.Loaded, want) {
			t.Errorf("%v are loaded, want %v: %+v", m.Loaded, want, m.Models)
		}
	}
}

// KEEP_ALIVE=0 closes a model with its last request, -1 never.
func TestKeepAliveAtOnceAndForEver(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	s := start(t, h, "KEEP_ALIVE=0", "SAVE_ANNOTATED=off")
	for n := range 2 {
		s.serves(t, "0")
		waitFor(t, "the model to be closed", func() bool {
			m := s.pool(t)
			return len(m.Loaded) == 0 && m.Models["0"].Loads == n+1
		})
	}
	s.stop(t)

	s = start(t, h, "KEEP_ALIVE=-1", "SAVE_ANNOTATED=off")
	s.serves(t, "0")
	waitFor(t, "the request to end", func() bool { return s.pool(t).Models["0"].Leases == 0 })
	if m := s.pool(t).Models["0"]; m.State != "ready" || m.Expires != nil {
		t.Errorf("%+v", m)
	}
}

// Who waits longer than LOAD_TIMEOUT for a model is told so and when to come
// again; the work goes on meanwhile.
func TestLoadTimeout(t *testing.T) {
	t.Parallel()
	needORT(t)
	s := start(t, newHome(t), "LOAD_TIMEOUT=1ms", "SAVE_ANNOTATED=off")
	a := s.post(t, picture("0", smallPicture(t)))
	if a.status != http.StatusGatewayTimeout || a.header.Get("Retry-After") == "" {
		t.Errorf("got %v %v, want 504 with Retry-After", a, a.header)
	}
	contains(t, a.Error, "LOAD_TIMEOUT")
	waitFor(t, "the preparation", func() bool { return s.log.count("prepared model") > 0 })
	waitFor(t, "an answer", func() bool {
		return len(s.post(t, picture("0", smallPicture(t))).Predictions) > 0
	})
}

// REQUEST_TIMEOUT bounds the whole of a request; the server stays up.
func TestRequestTimeout(t *testing.T) {
	t.Parallel()
	needORT(t)
	s := start(t, newHome(t), "REQUEST_TIMEOUT=1ms", "SAVE_ANNOTATED=off")
	for range 2 {
		if a := s.post(t, picture("0", smallPicture(t))); a.status != http.StatusGatewayTimeout || a.Error == "" {
			t.Errorf("got %v, want 504", a)
		}
	}
	waitFor(t, "nobody to wait", func() bool {
		m := s.pool(t)
		return m.Queue.Load == 0 && m.Queue.Memory == 0 && m.Models["0"].Leases == 0
	})
}

// Fewer pictures at once, or fewer threads, change no answer.
func TestOneAtATimeServesAll(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	s := start(t, h, "SAVE_ANNOTATED=off")
	want := s.serves(t, "0")
	s.stop(t)
	for _, setting := range []string{"MAX_CONCURRENCY=1", "THREADS=1"} {
		s := start(t, h, setting, "SAVE_ANNOTATED=off")
		var asked []<-chan answer
		for range 4 {
			asked = append(asked, s.ask("0", smallPicture(t)))
		}
		for _, c := range asked {
			a := <-c
			if a.status != http.StatusOK {
				t.Errorf("%s: %v", setting, a)
			}
			same(t, a.Predictions, want.Predictions, lossless)
		}
		s.stop(t)
	}
}

// Every use goes to TRACE_FILE, which simulate replays, and a summary to
// STATE_DIR.
func TestUsesAreRecorded(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	h.many(t, 2)
	trace := filepath.Join(h.cwd, "trace.jsonl")
	for run := range 2 { // the second goes on where the first ended
		s := start(t, h, "TRACE_FILE="+trace, "SAVE_ANNOTATED=off")
		for _, model := range []string{"0", "1", "0", "2"} {
			s.serves(t, model)
		}
		s.stop(t)
		code, out, log := h.run(t, "simulate", trace)
		if code != 0 {
			t.Errorf("simulate: %d\n%s", code, log)
		}
		contains(t, out, fmt.Sprintf("%d uses of 3 models", 4*(run+1)), "lru", "cost")
	}
	files, err := filepath.Glob(filepath.Join(h.state, "usage-*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %q, %v", files, err)
	}
	contains(t, string(readFile(t, files[0])), `"a"`, `"b"`, `"model_0"`)
}

func TestTraceFileThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	code, _, log := h.run(t, "serve", "--port", "0", "TRACE_FILE="+h.cwd)
	if code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	contains(t, log, "lazyolo: error:", h.cwd, "lazyolo: hint:", "TRACE_FILE")
}

// A name in PRELOAD_MODELS or PIN_MODELS that no model has is told; the others
// are loaded.
func TestUnknownModelsAtTheStartAreTold(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	h.many(t, 2)
	s := start(t, h, "PIN_MODELS=gone,a", "PRELOAD_MODELS=nobody,b", "SAVE_ANNOTATED=off")
	waitFor(t, "the models that are there", func() bool { return slices.Equal(s.pool(t).Loaded, []int{0, 1}) })
	for _, name := range []string{"gone", "nobody"} {
		contains(t, line(s.log.String(), "model="+name), "level=ERROR", "no such model", "PRELOAD_MODELS")
	}
	s.serves(t, "2")
}
