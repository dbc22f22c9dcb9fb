package e2e

import (
	"path/filepath"
	"slices"
	"testing"
)

// preheatStatus is what these tests read of /api/v2/memory_status.
type preheatStatus struct {
	Loaded  []int `json:"loaded_models"`
	Preheat struct {
		Loaded, Used int
		Precision    *float64
	}
	Models map[string]struct {
		State       string
		Speculative bool
		Hits, Loads int
		Expires     *string
	}
}

func (s *server) preheat(t *testing.T) preheatStatus {
	t.Helper()
	var m preheatStatus
	s.get(t, "/api/v2/memory_status", &m)
	slices.Sort(m.Loaded)
	return m
}

// What was in memory at SIGTERM is there again after the restart, without having
// been asked for, unless PREHEAT=off or its place was lost.
func TestRestartBringsTheResidentModelsBack(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	h.many(t, 3) // a, b, c and model_0: 0 to 3
	first := start(t, h, "SAVE_ANNOTATED=off", "PREHEAT=auto")
	first.serves(t, "0")
	first.serves(t, "2")
	first.stop(t)

	second := start(t, h, "SAVE_ANNOTATED=off", "PREHEAT=auto")
	waitFor(t, "both models", func() bool { return slices.Equal(second.preheat(t).Loaded, []int{0, 2}) })
	m := second.preheat(t)
	if m.Preheat.Loaded != 2 || m.Preheat.Used != 0 || !m.Models["2"].Speculative || m.Models["2"].Hits != 0 {
		t.Errorf("before the first request: %+v", m)
	}
	second.serves(t, "2")
	m = second.preheat(t)
	if m.Preheat.Used != 1 || m.Preheat.Precision == nil || *m.Preheat.Precision != 0.5 || m.Models["2"].Speculative || m.Models["2"].Loads != 1 {
		t.Errorf("after it: %+v", m)
	}
	second.stop(t)

	off := start(t, h, "SAVE_ANNOTATED=off", "PREHEAT=off", "PRELOAD_MODELS=b")
	waitFor(t, "the preloaded model", func() bool { return len(off.preheat(t).Loaded) > 0 })
	off.serves(t, "1")
	if m := off.preheat(t); !slices.Equal(m.Loaded, []int{1}) || m.Preheat.Loaded != 0 || m.Preheat.Precision != nil {
		t.Errorf("with PREHEAT=off: %+v", m)
	}
	off.stop(t)

	files, err := filepath.Glob(filepath.Join(h.state, "usage-*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %q, %v", files, err)
	}
	writeFile(t, files[0], []byte("no JSON"))
	corrupt := start(t, h, "SAVE_ANNOTATED=off", "PREHEAT=auto")
	corrupt.serves(t, "3")
	corrupt.stop(t)
	if n := corrupt.log.count("level=WARN"); n != 1 {
		t.Errorf("%d warnings of a corrupt file, want 1:\n%s", n, corrupt.log.String())
	}
	last := start(t, h, "SAVE_ANNOTATED=off", "PREHEAT=auto")
	waitFor(t, "the model used since", func() bool { return slices.Equal(last.preheat(t).Loaded, []int{3}) })
}

// A server that was killed may have died of what it had loaded.
func TestKilledServerLeavesNothingToBringBack(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	first := start(t, h, "SAVE_ANNOTATED=off", "PREHEAT=auto")
	first.serves(t, "0")
	first.stop(t)
	second := start(t, h, "SAVE_ANNOTATED=off", "PREHEAT=auto")
	waitFor(t, "the model", func() bool { return len(second.preheat(t).Loaded) == 1 })
	if err := second.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	second.wait(t)
	h.many(t, 1) // model_0 is 1 now
	third := start(t, h, "SAVE_ANNOTATED=off", "PREHEAT=auto")
	third.serves(t, "0")
	third.stop(t)
	if n := third.log.count("preheated"); n > 0 {
		t.Errorf("a model came back after a crash:\n%s", third.log.String())
	}
}

// keep_alive in labels.yaml and in a request win over KEEP_ALIVE.
func TestKeepAliveOfModelAndRequest(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	h.many(t, 2) // a, b and model_0
	writeFile(t, filepath.Join(h.models, "b", "labels.yaml"), labels("keep_alive: -1"))
	s := start(t, h, "KEEP_ALIVE=1ms", "SAVE_ANNOTATED=off")
	for _, model := range []string{"0", "1", "2"} {
		s.serves(t, model)
	}
	waitFor(t, "the others to be closed", func() bool { return slices.Equal(s.preheat(t).Loaded, []int{1}) })
	if e := s.preheat(t).Models["1"].Expires; e != nil {
		t.Errorf("model 1 expires %s", *e)
	}
	ask := picture("2", smallPicture(t))
	ask.fields["keep_alive"] = "1h"
	if a := s.post(t, ask); len(a.Predictions) == 0 {
		t.Errorf("got %v", a)
	}
	if m := s.preheat(t).Models["2"]; m.State != "ready" || m.Expires == nil {
		t.Errorf("asked to stay for an hour: %+v", m)
	}
	s.serves(t, "2") // says nothing: the server's holds again
	waitFor(t, "model 2 to be closed", func() bool { return slices.Equal(s.preheat(t).Loaded, []int{1}) })
	ask.fields["keep_alive"] = "soon"
	if a := s.post(t, ask); a.status != 422 {
		t.Errorf("a wrong keep-alive: %v", a)
	}
}

// With READY_AFTER=preload the server answers at once, but says that it is
// starting until the models to be there from the start are.
func TestReadyAfterPreload(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	s := start(t, h, "READY_AFTER=preload", "PRELOAD_MODELS=0")
	var health struct {
		Status string
		Loaded bool `json:"model_loaded"`
	}
	waitFor(t, "the server to be ready", func() bool {
		s.get(t, "/api/v1/health", &health)
		if health.Status != "ok" && health.Status != "starting" {
			t.Fatalf("status %q", health.Status)
		}
		return health.Status == "ok"
	})
	if !health.Loaded {
		t.Error("ready before the model is loaded")
	}
}
