package ort

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// nices lists the niceness of each thread of the process.
func nices(t *testing.T) map[string]int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]int)
	for _, task := range tasks {
		stat, err := os.ReadFile(filepath.Join("/proc/self/task", task.Name(), "stat"))
		if err != nil {
			continue // it ended
		}
		_, rest, _ := strings.Cut(string(stat), ") ") // after the name come the state and fields 4 on
		if all[task.Name()], err = strconv.Atoi(strings.Fields(rest)[16]); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// A session that is opened at low priority runs at the usual one.
func TestThreadsKeepTheUsualPriority(t *testing.T) {
	runtimeOf(t)
	before := nices(t)
	var unmapped int
	var s *Session
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with the goroutine
		if err := unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 7); err != nil {
			t.Error(err)
		}
		s = session(t, "static.onnx", &unmapped)
		for id, nice := range nices(t) {
			if nice == 7 && id != strconv.Itoa(unix.Gettid()) {
				t.Errorf("thread %s has its priority", id)
			}
		}
	}()
	<-done
	if n := len(nices(t)); s == nil || n <= len(before)-1 {
		t.Errorf("%d threads before, %d with a session of two", len(before), n)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
