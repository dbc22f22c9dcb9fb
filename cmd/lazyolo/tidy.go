package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// errInterrupted ends a command that a signal ended, and is the cause of its context.
var errInterrupted = errors.New("interrupted")

// tidy is for commands that leave processes and files behind unless they come to their
// end: their context ends at the first signal, SIGHUP too, and when what they print is
// not taken any more. context.Cause says which. The second signal ends the process.
// Outputs of the sys it returns are watched. Call stop at the end.
func tidy(ctx context.Context, s sys) (_ context.Context, _ sys, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals, pipe := make(chan os.Signal, 1), make(chan os.Signal, 1)
	wanted := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		wanted = append(wanted, syscall.SIGHUP)
	}
	signal.Notify(signals, wanted...)
	signal.Notify(pipe, syscall.SIGPIPE) // so that writing fails; nobody reads it
	var waiter sync.WaitGroup
	waiter.Go(func() {
		select {
		case <-signals:
			signal.Stop(signals)
			cancel(errInterrupted)
		case <-ctx.Done():
		}
	})
	s.stdout, s.stderr = heard{s.stdout, cancel}, heard{s.stderr, cancel}
	return ctx, s, func() {
		cancel(nil)
		waiter.Wait()
		signal.Stop(signals)
		signal.Stop(pipe)
	}
}

// A heard output tells when writing to it fails.
type heard struct {
	io.Writer
	gone context.CancelCauseFunc
}

// Write implements io.Writer.
func (h heard) Write(b []byte) (int, error) {
	n, err := h.Writer.Write(b)
	if err != nil {
		h.gone(err)
	}
	return n, err
}

// A folder is one that its process removes at its end; where that end does not come,
// the next process does.
type folder struct {
	path string
	lock *os.File // of the folder itself, while it is in use
}

// newFolder makes a folder in home, "": where the system has temporary files, and
// removes those there whose processes are gone.
func newFolder(home string) (*folder, error) {
	pattern := "compare-*"
	if home == "" {
		home, pattern = os.TempDir(), "lazyolo-compare-*"
	}
	sweep(filepath.Join(home, pattern))
	for {
		path, err := os.MkdirTemp(home, pattern)
		if err != nil {
			return nil, err
		}
		lock, err := os.Open(path)
		if err != nil {
			if isMissing(err) {
				continue // another process took it for one that was left behind
			}
			return nil, errors.Join(err, os.Remove(path))
		}
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if _, gone := os.Lstat(path); errors.Is(err, unix.EWOULDBLOCK) || gone != nil {
			_ = lock.Close() // as above
			continue
		}
		return &folder{path, lock}, nil // also where folders cannot be locked: they stay then
	}
}

// close removes the folder.
func (f *folder) close() error { return errors.Join(os.RemoveAll(f.path), f.lock.Close()) }

// sweep removes folders that nobody holds. What cannot be removed stays.
func sweep(pattern string) {
	found, _ := filepath.Glob(pattern)
	for _, path := range found {
		if info, err := os.Lstat(path); err != nil || !info.IsDir() {
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = os.RemoveAll(path)
		}
		_ = f.Close()
	}
}
