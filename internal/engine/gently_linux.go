package engine

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// politeness is how far below the runs' priority the opening and closing of models
// stands: a third of a core's time beside runs that want all of it.
const politeness = 5

// gently runs f on a thread of lower priority, so that the runs of models in use come
// first, and waits for it.
func gently(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with the goroutine, as its priority cannot be raised again
		if n, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err == nil {
			nice := 20 - n                                                                   // as the system call counts
			_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), min(nice+politeness, 19)) // where it is refused it goes without
		}
		f()
	}()
	<-done
}
