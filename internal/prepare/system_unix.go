//go:build unix

package prepare

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

func inode(st fs.FileInfo) uint64 {
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		return s.Ino
	}
	return 0
}

func ownedByUs(st fs.FileInfo) bool {
	s, ok := st.Sys().(*syscall.Stat_t)
	return ok && int(s.Uid) == os.Geteuid()
}

// mapFile maps f read-only, with all its pages, which every run touches; the descriptor may be closed afterwards.
func mapFile(f *os.File, info Info) (*File, error) {
	data, err := syscall.Mmap(int(f.Fd()), 0, int(info.Bytes), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map prepared model: %w", err)
	}
	populate(data)
	return &File{Info: info, Data: data, Unmap: func() error { return syscall.Munmap(data) }}, nil
}
