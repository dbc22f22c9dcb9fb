package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// processorTime is what the process has used so far, over all threads.
func (p *process) processorTime() (time.Duration, error) {
	// clock_getcpuclockid(3): the clock of a process is ~pid above the three bits
	// that say which of its clocks; 2 is all the time it was scheduled.
	const scheduled = 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^p.cmd.Process.Pid<<3|scheduled), &t); err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	return time.Duration(t.Nano()), nil
}

// warmPrepared makes sure that the prepared files are in the page cache, whatever
// the machine did to make room.
func (b *work) warmPrepared() error {
	return b.eachPrepared(func(f *os.File) error {
		_, err := io.Copy(io.Discard, f)
		return err
	})
}

// dropPrepared puts the prepared files out of the page cache, as they are after a
// boot, and makes sure that they are out.
func (b *work) dropPrepared() error { return b.eachPrepared(dropPages) }

func (b *work) eachPrepared(do func(f *os.File) error) error {
	files, err := filepath.Glob(b.path("cache", "*", "model.ort"))
	if err != nil {
		return err
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		err = do(f)
		_ = f.Close()
		if err != nil {
			return fmt.Errorf("page cache of %s: %w", name, err)
		}
	}
	return nil
}

func dropPages(f *os.File) error {
	if err := f.Sync(); err != nil { // dirty pages stay
		return err
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	defer unix.Munmap(data)
	pages := make([]byte, (len(data)+os.Getpagesize()-1)/os.Getpagesize())
	// Package unix has no wrapper of mincore(2).
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)), uintptr(unsafe.Pointer(&pages[0])))
	if errno != 0 {
		return errno
	}
	in := 0
	for _, p := range pages {
		in += int(p & 1)
	}
	if in > len(pages)/10 {
		return fmt.Errorf("%d of %d pages stay", in, len(pages))
	}
	return nil
}
