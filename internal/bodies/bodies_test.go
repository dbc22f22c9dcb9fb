package bodies_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"lazyolo/internal/bodies"
)

// A watcher is a body that has somebody look at each read before it is answered.
type watcher struct {
	body io.Reader
	look func(room int)
}

func (w watcher) Read(p []byte) (int, error) {
	w.look(len(p))
	return w.body.Read(p)
}

// free is what of a share a claim could still get.
func free(t *testing.T, s *bodies.Share) int64 {
	t.Helper()
	ended, cancel := context.WithCancel(t.Context())
	cancel() // nothing is waited for
	for step, n := int64(1<<30), int64(0); ; step /= 2 {
		c := s.Claim()
		if c.Grow(ended, n+step) == nil {
			n += step
		}
		c.Release()
		if step == 0 {
			return n
		}
	}
}

// What is set aside for a body follows what has arrived of it.
func TestABodyGrowsAsItArrives(t *testing.T) {
	const size = 8 << 20
	const k = 1 << 10
	for _, tt := range []struct {
		name    string
		claimed int64 // -1: not
		sent    int
		rooms   []int // of the reads
	}{
		{"small", 1000, 1000, []int{1001, 1}},
		{"usual", 400 * k, 400 * k, []int{400*k + 1, 1}},
		{"large", 3 << 20, 3 << 20, []int{512 * k, 2560*k + 1, 1}},
		{"so large that little would be left", 7 << 20, 7 << 20, []int{512 * k, 512 * k, 1024 * k, 2048 * k, 3072*k + 1, 1}},
		{"unknown", -1, 3 << 20, []int{512 * k, 512 * k, 1024 * k, 2048 * k, 1024 * k}},
		{"shorter than it says", 1 << 20, 10, []int{512 * k, 512*k - 10}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := bodies.New(size)
			sent := bytes.Repeat([]byte("0123456789"), (tt.sent+9)/10)[:tt.sent]
			var rooms []int
			c := s.Claim()
			got, err := c.ReadAll(t.Context(), watcher{bytes.NewReader(sent), func(room int) {
				rooms = append(rooms, room)
			}}, tt.claimed, size-1)
			if err != nil || !bytes.Equal(got, sent) {
				t.Fatalf("read %d of %d bytes, %v", len(got), len(sent), err)
			}
			if d := cmp.Diff(tt.rooms, rooms); d != "" {
				t.Errorf("room for the reads (-want +got):\n%s", d)
			}
			c.Release()
			if n := free(t, s); n != size+1 {
				t.Errorf("%d bytes are free afterwards, want %d", n, size+1)
			}
		})
	}
}

func TestReadFull(t *testing.T) {
	s := bodies.New(4 << 20)
	sent := bytes.Repeat([]byte("ab"), 1<<20)
	for _, n := range []int64{0, 1, 1 << 20, 2 << 20} {
		c := s.Claim()
		got, err := c.ReadFull(t.Context(), bytes.NewReader(sent), n)
		if err != nil || !bytes.Equal(got, sent[:n]) {
			t.Errorf("%d bytes: got %d, %v", n, len(got), err)
		}
		c.Release()
	}
	c := s.Claim()
	defer c.Release()
	for _, have := range []int{0, 9} {
		if _, err := c.ReadFull(t.Context(), bytes.NewReader(sent[:have]), 10); err != io.ErrUnexpectedEOF {
			t.Errorf("%d of 10 bytes: %v", have, err)
		}
	}
}

// Whoever wants more than is free waits in line, a second at most.
func TestTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bodies.New(99) // and one more, to see a body's end
		holder := s.Claim()
		if err := holder.Grow(t.Context(), 60); err != nil {
			t.Fatal(err)
		}
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- s.Claim().Grow(t.Context(), 80) }()
		synctest.Wait()
		go func() { second <- s.Claim().Grow(t.Context(), 20) }() // would fit, and does not overtake
		synctest.Wait()
		select {
		case err := <-second:
			t.Fatalf("the second overtakes: %v", err)
		default:
		}
		holder.Release()
		if err := errors.Join(<-first, <-second); err != nil {
			t.Error(err)
		}
		start := time.Now()
		if err := s.Claim().Grow(t.Context(), 1); !errors.Is(err, bodies.ErrFull) || time.Since(start) != time.Second {
			t.Errorf("full: %v after %v", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := s.Claim().Grow(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("its context has ended: %v", err)
		}
	})
}

func TestSettleAndPay(t *testing.T) {
	const size = 1000
	s := bodies.New(size)
	c := s.Claim()
	for _, step := range []struct {
		do   func() error
		held int64
	}{
		{func() error { return c.Settle(t.Context(), 600) }, 600},
		{func() error { return c.Settle(t.Context(), 400) }, 400},
		{func() error { c.Pay(100); return nil }, 300},
		{func() error { c.Pay(-5); return nil }, 300},
		{func() error { c.Pay(1000); return nil }, 0},
		{func() error { c.Release(); c.Release(); return nil }, 0},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if n := free(t, s); n != size+1-step.held {
			t.Errorf("%d free, want %d", n, size+1-step.held)
		}
	}
	if n := s.Largest(2000); n != size {
		t.Errorf("the largest body is %d", n)
	}
	if n := bodies.New(0).Largest(2000); n != 2000 {
		t.Errorf("without a bound the largest body is %d", n)
	}
}

// Buffers that are kept are not lent again.
func TestKeptBuffersStay(t *testing.T) {
	s := bodies.New(1 << 20)
	c := s.Claim()
	kept, err := c.ReadAll(t.Context(), bytes.NewReader([]byte("kept")), 4, 10)
	if err != nil {
		t.Fatal(err)
	}
	c.Keep()
	c.Release()
	for range 20 {
		c := s.Claim()
		if _, err := c.ReadAll(t.Context(), bytes.NewReader([]byte("else")), 4, 10); err != nil {
			t.Fatal(err)
		}
		c.Release()
	}
	if string(kept) != "kept" {
		t.Errorf("what was kept is %q now", kept)
	}
}
