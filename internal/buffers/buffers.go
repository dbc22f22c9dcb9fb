// Package buffers lends the large slices of a request, pixels and network inputs,
// outside Go's heap: there the collector would let as much again lie around before
// it frees any, and nobody could say how much is held.
package buffers

import (
	"os"
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Store lends slices and keeps what comes back for the next request. Its methods
// may be called concurrently. A nil Store lends from Go's heap and keeps nothing.
//
// It never holds more than it was last seen to hold (Held) or than is lent, whichever
// is more: what lies unused goes before more is taken. So a budget that counts the
// larger of the two is kept.
type Store struct {
	mu    sync.Mutex
	free  [][]byte       // unused mappings; the one given back last stands last
	lent  map[*byte]bool // mappings by their first byte
	held  int64          // bytes mapped, free and lent
	bound int64          // held may grow to it without unused mappings being given up
}

// waste is the part of a lent mapping that may be more than was asked for.
const waste = 4

// An Element is what slices are lent of.
type Element interface{ ~byte | ~float32 }

// Get lends a slice of n elements whose contents are arbitrary. It must come back by
// Put: the garbage collector does not know it.
func Get[T Element](s *Store, n int) []T {
	if s == nil || n == 0 {
		return make([]T, n)
	}
	size := int(unsafe.Sizeof(*new(T)))
	b := s.get(size * n)
	if b == nil {
		return make([]T, n) // the system gives no mapping
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&b[0])), cap(b)/size)[:n]
}

// Put takes a slice back; nobody may use it any more.
func Put[T Element](s *Store, lent []T) {
	if s == nil || cap(lent) == 0 {
		return
	}
	lent = lent[:cap(lent)]
	s.put(unsafe.Slice((*byte)(unsafe.Pointer(&lent[0])), len(lent)*int(unsafe.Sizeof(lent[0]))))
}

// get returns a mapping of at least n bytes; nil: there is none to be had.
func (s *Store) get(n int) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, b := range slices.Backward(s.free) {
		if len(b) >= n && len(b)-len(b)/waste <= n {
			s.free = slices.Delete(s.free, i, i+1)
			s.lent[&b[0]] = true
			return b
		}
	}
	page := os.Getpagesize()
	n = (n + page - 1) / page * page
	for len(s.free) > 0 && s.held+int64(n) > s.bound {
		s.unmapLocked(s.free[0])
		s.free = s.free[1:]
	}
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil
	}
	if s.lent == nil {
		s.lent = make(map[*byte]bool)
	}
	s.lent[&b[0]] = true
	s.held += int64(n)
	s.bound = max(s.bound, s.held)
	return b
}

func (s *Store) put(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.lent[&b[0]] {
		return // of Go's heap
	}
	delete(s.lent, &b[0])
	s.free = append(s.free, b)
}

func (s *Store) unmapLocked(b []byte) {
	s.held -= int64(len(b))
	_ = unix.Munmap(b) // of a mapping of ours it cannot fail
}

// Held returns the bytes held, lent ones included.
func (s *Store) Held() int64 {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bound = s.held
	return s.held
}

// Clear gives back to the system what is not lent.
func (s *Store) Clear() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.free {
		s.unmapLocked(b)
	}
	s.free = nil
}
