package e2e

import (
	"syscall"
	"testing"
)

func mount(kind, dir, options string) error { return syscall.Mount(kind, dir, kind, 0, options) }

// readOnly makes a mounted folder read-only.
func readOnly(t *testing.T, dir string) {
	t.Helper()
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Skipf("a read-only folder cannot be had here: %v", err)
	}
}
