//go:build unix && !linux

package prepare

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// anonymousFile makes a file that no folder names any more.
func anonymousFile(name string) (*os.File, error) {
	f, err := os.CreateTemp("", name+"-*")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

// populate would bring the pages in at once; they come when they are touched.
func populate([]byte) {}

// limitSelf bounds processor time and core dumps; there is no useful bound on
// memory outside Linux.
func limitSelf(req request) error {
	seconds := uint64(req.CPULimit/time.Second) * 4
	return errors.Join(
		syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}),
		syscall.Setrlimit(syscall.RLIMIT_CPU, &syscall.Rlimit{Cur: seconds, Max: seconds}),
	)
}
