// Package bodies is the memory that the bodies of all requests, and of answers as
// large, have together, whichever door they came through.
package bodies

import (
	"context"
	"io"
	"math"
	"math/bits"
	"slices"
	"sync"
	"time"

	"lazyolo/yolo"
)

// wait is how long a request waits for memory for its body; meanwhile its
// socket is not read.
const wait = time.Second

// Presize bounds what the length a client claims makes us allocate and set aside, in
// bytes; a longer body grows as it really arrives. Most pictures fit: such a one waits for
// all its memory before it holds any.
const Presize = 512 << 10

// ErrFull refuses a body that there was no memory for.
var ErrFull = &yolo.Error{
	Code: yolo.Overloaded, Retry: time.Second,
	Msg: "the requests that wait hold all the memory there is for them (MAX_QUEUE_MB)",
}

// A Share is the memory that the bodies of all requests have together. Whoever
// wants more than is free waits in line. Its methods may be called concurrently.
type Share struct {
	size   int64 // 0: no bound
	mu     sync.Mutex
	free   int64
	line   []*want
	spares [64]sync.Pool // buffers of earlier requests, by the length of their size in bits
}

// A want waits for n bytes.
type want struct {
	n    int64
	done chan struct{} // closed when they are given
}

// New makes a share of n bytes; 0: without a bound.
func New(n int64) *Share {
	free := n
	if n == 0 {
		free = math.MaxInt64 - 1
	}
	return &Share{size: n, free: free + 1} // reading a whole body takes a byte more, to see its end
}

// Largest is the size of the largest body where one may have n bytes: one that exceeds
// what all together may hold could never be read.
func (s *Share) Largest(n int64) int64 {
	if s.size > 0 {
		return min(n, s.size)
	}
	return n
}

// plenty and scarce are how many times what has arrived a body may set aside: the more,
// the less is moved as it grows, and the more a client holds that sends no more.
const (
	plenty = 16
	scarce = 2
)

// next is what a buffer grows to of which have bytes have arrived, and n may in all.
func (s *Share) next(have, n int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	more := plenty * have
	if more > n-Presize { // what would be left is not worth another step
		more = n
	}
	if len(s.line) == 0 && more-have <= s.free/2 { // as much is left for others
		return more
	}
	return min(scarce*have, n)
}

// take gets n bytes; false: not within wait or before ctx ended.
func (s *Share) take(ctx context.Context, n int64) bool {
	s.mu.Lock()
	if len(s.line) == 0 && s.free >= n {
		s.free -= n
		s.mu.Unlock()
		return true
	}
	w := &want{n, make(chan struct{})}
	s.line = append(s.line, w)
	s.mu.Unlock()
	late := time.NewTimer(wait)
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
func (s *Share) give(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free += n
	s.serveLocked()
}

// serveLocked serves the head of the line as long as it can.
func (s *Share) serveLocked() {
	for len(s.line) > 0 && s.line[0].n <= s.free {
		s.free -= s.line[0].n
		close(s.line[0].done)
		s.line = s.line[1:]
	}
}

// Claim begins a request's claim on the share.
func (s *Share) Claim() *Claim { return &Claim{share: s} }

// A Claim is what one request holds of a share. One goroutine uses it.
type Claim struct {
	share  *Share
	held   int64
	spares []*[]byte // hold what this request reads, and may hold the next one's
}

// Buffer takes n bytes more, as an empty slice with room for them. It is valid until
// Release.
func (c *Claim) Buffer(ctx context.Context, n int64) ([]byte, error) {
	if err := c.Grow(ctx, n); err != nil {
		return nil, err
	}
	return c.lend(n), nil
}

// lend gets a buffer for n bytes that are charged.
func (c *Claim) lend(n int64) []byte {
	b, ok := c.share.spares[bits.Len64(uint64(n))].Get().(*[]byte)
	if !ok || int64(cap(*b)) < n { // what is held beyond n, less than it again, is not charged
		fresh := make([]byte, 0, n)
		b = &fresh
	}
	c.spares = append(c.spares, b)
	return (*b)[:0:n]
}

// larger moves b, the buffer lent last, into one with room for n bytes.
func (c *Claim) larger(ctx context.Context, b []byte, n int64) ([]byte, error) {
	if err := c.Grow(ctx, n-int64(cap(b))); err != nil {
		return nil, err
	}
	old := c.spares[len(c.spares)-1]
	c.spares = c.spares[:len(c.spares)-1]
	grown := append(c.lend(n), b...)
	c.spare(old)
	return grown, nil
}

// ReadAll reads r to its end into one buffer. size is the length the client claims, or
// -1; limit is where r ends at the latest.
func (c *Claim) ReadAll(ctx context.Context, r io.Reader, size, limit int64) ([]byte, error) {
	// One byte more than the body: the read that finds the end needs room.
	most := limit + 1
	if size >= 0 {
		most = size + 1
	}
	b, err := c.Buffer(ctx, min(most, Presize))
	for err == nil {
		if len(b) == cap(b) {
			if b, err = c.larger(ctx, b, max(c.share.next(int64(cap(b)), most), int64(cap(b))+1)); err != nil {
				break
			}
		}
		var n int
		n, err = r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
	}
	if err == io.EOF {
		return b, nil
	}
	return nil, err
}

// ReadFull reads n bytes of r into one buffer. io.ErrUnexpectedEOF: there were fewer.
func (c *Claim) ReadFull(ctx context.Context, r io.Reader, n int64) ([]byte, error) {
	b, err := c.Buffer(ctx, min(n, Presize))
	for err == nil {
		var read int
		read, err = io.ReadFull(r, b[len(b):cap(b)])
		if b = b[:len(b)+read]; err != nil || int64(len(b)) == n {
			break
		}
		b, err = c.larger(ctx, b, c.share.next(int64(cap(b)), n))
	}
	if err == io.EOF && n > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && n > 0 {
		return nil, err
	}
	return b, nil
}

// Keep says that the buffers stay in use after the request.
func (c *Claim) Keep() { c.spares = nil }

// spare puts a buffer aside for the next request.
func (c *Claim) spare(b *[]byte) {
	c.share.spares[bits.Len64(uint64(cap(*b)))].Put(b)
}

// Grow takes n bytes more.
func (c *Claim) Grow(ctx context.Context, n int64) error {
	if !c.share.take(ctx, n) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return ErrFull
	}
	c.held += n
	return nil
}

// Settle has the claim hold n bytes, whatever it held.
func (c *Claim) Settle(ctx context.Context, n int64) error {
	if n > c.held {
		return c.Grow(ctx, n-c.held)
	}
	c.Pay(c.held - n)
	return nil
}

// Pay gives n bytes back.
func (c *Claim) Pay(n int64) {
	if n = min(n, c.held); n > 0 {
		c.share.give(n)
		c.held -= n
	}
}

// Release gives everything back; it may be called again. Nobody may use the buffers
// any more, unless they are kept.
func (c *Claim) Release() {
	for _, b := range c.spares {
		c.spare(b)
	}
	c.spares = nil
	c.Pay(c.held)
}
