package httpapi

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"lazyolo/yolo"
)

// bodyWait is how long a request waits for memory for its body; meanwhile its
// socket is not read.
const bodyWait = time.Second

// errBodies refuses a body that there was no memory for.
var errBodies = &yolo.Error{
	Code: yolo.Overloaded, Retry: time.Second,
	Msg: "the requests that wait hold all the memory there is for them (MAX_QUEUE_MB)",
}

// A share is the memory that the bodies of all requests have together. Whoever
// wants more than is free waits in line.
type share struct {
	mu   sync.Mutex
	free int64
	line []*want
}

// A want waits for n bytes.
type want struct {
	n    int64
	done chan struct{} // closed when they are given
}

// newShare makes a share of n bytes; 0: without a bound.
func newShare(n int64) *share {
	if n == 0 {
		n = math.MaxInt64 - 1
	}
	return &share{free: n + 1} // reading a whole body takes a byte more, to see its end
}

// take gets n bytes; false: not within bodyWait or before ctx ended.
func (s *share) take(ctx context.Context, n int64) bool {
	s.mu.Lock()
	if len(s.line) == 0 && s.free >= n {
		s.free -= n
		s.mu.Unlock()
		return true
	}
	w := &want{n, make(chan struct{})}
	s.line = append(s.line, w)
	s.mu.Unlock()
	late := time.NewTimer(bodyWait)
	defer late.Stop()
	select {
	case <-w.done:
		return true
	case <-late.C:
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.line, w)
	if i < 0 { // given at the same moment
		return true
	}
	s.line = slices.Delete(s.line, i, i+1)
	s.serveLocked()
	return false
}

// give gives n bytes back.
func (s *share) give(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free += n
	s.serveLocked()
}

// serveLocked serves the head of the line as long as it can.
func (s *share) serveLocked() {
	for len(s.line) > 0 && s.line[0].n <= s.free {
		s.free -= s.line[0].n
		close(s.line[0].done)
		s.line = s.line[1:]
	}
}

// claim begins a request's claim on the share.
func (s *share) claim() *claim { return &claim{share: s} }

// A claim is what one request holds of a share. One goroutine uses it.
type claim struct {
	share *share
	held  int64
	spare *[]byte // holds the body, and may hold the next one's
}

// spares are buffers of earlier requests, of at most presize bytes.
var spares sync.Pool

// buffer takes n bytes more, at most presize, as an empty slice with room for them.
func (c *claim) buffer(ctx context.Context, n int64) ([]byte, error) {
	if err := c.grow(ctx, n); err != nil {
		return nil, err
	}
	b, ok := spares.Get().(*[]byte)
	if !ok || int64(cap(*b)) < n || int64(cap(*b)) > 2*n { // what is held beyond n is not charged
		fresh := make([]byte, 0, n)
		b = &fresh
	}
	c.spare = b
	return (*b)[:0:n], nil
}

// keep says that the buffer stays in use after the request.
func (c *claim) keep() { c.spare = nil }

// outgrow says that the body moved to a larger buffer.
func (c *claim) outgrow() {
	if c.spare != nil {
		spares.Put(c.spare)
		c.spare = nil
	}
}

// grow takes n bytes more.
func (c *claim) grow(ctx context.Context, n int64) error {
	if !c.share.take(ctx, n) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return errBodies
	}
	c.held += n
	return nil
}

// release gives everything back; it may be called again. Nobody may use the buffer
// any more, unless it is kept.
func (c *claim) release() {
	c.outgrow()
	if c.held > 0 {
		c.share.give(c.held)
		c.held = 0
	}
}
