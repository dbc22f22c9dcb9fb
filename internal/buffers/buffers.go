// Package buffers lends large slices that requests use one after the other.
//
// sync.Pool would keep one for every processor and let go of them only after two
// garbage collections; here the one given back last is lent first, so that
// requests that come one by one share a single buffer, and Clear lets go of all.
package buffers

import "sync"

// most is how many free buffers a List keeps: what comes back beyond is garbage.
const most = 4

// waste is how many times larger than asked a lent buffer may be, so that a large
// one is not held by small requests.
const waste = 4

// A List lends slices. The zero List is empty and ready; its methods may be called
// concurrently.
type List[T any] struct {
	mu   sync.Mutex
	free [][]T
}

// Get lends a slice of n elements whose contents are arbitrary.
func (l *List[T]) Get(n int) []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := len(l.free) - 1; i >= 0; i-- {
		if b := l.free[i]; cap(b) >= n && cap(b)/waste <= n {
			l.free = append(l.free[:i], l.free[i+1:]...)
			return b[:n]
		}
	}
	return make([]T, n)
}

// Put takes a slice back; the caller must not use it any more.
func (l *List[T]) Put(b []T) {
	if cap(b) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.free) == most {
		copy(l.free, l.free[1:]) // the one unused for longest
		l.free = l.free[:most-1]
	}
	l.free = append(l.free, b)
}

// Clear leaves the free slices to the garbage collector.
func (l *List[T]) Clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free = nil
}
