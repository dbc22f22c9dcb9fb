package prepare

import (
	"errors"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// anonymousFile makes a file in memory that no folder names.
func anonymousFile(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// populate brings the pages of a mapped file in, in one call instead of a fault for
// every few of them. Where it fails (Linux before 5.14) each comes when it is touched.
func populate(data []byte) { _ = unix.Madvise(data, unix.MADV_POPULATE_READ) }

// limitSelf bounds this process before it reads anything of the model's: memory
// by its data segment (address space is no measure with Go and ONNX Runtime),
// processor time, no core dump; first to go when memory runs out; and where
// nobody waits for the work, a lower priority, mostly the lowest.
func limitSelf(req request) error {
	limits := map[int]uint64{
		unix.RLIMIT_CORE: 0,
		unix.RLIMIT_CPU:  uint64(req.CPULimit/time.Second) * 4,
	}
	if !raceEnabled { // the detector maps terabytes
		limits[unix.RLIMIT_DATA] = uint64(req.MemoryLimit)
	}
	var errs []error
	for which, n := range limits {
		errs = append(errs, unix.Setrlimit(which, &unix.Rlimit{Cur: n, Max: n}))
	}
	errs = append(errs, os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0))
	switch {
	case req.Speculative && req.Soon:
		errs = append(errs, lowerPriority(10))
	case req.Speculative:
		errs = append(errs, lowerPriority(19))
	}
	return errors.Join(errs...)
}

// lowerPriority applies to every thread: on Linux each has its own, and new
// ones inherit their maker's.
func lowerPriority(nice int) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := unix.Setpriority(unix.PRIO_PROCESS, tid, nice); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}
