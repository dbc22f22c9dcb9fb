//go:build !unix

package torch

import (
	"io"
	"os"
)

// mapFile reads f into memory where files cannot be mapped by the standard library.
func mapFile(f *os.File, size int64) (data []byte, unmap func() error, err error) {
	data, err = io.ReadAll(io.NewSectionReader(f, 0, size))
	return data, func() error { return nil }, err
}
