//go:build !linux

package e2e

import (
	"errors"
	"testing"
)

func mount(_, _, _ string) error { return errors.ErrUnsupported }

func readOnly(t *testing.T, _ string) {
	t.Helper()
	t.Skip(errors.ErrUnsupported)
}
