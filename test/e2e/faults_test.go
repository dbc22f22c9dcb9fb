package e2e

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	stdpng "image/png"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// poolStatus is what these tests read of /api/v2/memory_status.
type poolStatus struct {
	Loaded []int `json:"loaded_models"`
	Queue  struct{ Load, Memory int }
	Models map[string]struct {
		State            string
		Pinned           bool
		Leases, Waiting  int
		Loads, Evictions int
		Expires          *string
	}
}

func (s *server) pool(t *testing.T) poolStatus {
	t.Helper()
	var m poolStatus
	s.get(t, "/api/v2/memory_status", &m)
	slices.Sort(m.Loaded)
	return m
}

// weights is the path of a model's weights.
func (h *home) weights(folder string) string { return filepath.Join(h.models, folder, "best.onnx") }

// unload takes a model out of memory.
func (s *server) unload(t *testing.T, id string) {
	t.Helper()
	if status, body := s.act(t, "/api/v2/models/"+id+"/unload", nil); status != http.StatusOK {
		t.Errorf("unload %s: %d %s", id, status, body)
	}
}

// The weights of a loaded model are overwritten in place, or deleted: it answers as
// before, also when it is closed and loaded again, from what was prepared of them. The
// log says what is wrong; a mended file is taken up without a restart.
func TestWeightsLostWhileTheModelIsLoaded(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	h.many(t, 2) // a, b and model_0
	s := start(t, h, "SAVE_ANNOTATED=off", "MODEL_POLL=50ms")
	before := []answer{s.serves(t, "0"), s.serves(t, "1")}
	writeFile(t, h.weights("a"), bytes.Repeat([]byte("garbage"), 1000))
	if err := os.Remove(h.weights("b")); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "both messages", func() bool {
		return s.log.count("cannot be served: the old one goes on") == 1 && s.log.count("cannot be served: the old revision goes on") == 1
	})
	contains(t, s.log.String(), "is not a model", "does not exist")
	for i, model := range []string{"0", "1"} {
		for range 2 {
			if a := s.serves(t, model); a.body != before[i].body {
				t.Errorf("model %s answers otherwise:\n%s\n%s", model, before[i].body, a.body)
			}
			s.unload(t, model)
		}
	}
	s.serves(t, "2")
	for _, folder := range []string{"a", "b"} {
		h.addModel(t, folder, demoModel(t))
	}
	waitFor(t, "the mended models", func() bool { return s.log.count("the new revision serves") == 2 })
	s.serves(t, "0")
	s.serves(t, "1")
}

// CACHE_DIR is removed under a running server: a loaded model serves on from its
// mapping, those that were prepared and those that never were are prepared anew.
func TestCacheFolderRemovedWhileTheServerRuns(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	for i, more := range []string{"x", "y", "z"} { // entries of their own
		h.addModel(t, "model_"+string(rune('1'+i)), append(demoModel(t), 0x7a, 1, more[0]))
	}
	if code, _, log := h.run(t, "prepare", "model_2"); code != 0 {
		t.Fatalf("prepare: %d\n%s", code, log)
	}
	s := start(t, h, "SAVE_ANNOTATED=off")
	before := s.serves(t, "0")
	s.serves(t, "1")
	s.unload(t, "1") // its sizes are known by now
	if err := os.RemoveAll(h.cache); err != nil {
		t.Fatal(err)
	}
	for _, model := range []string{"0", "1", "2", "3", "0"} {
		if a := s.serves(t, model); a.body != before.body {
			t.Errorf("model %s answers otherwise:\n%s\n%s", model, before.body, a.body)
		}
	}
	if m := s.pool(t); m.Models["0"].Loads != 1 || m.Models["1"].Loads != 2 {
		t.Errorf("loads: %+v", m.Models)
	}
	if n := s.log.count("cannot write the cache folder"); n != 1 {
		t.Errorf("warned %d times, want once:\n%s", n, s.log.String())
	}
	contains(t, s.log.String(), "CACHE_DIR")
}

// tight is a budget with room for the base, the bodies and one run, and some 20 MB
// for models of 4.
const tight = "MAX_MEMORY_MB=162"

// Not all pins fit: the server starts, keeps as many as leave room for requests,
// and says which ones it does not keep, and why.
func TestPinsBeyondTheBudgetAreRefusedByName(t *testing.T) {
	t.Parallel()
	needORT(t)
	s := manyPins(t, 7)
	waitFor(t, "the refusal of the last pin", func() bool { return s.log.count("model=g err=") > 0 })
	m, refused := s.pool(t), 0
	for id := range 7 {
		told := line(s.log.String(), "model="+string(rune('a'+id))+" err=")
		if m.Models[strconv.Itoa(id)].Pinned {
			if told != "" {
				t.Errorf("a pinned model: %s", told)
			}
			continue
		}
		refused++
		contains(t, told, "level=ERROR", "too little for requests", "budget 162 MiB")
	}
	if refused == 0 || refused == 7 {
		t.Errorf("%d of 7 pins were refused:\n%s", refused, s.log.String())
	}
	for id := range 8 {
		s.serves(t, strconv.Itoa(id)) // model_0, the last, was not to be pinned
	}
}

// However many pins were accepted, every model that is not pinned has its turn.
func TestPinsBeyondTheBudgetLeaveRoomForTheOthers(t *testing.T) {
	t.Parallel()
	needORT(t)
	s := manyPins(t, 16)
	waitFor(t, "the refusal of the last pin", func() bool { return s.log.count("model=p err=") > 0 })
	for range 2 {
		for _, id := range []string{"16", "15", "14", "13", "12", "11", "10", "0"} {
			s.serves(t, id)
		}
	}
}

// manyPins starts a server that is to pin n models in a tight budget; one more,
// model_0, is the last.
func manyPins(t *testing.T, n int) *server {
	t.Helper()
	h := newHome(t)
	h.many(t, n)
	if code, _, log := h.run(t, "prepare"); code != 0 {
		t.Fatalf("prepare: %d\n%s", code, log)
	}
	pins := []byte("PIN_MODELS=")
	for i := range n {
		pins = append(pins, byte('a'+i), ',')
	}
	return start(t, h, tight, "SAVE_ANNOTATED=off", string(pins[:len(pins)-1]))
}

// A budget in which a model can run but not be prepared: the answer says how much
// is missing and what to do, and that helps.
func TestBudgetTooSmallToPrepare(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	s := start(t, h, tight, "SAVE_ANNOTATED=off")
	a := s.post(t, picture("0", smallPicture(t)))
	if a.status != http.StatusServiceUnavailable {
		t.Errorf("got %v, want 503", a)
	}
	contains(t, a.Error, "needs 133 MiB to be prepared", "budget 162 MiB", "lazyolo prepare model_0")
	if code, _, log := h.run(t, "prepare"); code != 0 {
		t.Fatalf("prepare: %d\n%s", code, log)
	}
	waitFor(t, "the model that was prepared meanwhile", func() bool {
		return len(s.post(t, picture("0", smallPicture(t))).Predictions) > 0
	})
	s.stop(t)
	start(t, h, tight, "SAVE_ANNOTATED=off").serves(t, "0")
}

// What was prepared ahead is found by what is in the weights: a copy of the models
// folder has other inodes and times, as on the machine that the cache folder was
// made for.
func TestPreparedAheadServesACopyOfTheWeights(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	if code, _, log := h.run(t, "prepare"); code != 0 {
		t.Fatalf("prepare: %d\n%s", code, log)
	}
	age(t, h.weights("model_0"))
	start(t, h, tight, "SAVE_ANNOTATED=off").serves(t, "0")
}

// Of two models that are to be prepared in the background one never fits into the
// budget: the other one does not wait for it.
func TestModelTooLargeToPrepareHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	const padding = 60 << 20 // a field that readers skip
	large := binary.AppendUvarint(append(demoModel(t), 0x7a), padding)
	h.addModel(t, "a", append(large, make([]byte, padding)...))
	s := start(t, h, "MAX_MEMORY_MB=310", "SAVE_ANNOTATED=off", "PREPARE=background")
	waitFor(t, "the preparation of model_0", func() bool { return s.log.count("prepared model") > 0 })
	a := s.post(t, picture("0", smallPicture(t)))
	if a.status != http.StatusServiceUnavailable {
		t.Errorf("got %v, want 503", a)
	}
	contains(t, a.Error, "to be prepared", "budget 310 MiB", "lazyolo prepare a")
}

// A picture whose pixels take more than half of the budget is served where it fits
// and refused with the arithmetic where it does not; the next one is served.
func TestPictureLargerThanHalfTheBudget(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	huge := plain(t, 5000) // 265 MB while it is decoded
	for budget, status := range map[string]int{"280": http.StatusRequestEntityTooLarge, "480": http.StatusOK} {
		s := start(t, h, "MAX_MEMORY_MB="+budget, "SAVE_ANNOTATED=off")
		for range 2 {
			a := s.post(t, picture("0", huge))
			if a.status != status {
				t.Errorf("with %s MB: %v, want %d", budget, a, status)
			}
			if status != http.StatusOK {
				contains(t, a.Error, "the picture needs", "budget "+budget+" MiB")
			}
			s.serves(t, "0")
		}
		s.stop(t)
	}
}

// plain is a PNG of one colour.
func plain(t *testing.T, side int) []byte {
	t.Helper()
	var b bytes.Buffer
	picture := image.NewPaletted(image.Rect(0, 0, side, side), color.Palette{color.Gray{100}})
	if err := stdpng.Encode(&b, picture); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A thousand clients send a whole request and hang up, before the model is there
// and after: nothing waits or is held for them, and who stays is served.
func TestClientsThatLeaveHoldNothing(t *testing.T) {
	t.Parallel()
	needORT(t)
	needProc(t)
	s := start(t, newHome(t), "MAX_CONCURRENCY=1", "SAVE_ANNOTATED=off")
	stays := s.ask("0", smallPicture(t))
	child := s.child(t, nil) // the load takes as long as the test wants
	s.leave(t, 500)
	waitFor(t, "all but one to be gone", func() bool {
		m := s.pool(t)
		return m.Queue.Load == 1 && m.Queue.Memory == 0 && m.Models["0"].Waiting == 1
	})
	if err := child.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if a := <-stays; len(a.Predictions) == 0 {
		t.Errorf("who stayed got %v", a)
	}
	s.leave(t, 500)
	waitFor(t, "nothing to be held", func() bool {
		m := s.pool(t)
		return m.Queue.Load == 0 && m.Queue.Memory == 0 && m.Models["0"].Leases == 0 && m.Models["0"].Waiting == 0
	})
	begin := time.Now()
	s.serves(t, "0")
	if d := time.Since(begin); d > 20*time.Second {
		t.Errorf("the next client waited %v", d)
	}
	if n := s.log.count("level=ERROR"); n > 0 {
		t.Errorf("a client that leaves is no error:\n%s", s.log.String())
	}
}

// leave has n clients send a whole request and hang up.
func (s *server) leave(t *testing.T, n int) {
	t.Helper()
	contentType, body := picture("0", smallPicture(t)).encode()
	for range n {
		s.raw(t, contentType, len(body), body).Close()
	}
}
