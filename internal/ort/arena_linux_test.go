package ort_test

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unsafe"
)

// glibc gives a thread an arena of its own unless their number is bounded before
// the first thread: such an arena is a mapping on a multiple of 64 MiB, the rest of
// these 64 MiB being kept inaccessible behind it.
func TestAllThreadsShareOneArena(t *testing.T) {
	const threads = 16
	var met, done sync.WaitGroup
	met.Add(threads)
	for range threads {
		done.Go(func() {
			runtime.LockOSThread() // not unlocked: the thread ends with the goroutine
			met.Done()
			met.Wait()
		})
	}
	done.Wait()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	goHeap := uint64(uintptr(unsafe.Pointer(&maps[0])))
	end := map[uint64]bool{} // of writable mappings that begin on such a multiple
	for line := range strings.Lines(string(maps)) {
		f := strings.Fields(line)
		from, to, _ := strings.Cut(f[0], "-")
		a, errA := strconv.ParseUint(from, 16, 64)
		b, errB := strconv.ParseUint(to, 16, 64)
		if errA != nil || errB != nil {
			t.Fatalf("maps: %q", line)
		}
		switch {
		case a>>40 == goHeap>>40: // Go's own looks the same
		case f[1] == "rw-p" && a%size == 0 && b-a < size:
			end[b] = true
		case f[1] == "---p" && end[a] && b%size == 0:
			t.Errorf("a thread has an arena of its own, up to %s", f[0])
		}
	}
}
