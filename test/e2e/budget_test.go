package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// memoryStatus is what the tests read of /api/v2/memory_status.
type memoryStatus struct {
	Loaded []int              `json:"loaded_models"`
	Used   float64            `json:"memory_used_mb"`
	Max    float64            `json:"max_memory_mb"`
	Ledger map[string]float64 `json:"ledger_mb"`
	Models map[string]struct {
		State   string
		Pinned  bool
		Hits    int
		Loads   int
		Error   string
		Private float64 `json:"private_mb"`
	}
}

func (s *server) memory(t *testing.T) memoryStatus {
	t.Helper()
	var m memoryStatus
	if r := s.get(t, "/api/v2/memory_status", &m); r.StatusCode != http.StatusOK {
		t.Fatalf("memory_status: %d", r.StatusCode)
	}
	return m
}

// many makes n models of one file.
func (h *home) many(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		h.addModel(t, string(rune('a'+i)), demoModel(t))
	}
}

func TestABudgetTooSmallIsRefused(t *testing.T) {
	t.Parallel()
	code, _, log := newHome(t).run(t, "serve", "--port", "0", "MAX_MEMORY_MB=40")
	if code != 2 {
		t.Errorf("exit code %d", code)
	}
	contains(t, log, "40 MiB", "too small", "MAX_MEMORY_MB")
}

func TestPinnedAndPreloadedModelsAreThereFromTheStart(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	h.many(t, 4)
	s := start(t, h, "PIN_MODELS=b", "PRELOAD_MODELS=2", "KEEP_ALIVE=1ms")
	waitFor(t, "the pinned model alone to stay", func() bool {
		m := s.memory(t)
		return len(m.Loaded) == 1 && m.Loaded[0] == 1 && m.Models["1"].Pinned && m.Models["2"].Loads == 1
	})
	s.serves(t, "0")
	waitFor(t, "the keep-alive of model 0 to end", func() bool { return len(s.memory(t).Loaded) == 1 })
}

func TestTheLedgerIsShown(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	h.many(t, 2)
	s := start(t, h, "MAX_MEMORY_MB=700", "SAVE_ANNOTATED=off")
	s.serves(t, "0")
	s.serves(t, "1")
	m := s.memory(t)
	if m.Max != 700 || len(m.Loaded) != 2 || m.Ledger["mapped"] <= 0 || m.Ledger["private"] <= 0 || m.Ledger["base"] <= 0 || m.Models["0"].Hits == 0 {
		t.Errorf("%+v", m)
	}
}

// A pinned model whose folder goes and comes back is pinned again.
func TestPinsComeBackWithTheirFolders(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	h.many(t, 2)
	s := start(t, h, "PIN_MODELS=b", "KEEP_ALIVE=1ms", "MODEL_POLL=50ms", "SAVE_ANNOTATED=off")
	pinned := func() bool {
		m := s.memory(t)
		return len(m.Loaded) == 1 && m.Models["1"].Pinned
	}
	waitFor(t, "the pinned model", pinned)
	at := filepath.Join(h.models, "b")
	if err := os.Rename(at, filepath.Join(h.cwd, "b")); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the model to go", func() bool { return len(s.memory(t).Loaded) == 0 })
	if err := os.Rename(filepath.Join(h.cwd, "b"), at); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the pinned model that came back", pinned)
	s.serves(t, "1")
}

// Without a usable cache folder nothing prepared outlives its use in memory.
func TestWithoutACacheFolderMemoryComesBack(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	h.many(t, 3)
	s := start(t, h, "CACHE_DIR=/proc/none", "KEEP_ALIVE=1ms", "SAVE_ANNOTATED=off")
	for _, id := range []string{"0", "1", "2", "0"} {
		s.serves(t, id)
	}
	waitFor(t, "the models to be closed", func() bool { return len(s.memory(t).Loaded) == 0 })
	if _, err := os.Stat("/proc/self/maps"); err != nil {
		t.Skip("needs /proc: ", err)
	}
	waitFor(t, "the last model, which is closing, to be unmapped", func() bool {
		maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", s.cmd.Process.Pid))
		return err == nil && !strings.Contains(string(maps), "memfd:lazyolo")
	})
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", s.cmd.Process.Pid, fd.Name()))
		if err == nil && strings.Contains(to, "memfd:lazyolo") {
			t.Errorf("%s is still in memory", to)
		}
	}
}

// Set to false explicitly, the cache never closes a model to make room; its
// statistics are gone, as in the old server.
func TestPureLazyMode(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	h.many(t, 2)
	s := start(t, h, "ENABLE_LRU_CACHE=false", "SAVE_ANNOTATED=off")
	s.serves(t, "0")
	s.serves(t, "1")
	var stats struct{ Error string }
	s.get(t, "/api/v2/cache/stats", &stats)
	contains(t, stats.Error, "LRU cache is not enabled")
}
