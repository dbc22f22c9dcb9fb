package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"
)

// A file is one file of an archive.
type file struct {
	name string // with slashes, relative
	mode int64
	data []byte
	link string // where a symbolic link leads; then there is no data
}

// targz packs files below prefix, which ends with a slash. The result depends on
// nothing but the arguments: everything is root's and of one time, in the order of names.
func targz(prefix string, files []file, when time.Time) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	err := writeTar(w, prefix, files, when)
	if err = errors.Join(err, w.Close(), z.Close()); err != nil {
		return nil, fmt.Errorf("pack %s: %w", prefix, err)
	}
	return b.Bytes(), nil
}

func writeTar(w *tar.Writer, prefix string, files []file, when time.Time) error {
	files = slices.SortedFunc(slices.Values(files), func(a, b file) int { return strings.Compare(a.name, b.name) })
	made, packed := make(map[string]bool), make(map[string]bool) // folders and files
	head := func(h tar.Header) error {
		h.ModTime, h.Uname, h.Gname, h.Format = when, "root", "root", tar.FormatUSTAR
		return w.WriteHeader(&h)
	}
	var folder func(dir string) error
	folder = func(dir string) error {
		if made[dir] {
			return nil
		}
		if packed[dir] {
			return fmt.Errorf("%q is a file and a folder", dir)
		}
		made[dir] = true
		name := prefix
		if dir != "." {
			if err := folder(path.Dir(dir)); err != nil {
				return err
			}
			name += dir + "/"
		}
		return head(tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755})
	}
	for _, f := range files {
		if path.Clean(f.name) != f.name || path.IsAbs(f.name) || strings.HasPrefix(f.name, "..") || made[f.name] || packed[f.name] {
			return fmt.Errorf("name %q", f.name)
		}
		if err := folder(path.Dir(f.name)); err != nil {
			return err
		}
		packed[f.name] = true
		h := tar.Header{Typeflag: tar.TypeReg, Name: prefix + f.name, Mode: f.mode, Size: int64(len(f.data))}
		if f.link != "" {
			h = tar.Header{Typeflag: tar.TypeSymlink, Name: prefix + f.name, Mode: 0o777, Linkname: f.link}
		}
		if err := head(h); err != nil {
			return err
		}
		if _, err := w.Write(f.data); err != nil {
			return err
		}
	}
	return nil
}

// ar packs files as Unix's ar does, which is the outside of a Debian package.
func ar(w io.Writer, files []file, when time.Time) error {
	if _, err := io.WriteString(w, "!<arch>\n"); err != nil {
		return err
	}
	for _, f := range files {
		if len(f.name) > 16 {
			return fmt.Errorf("name %q is longer than 16 bytes", f.name)
		}
		end := ""
		if len(f.data)%2 == 1 {
			end = "\n" // members begin on even offsets
		}
		_, err := fmt.Fprintf(w, "%-16s%-12d%-6d%-6d%-8o%-10d`\n%s%s", f.name, when.Unix(), 0, 0, 0o100644, len(f.data), f.data, end)
		if err != nil {
			return err
		}
	}
	return nil
}
