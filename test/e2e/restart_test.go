package e2e

import (
	"testing"
)

// A second start finds what the first prepared.
func TestRestartAnswersFromThePreparedCache(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	first := start(t, h)
	want := first.serves(t, "0")
	if n := first.log.count("prepared model"); n != 1 {
		t.Errorf("the first start prepared %d times, want once", n)
	}
	first.stop(t)

	second := start(t, h, "PREPARE=background")
	if got := second.serves(t, "0"); got.body != want.body {
		t.Errorf("the answer changed over a restart:\n%s\n%s", want.body, got.body)
	}
	if second.log.count("prepared model") > 0 {
		t.Errorf("the second start prepared again:\n%s", second.log.String())
	}
	if n := len(h.entries(t)); n != 1 {
		t.Errorf("%d entries in the cache, want 1", n)
	}
}

// What was prepared belongs to the weights' content, not to their place.
func TestMovedModelIsNotPreparedAgain(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	h.addModel(t, "model_1", demoModel(t))
	s := start(t, h)
	if a, b := s.serves(t, "0"), s.serves(t, "1"); a.body != b.body {
		t.Errorf("the same weights answer differently:\n%s\n%s", a.body, b.body)
	}
	if n := s.log.count("prepared model"); n != 1 {
		t.Errorf("equal weights were prepared %d times, want once", n)
	}
}

// Two servers that start on one empty folder share it: both answer, and what
// they prepared is there once.
func TestTwoServersShareACacheFolder(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	a, b := start(t, h), start(t, h)
	a.shared, b.shared = true, true
	answers := make(chan answer, 2)
	for _, s := range []*server{a, b} {
		go func() {
			got, err := s.tryPost(picture("0", smallPicture(t)))
			if err != nil {
				t.Error(err)
			}
			answers <- got
		}()
	}
	x, y := <-answers, <-answers
	if x.status != 200 || len(x.Predictions) == 0 || x.body != y.body {
		t.Errorf("the answers differ:\n%v\n%v", x, y)
	}
	if n := len(h.entries(t)); n != 1 {
		t.Errorf("%d entries in the cache, want 1", n)
	}
	// One stops; the other goes on serving from the shared file.
	a.stop(t)
	b.serves(t, "0")
}

// The demo model is unpacked into a folder that servers share as well.
func TestTwoServersUnpackTheDemoAtOnce(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	var servers []*server
	for range 4 {
		s := launch(t, h, "MODELS_PATH=", "PREPARE=background")
		s.shared = true
		servers = append(servers, s)
	}
	for _, s := range servers {
		s.healthy(t)
		if a := s.post(t, picture("0", smallPicture(t))); len(a.Predictions) == 0 {
			t.Errorf("demo: %v", a)
		}
	}
}

// A hundred clients that ask at once for a model that is not loaded cause one
// load and get the same answer.
func TestHundredFirstRequestsMakeOneLoad(t *testing.T) {
	t.Parallel()
	needORT(t)
	s := start(t, newHome(t))
	const n = 100
	image := smallPicture(t)
	answers := make(chan answer, n)
	for range n {
		go func() {
			a, err := s.tryPost(picture("0", image))
			if err != nil {
				t.Error(err)
			}
			answers <- a
		}()
	}
	first := <-answers
	if first.status != 200 || len(first.Predictions) == 0 {
		t.Errorf("first answer: %v", first)
	}
	for range n - 1 {
		if a := <-answers; a.status != 200 || a.body != first.body {
			t.Errorf("answers differ:\n%v\n%v", first, a)
		}
	}
	const last = "Initialized inference session for model ID 0" // written beside the first answer
	waitFor(t, last, func() bool { return s.log.count(last) > 0 })
	for _, line := range []string{"Lazy loading model 0 on first access", "prepared model", last} {
		if got := s.log.count(line); got != 1 {
			t.Errorf("%q stands in the log %d times, want once", line, got)
		}
	}
}

// The model that is being prepared ahead of its use is asked for: the request
// takes over, and nothing in the log cries of it.
func TestRequestTakesOverFromThePreparationInTheBackground(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	other := append(demoModel(t), 0x7a, 0) // another content: an unknown empty field behind
	h.addModel(t, "model_1", other)
	s := start(t, h, "PREPARE=background")
	s.serves(t, "0")
	s.serves(t, "1")
	waitFor(t, "both entries", func() bool { return len(h.entries(t)) == 2 })
	if s.log.count("level=WARN") > 0 {
		t.Errorf("warned without need:\n%s", s.log.String())
	}
}
