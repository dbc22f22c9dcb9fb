package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// revision is the demo model's weights in other bytes.
func revision(t *testing.T, n byte) []byte {
	t.Helper()
	return append(demoModel(t), 0x7a, 1, n) // an unknown field behind
}

// named is a labels.yaml whose class names tell it from others.
func named(prefix string) []byte {
	names := make([]string, 5)
	for i := range names {
		names[i] = fmt.Sprintf("%d: %s%d", i, prefix, i)
	}
	return labels("names: {"+strings.Join(names, ", ")+"}", "input_size: 320x320")
}

// names reports whether a model's answers have names that begin so.
func (s *server) names(t *testing.T, model, prefix string) bool {
	t.Helper()
	a := s.post(t, picture(model, smallPicture(t)))
	if a.status != http.StatusOK || len(a.Predictions) == 0 {
		t.Fatalf("model %s does not serve: %v\n%s", model, a, s.log.String())
	}
	return strings.HasPrefix(a.Predictions[0].ClassName, prefix)
}

// hup sends SIGHUP.
func (s *server) hup(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

// Folders come, change, break, are mended and go while the server runs.
func TestModelsFollowTheirFolders(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t) // model_0 is 0
	s := start(t, h, "MODEL_POLL=50ms", "SAVE_ANNOTATED=off", "PREPARE=background")
	s.serves(t, "0")

	h.addModel(t, "a", revision(t, 'a')) // would be 0 at a start
	waitFor(t, "the added model", func() bool {
		return s.post(t, picture("1", smallPicture(t))).status == 200 && s.log.count("model folder added") == 1
	})
	s.serves(t, "0")
	s.serves(t, "1")
	if a := s.post(t, picture("2", smallPicture(t))); a.Error != "Model ID 2 not found" {
		t.Errorf("model 2: %v", a)
	}

	labelsOf := filepath.Join(h.models, "a", "labels.yaml")
	writeFile(t, labelsOf, named("new"))
	waitFor(t, "the new names", func() bool { return s.names(t, "1", "new") })

	writeFile(t, labelsOf, []byte("task: nothing\n"))
	waitFor(t, "the message of broken labels", func() bool { return s.log.count("cannot be served: the old revision goes on") == 1 })
	if !s.names(t, "1", "new") {
		t.Error("the old revision serves no more")
	}
	writeFile(t, labelsOf, named("mended"))
	waitFor(t, "the mended names", func() bool { return s.names(t, "1", "mended") })

	weights := filepath.Join(h.models, "a", "best.onnx")
	writeFile(t, weights, []byte("this is no model"))
	waitFor(t, "the message of broken weights", func() bool { return s.log.count("cannot be served: the old one goes on") == 1 })
	if !s.names(t, "1", "mended") {
		t.Error("the old revision serves no more")
	}
	writeFile(t, weights, revision(t, 'b'))
	waitFor(t, "the mended weights", func() bool { return s.log.count("the new revision serves") == 3 })
	s.serves(t, "1")

	if err := os.RemoveAll(filepath.Join(h.models, "a")); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the removal", func() bool {
		return s.post(t, picture("1", smallPicture(t))).Error == "Model ID 1 not found"
	})
	h.addModel(t, "b", revision(t, 'b')) // the number of a model that is gone is not given away
	waitFor(t, "the third model", func() bool { return s.post(t, picture("2", smallPicture(t))).Error == "" })
	s.serves(t, "0")
	s.serves(t, "2")
	h.addModel(t, "a", revision(t, 'c')) // it comes back to its own
	waitFor(t, "the return", func() bool { return s.post(t, picture("1", smallPicture(t))).Error == "" })
	s.serves(t, "1")
	if n := s.log.count("level=ERROR"); n != 2 {
		t.Errorf("%d errors in the log, want 2:\n%s", n, s.log.String())
	}
}

// What an old revision needs is in the cache: it is loaded again after its file has
// become no model.
func TestOldRevisionIsLoadedAgainWhileTheNewOneIsBroken(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	s := start(t, h, "MODEL_POLL=50ms", "SAVE_ANNOTATED=off", "KEEP_ALIVE=1ms")
	s.serves(t, "0")
	writeFile(t, filepath.Join(h.models, "model_0", "best.onnx"), []byte("no model either"))
	waitFor(t, "the message", func() bool { return s.log.count("cannot be served: the old one goes on") == 1 })
	waitFor(t, "the model to be closed", func() bool { return len(s.preheat(t).Loaded) == 0 })
	s.serves(t, "0")
}

// A ConfigMap is a link that Kubernetes moves to another folder.
func TestConfigMapSwapIsFollowed(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	dir := filepath.Join(h.models, "model_0")
	link := func(target string) {
		t.Helper()
		tmp := filepath.Join(dir, "..data_tmp")
		if err := os.Symlink(target, tmp); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, filepath.Join(dir, "..1", "labels.yaml"), named("one"))
	writeFile(t, filepath.Join(dir, "..2", "labels.yaml"), named("two"))
	if err := os.Remove(filepath.Join(dir, "labels.yaml")); err != nil {
		t.Fatal(err)
	}
	link("..1")
	if err := os.Symlink("..data/labels.yaml", filepath.Join(dir, "labels.yaml")); err != nil {
		t.Fatal(err)
	}
	s := start(t, h, "MODEL_POLL=50ms", "SAVE_ANNOTATED=off")
	if !s.names(t, "0", "one") {
		t.Fatal("the first revision does not serve")
	}
	link("..2")
	waitFor(t, "the second revision", func() bool { return s.names(t, "0", "two") })
}

// Eight clients do not notice that their model changes four times.
func TestReloadUnderLoadFailsNoRequest(t *testing.T) {
	t.Parallel()
	needORT(t)
	for name, more := range map[string][]string{"in memory": nil, "closed after each use": {"KEEP_ALIVE=0"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t)
			s := start(t, h, append(more, "MODEL_POLL=50ms", "SAVE_ANNOTATED=off", "MAX_QUEUE=64")...)
			s.serves(t, "0")
			var stop atomic.Bool
			var asked atomic.Int64
			var clients sync.WaitGroup
			for range 8 {
				clients.Go(func() {
					for !stop.Load() {
						a, err := s.tryPost(picture("0", smallPicture(t)))
						if err != nil || a.status != http.StatusOK || len(a.Predictions) == 0 {
							t.Errorf("a request failed: %v, %v", a, err)
							return
						}
						asked.Add(1)
					}
				})
			}
			for i := range 4 {
				before := asked.Load()
				writeFile(t, filepath.Join(h.models, "model_0", "best.onnx"), revision(t, byte('a'+i)))
				waitFor(t, "the new revision", func() bool { return s.log.count("the new revision serves") == i+1 || t.Failed() })
				waitFor(t, "requests", func() bool { return asked.Load() > before+8 || t.Failed() })
			}
			stop.Store(true)
			clients.Wait()
			waitFor(t, "the old sessions to be closed", func() bool {
				state := s.preheat(t).Models["0"].State
				return state == "ready" && more == nil || state == "unloaded" && more != nil
			})
			if m := s.preheat(t); m.Models["0"].Hits < int(asked.Load()) {
				t.Errorf("%d uses counted, %d requests", m.Models["0"].Hits, asked.Load())
			}
			if t.Failed() {
				t.Log(s.log.String())
			}
		})
	}
}

// SIGHUP has the folder looked at where nothing else does, and the settings file read.
func TestHangupReloads(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	file := filepath.Join(h.cwd, "lazyolo.yaml")
	writeFile(t, file, []byte("conf_thres: 0.25\nmax_pixels: 1000000\n"))
	s := start(t, h, "MODEL_POLL=0", "SAVE_ANNOTATED=off")
	s.serves(t, "0")
	h.addModel(t, "zz", revision(t, 'z'))
	s.hup(t)
	waitFor(t, "the added model", func() bool { return s.post(t, picture("1", smallPicture(t))).Error == "" })
	contains(t, s.log.String(), "no setting changed")

	writeFile(t, file, []byte("conf_thres: 1\nmax_pixels: 2000000\nkeep_alive: 1ms\n"))
	s.hup(t)
	waitFor(t, "the new threshold", func() bool { return len(s.post(t, picture("0", smallPicture(t))).Predictions) == 0 })
	waitFor(t, "the new keep-alive", func() bool { return len(s.preheat(t).Loaded) == 0 })
	contains(t, s.log.String(), "setting=CONF_THRES value=1", "takes effect at the next start\" setting=MAX_PIXELS value=2000000", "setting=KEEP_ALIVE")

	writeFile(t, file, []byte("conf_thres: 2\n"))
	s.hup(t)
	waitFor(t, "the message about a wrong value", func() bool { return s.log.count("the settings stay as they are") == 1 })
	if a := s.post(t, picture("0", smallPicture(t))); a.Error != "" {
		t.Errorf("got %v", a)
	}
}
