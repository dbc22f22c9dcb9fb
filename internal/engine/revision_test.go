package engine_test

import (
	"os"
	"testing"
)

// A revision that was prepared opens although its file is another by now; one that is
// forgotten is what its file holds.
func TestRevisionOutlivesItsFile(t *testing.T) {
	needLibrary(t)
	e, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	m := model(t, weights[1])
	if err := e.Prepare(t.Context(), m, 0, false); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.Weights, []byte("this is no model"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := e.Cost(m); !ok {
		t.Error("its cost is not known, though nobody asked for it before")
	}
	s, err := e.Open(t.Context(), m, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	e.Forget(m)
	if _, err := e.Open(t.Context(), m, 1); err == nil {
		t.Error("what is no model opens")
	}
}
