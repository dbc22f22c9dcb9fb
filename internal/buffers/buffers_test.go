package buffers_test

import (
	"os"
	"testing"

	"lazyolo/internal/buffers"
)

var page = os.Getpagesize()

// same reports whether two slices share their memory.
func same(a, b []byte) bool { return &a[:1][0] == &b[:1][0] }

func TestTheLastGivenBackIsLentFirst(t *testing.T) {
	var s buffers.Store
	a, b := buffers.Get[byte](&s, page), buffers.Get[byte](&s, page)
	buffers.Put(&s, a)
	buffers.Put(&s, b)
	if got := buffers.Get[byte](&s, page-8); !same(got, b) || len(got) != page-8 {
		t.Error("not the last one")
	}
	if got := buffers.Get[byte](&s, page); !same(got, a) {
		t.Error("not the other one")
	}
	if got := buffers.Get[byte](&s, page); same(got, a) || same(got, b) {
		t.Error("a buffer was lent twice")
	}
}

func TestAllKindsShareTheMemory(t *testing.T) {
	var s buffers.Store
	f := buffers.Get[float32](&s, page)
	f[page-1] = 1
	buffers.Put(&s, f)
	if got := buffers.Get[byte](&s, 4*page); len(got) != 4*page || s.Held() != int64(4*page) {
		t.Errorf("%d bytes, %d held", len(got), s.Held())
	}
}

func TestSizesMustFit(t *testing.T) {
	var s buffers.Store
	large := buffers.Get[byte](&s, 8*page)
	large[8*page-1] = 1
	buffers.Put(&s, large)
	if got := buffers.Get[byte](&s, 2*page); same(got, large) {
		t.Error("a small request took a large buffer")
	}
	large = buffers.Get[byte](&s, 8*page)
	buffers.Put(&s, large)
	if got := buffers.Get[byte](&s, 7*page); !same(got, large) || len(got) != 7*page {
		t.Error("a buffer that fits was not lent")
	}
}

// What lies unused goes before more is held than was seen, or than is lent.
func TestWhatIsHeldIsBounded(t *testing.T) {
	var s buffers.Store
	lent := make([][]byte, 4)
	for i := range lent {
		lent[i] = buffers.Get[byte](&s, 4*page)
	}
	for _, b := range lent {
		buffers.Put(&s, b)
	}
	if held := s.Held(); held != int64(16*page) {
		t.Fatalf("%d held", held)
	}
	first := buffers.Get[byte](&s, 2*page) // fits nothing
	if held := s.Held(); held > int64(16*page) {
		t.Errorf("%d held: unused ones stayed beside a new one", held)
	}
	buffers.Get[byte](&s, 32*page)
	if held := s.Held(); held != int64(34*page) {
		t.Errorf("%d held: what is lent is %d", held, 34*page)
	}
	buffers.Put(&s, first)
	s.Clear()
	if held := s.Held(); held != int64(32*page) {
		t.Errorf("%d held after Clear", held)
	}
}

func TestClearGivesBackToTheSystem(t *testing.T) {
	var s buffers.Store
	const n = 64 << 20
	b := buffers.Get[byte](&s, n)
	for i := 0; i < n; i += page {
		b[i] = 1
	}
	before := resident(t)
	buffers.Put(&s, b)
	s.Clear()
	if after := resident(t); before-after < n/2 {
		t.Errorf("%d resident, then %d", before, after)
	}
}

func resident(t *testing.T) int {
	t.Helper()
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip(err)
	}
	pages, field := 0, 0
	for _, c := range statm {
		switch {
		case c == ' ':
			field++
		case field == 1:
			pages = 10*pages + int(c-'0')
		}
	}
	return pages * page
}

func TestWithoutAStoreTheHeapLends(t *testing.T) {
	var s *buffers.Store
	b := buffers.Get[float32](s, 10)
	if len(b) != 10 {
		t.Error(len(b))
	}
	buffers.Put(s, b)
	s.Clear()
	if s.Held() != 0 {
		t.Error("a nil Store holds nothing")
	}
}
