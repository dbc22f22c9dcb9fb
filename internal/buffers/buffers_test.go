package buffers_test

import (
	"testing"

	"lazyolo/internal/buffers"
)

// same reports whether two slices share their memory.
func same(a, b []int) bool { return &a[:1][0] == &b[:1][0] }

func TestTheLastGivenBackIsLentFirst(t *testing.T) {
	var l buffers.List[int]
	a, b := l.Get(10), l.Get(10)
	l.Put(a)
	l.Put(b)
	if got := l.Get(8); !same(got, b) || len(got) != 8 {
		t.Error("not the last one")
	}
	if got := l.Get(10); !same(got, a) {
		t.Error("not the other one")
	}
	if got := l.Get(10); same(got, a) || same(got, b) {
		t.Error("a buffer was lent twice")
	}
}

func TestSizesMustFit(t *testing.T) {
	var l buffers.List[int]
	small, large := l.Get(10), l.Get(1000)
	l.Put(small)
	l.Put(large)
	if got := l.Get(10); !same(got, small) {
		t.Error("a small request took a large buffer")
	}
	if got := l.Get(1001); same(got, large) || len(got) != 1001 {
		t.Error("a buffer too small was lent")
	}
	if got := l.Get(500); !same(got, large) {
		t.Error("a buffer that fits was not lent")
	}
}

func TestFreeBuffersAreBounded(t *testing.T) {
	var l buffers.List[int]
	var lent [][]int
	for range 10 {
		lent = append(lent, l.Get(10))
	}
	for _, b := range lent {
		l.Put(b)
	}
	again := 0
	for range 10 {
		got := l.Get(10)
		for _, b := range lent {
			if same(got, b) {
				again++
			}
		}
	}
	if again != 4 {
		t.Errorf("%d were kept", again)
	}
	l.Put(lent[0])
	l.Clear()
	if same(l.Get(10), lent[0]) {
		t.Error("kept after Clear")
	}
}
