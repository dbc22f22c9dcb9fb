package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"lazyolo/internal/ort"
	"lazyolo/internal/prepare"
	"lazyolo/yolo"
)

// A session is a loaded model: one session of package ort for each number of threads
// it is open for, all over one mapping.
type session struct {
	engine  *Engine
	rt      *ort.Runtime
	file    *prepare.File // with the metadata, which it does not carry itself
	inputs  []yolo.TensorInfo
	outputs []yolo.TensorInfo

	mu   sync.Mutex
	open map[int]*ort.Session // by threads
}

// Inputs implements pool.Session.
func (s *session) Inputs() []yolo.TensorInfo { return s.inputs }

// Outputs implements pool.Session.
func (s *session) Outputs() []yolo.TensorInfo { return s.outputs }

// Metadata implements pool.Session.
func (s *session) Metadata() map[string]string { return s.file.Metadata }

// Run implements pool.Session.
func (s *session) Run(ctx context.Context, threads int, in []yolo.Tensor, use func([]yolo.Tensor) error) error {
	s.mu.Lock()
	o := s.open[threads]
	s.mu.Unlock()
	if o == nil {
		return fmt.Errorf("the model is not open for runs on %d threads", threads)
	}
	return o.Run(ctx, in, use)
}

// Open implements pool.Session.
func (s *session) Open(threads int) (err error) {
	var o *ort.Session
	gently(func() { o, err = s.rt.OpenMapped(s.file.Data, threads, func() error { return nil }) })
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = make(map[int]*ort.Session)
	}
	s.open[threads] = o
	return nil
}

// Shut implements pool.Session.
func (s *session) Shut(threads int) error {
	s.mu.Lock()
	o := s.open[threads]
	delete(s.open, threads)
	s.mu.Unlock()
	if o == nil {
		return nil
	}
	return s.closeOne(o)
}

func (s *session) closeOne(o *ort.Session) (err error) {
	gently(func() { err = o.Close() })
	s.engine.trim()
	return err
}

// Close implements pool.Session.
func (s *session) Close() error {
	var errs []error
	for _, o := range s.open {
		errs = append(errs, s.closeOne(o))
	}
	return errors.Join(append(errs, s.file.Unmap())...)
}

// Cool implements pool.Session: the kernel takes the pages of the mapping away,
// which is safe even beside a run; touching one brings it back from the file. Other
// systems than Linux keep the pages, and so does a file that is nowhere but in memory.
func (s *session) Cool() error {
	if runtime.GOOS != "linux" || s.file.InMemory {
		return errors.ErrUnsupported
	}
	return unix.Madvise(s.file.Data, unix.MADV_DONTNEED)
}
