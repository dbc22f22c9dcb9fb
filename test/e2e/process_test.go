package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// needProc skips a test that looks at processes through Linux's /proc.
func needProc(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/proc/self/exe"); err != nil {
		t.Skip("processes are looked at through /proc, which is not here")
	}
}

// pids lists the processes that run this installation's binary, zombies left
// out: whoever adopted them may be slow to collect them.
func (h *home) pids() []int {
	var found []int
	exes, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, link := range exes {
		exe, err := os.Readlink(link)
		if err != nil || strings.TrimSuffix(exe, " (deleted)") != h.binary {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		if err == nil && !zombie(pid) {
			found = append(found, pid)
		}
	}
	return found
}

func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, after, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(after, "Z")
}

// child waits for the server's preparing child and stops it at once, so that it
// cannot finish before the test has done what it wants to do to it. Meanwhile, if
// not nil, is called while there is none.
func (s *server) child(t *testing.T, meanwhile func()) *os.Process {
	t.Helper()
	var pid int
	waitFor(t, "a preparing child", func() bool {
		if meanwhile != nil {
			meanwhile()
		}
		for _, p := range children(s.cmd.Process.Pid) {
			if worker(p) {
				pid = p
				return syscall.Kill(p, syscall.SIGSTOP) == nil
			}
		}
		return false
	})
	p, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// children lists a process's children faster than a look at every process: the
// one that is waited for lives a tenth of a second.
func children(pid int) []int {
	var found []int
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, l := range lists {
		b, err := os.ReadFile(l)
		if err != nil {
			continue // the thread is gone
		}
		for f := range strings.FieldsSeq(string(b)) {
			if p, err := strconv.Atoi(f); err == nil {
				found = append(found, p)
			}
		}
	}
	return found
}

// worker tells the child from a fork of the server that is about to become it.
func worker(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.HasPrefix(string(b), "lazyolo-prepare-worker\x00")
}

// files counts the descriptors that a process has open.
func files(t *testing.T, pid int) int {
	t.Helper()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}
