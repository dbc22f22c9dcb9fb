package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ask sends a request in the background; the answer comes through the channel.
func (s *server) ask(model string, image []byte) <-chan answer {
	c := make(chan answer, 1)
	go func() {
		a, err := s.tryPost(picture(model, image))
		if err != nil {
			a.Error = err.Error()
		}
		c <- a
	}()
	return c
}

// The server dies by kill -9 while a child prepares a model: the child ends too,
// since its input ends, and what it left does not disturb the next start.
func TestServerKilledDuringAPreparationLeavesNothingThatHurts(t *testing.T) {
	t.Parallel()
	needORT(t)
	needProc(t)
	h := newHome(t)
	s := start(t, h)
	gone := s.ask("0", smallPicture(t))
	child := s.child(t, nil)
	drafts, _ := filepath.Glob(h.cache + "/tmp-*")
	if len(drafts) != 1 {
		t.Fatalf("drafts %q, want one", drafts)
	}
	begun := written(t, drafts[0])
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	s.wait(t)
	<-gone
	if err := child.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the child's end", func() bool { return len(h.pids()) == 0 })
	if n := written(t, drafts[0]); n > begun {
		t.Errorf("the child went on alone and wrote %d bytes", n)
	}
	for _, e := range h.entries(t) {
		if !slices.Contains(drafts, filepath.Dir(e)) {
			t.Errorf("a half-made entry was published: %s", e)
		}
	}

	next := start(t, h)
	next.serves(t, "0")
	if n := next.log.count("prepared model"); n != 1 {
		t.Errorf("prepared %d times, want once:\n%s", n, next.log.String())
	}
	for _, d := range drafts { // so that the check at the end sees only what next leaves
		if err := os.RemoveAll(d); err != nil {
			t.Error(err)
		}
	}
}

// written is the size of a draft's file.
func written(t *testing.T, draft string) int64 {
	t.Helper()
	st, err := os.Stat(filepath.Join(draft, "model.ort"))
	if err != nil {
		t.Fatal(err)
	}
	return st.Size()
}

// A draft that a crash left long ago is removed; one that another server may be
// writing stays.
func TestAbandonedDraftIsRemoved(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	old, young := filepath.Join(h.cache, "tmp-1-1"), filepath.Join(h.cache, "tmp-2-2")
	for _, d := range []string{h.cache, old, young} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, filepath.Join(old, "model.ort"), []byte("half"))
	age(t, old)
	s := start(t, h)
	s.serves(t, "0")
	if _, err := os.Stat(old); err == nil {
		t.Error("the old draft is still there")
	}
	if err := os.Remove(young); err != nil {
		t.Errorf("the young draft: %v", err)
	}
}

// The preparing child dies by kill -9, as the kernel does it when memory runs
// out: whoever waits is told so, the others are served, and after three deaths in
// a row the file is not tried again until it changes.
func TestKilledChildIsToldAndAfterThreeTheFileCountsAsWrong(t *testing.T) {
	t.Parallel()
	needORT(t)
	needProc(t)
	h := newHome(t)
	h.addModel(t, "model_1", append(demoModel(t), 0x7a, 0))
	s := start(t, h)
	s.serves(t, "1")
	prepared := s.log.count("prepared model")
	for range 3 {
		// Some time must pass between attempts; until then the last answer is given again.
		asked := s.ask("0", smallPicture(t))
		child := s.child(t, func() {
			select {
			case a := <-asked:
				refused(t, a)
				asked = s.ask("0", smallPicture(t))
			default:
			}
		})
		if err := child.Kill(); err != nil {
			t.Fatal(err)
		}
		refused(t, <-asked)
		s.serves(t, "1")
	}
	// The time before a fourth attempt is 4 s at most: let it pass.
	enough := time.Now().Add(6 * time.Second)
	waitFor(t, "the time of a fourth attempt", func() bool {
		refused(t, s.post(t, picture("0", smallPicture(t))))
		return time.Now().After(enough)
	})
	if n := s.log.count("prepared model"); n != prepared {
		t.Errorf("a file that killed three children was prepared once more")
	}

	// Another content is another file.
	h.addModel(t, "model_0", append(demoModel(t), 0x7a, 1, 'x'))
	waitFor(t, "the changed file to serve", func() bool {
		return len(s.post(t, picture("0", smallPicture(t))).Predictions) > 0
	})
}

// refused checks that an answer says that the child was killed.
func refused(t *testing.T, a answer) {
	t.Helper()
	if a.status != http.StatusServiceUnavailable || !strings.Contains(a.Error, "was killed") || !strings.Contains(a.Error, "best.onnx") {
		t.Errorf("answer %v, want 503 that names the file and says killed", a)
	}
}
