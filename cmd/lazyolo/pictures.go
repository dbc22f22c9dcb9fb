package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"lazyolo/internal/bodies"
	"lazyolo/internal/config"
	"lazyolo/internal/core"
	"lazyolo/internal/load"
)

// A picture is what detect is asked about.
type picture struct {
	name   string // as it is told
	output string // where it is drawn; "": nowhere
	err    error  // why it cannot be read; nil: it was not tried yet
	open   func() (io.ReadCloser, error)
	size   int64 // bytes that are read of it; streamed: not known yet
	pipe   bool  // it was streamed
}

// streamed is the size of what comes through a pipe.
const streamed = -1

// stdinName is the argument that means standard input.
const stdinName = "-"

// A search is how pictures are found.
type search struct {
	stdin io.Reader
	most  int64  // bytes of a picture
	not   string // folder that is left out of those that are searched; "": none
	found []picture
}

// pictures lists what the arguments name: files, folders with all in them, patterns and
// standard input. What cannot be read is found as well, with its error, so that the others
// are answered.
func (s *search) pictures(args []string) ([]picture, error) {
	read := false
	for _, arg := range args {
		if arg == stdinName {
			if read {
				return nil, &config.UsageError{Setting: stdinName, Msg: "standard input (-) is named twice", Hint: "name it once: it is one picture"}
			}
			read = true
			s.add(stdinName, sizeOf(s.stdin), func() (io.ReadCloser, error) { return io.NopCloser(s.stdin), nil })
			continue
		}
		paths := []string{arg}
		if _, err := os.Lstat(arg); err != nil && strings.ContainsAny(arg, "*?[") {
			if paths, err = filepath.Glob(arg); err != nil {
				return nil, &config.UsageError{Setting: arg, Msg: fmt.Sprintf("%q is no pattern: %v", arg, err), Hint: "write * for any name, [] around a choice of letters"}
			}
			if len(paths) == 0 {
				s.failed(arg, errors.New("nothing has such a name"))
			}
		}
		for _, path := range paths {
			s.path(path)
		}
	}
	return s.found, nil
}

// path adds what is there: a folder's pictures, or a file, whatever it is called.
func (s *search) path(path string) {
	switch st, err := os.Stat(path); {
	case err != nil:
		s.failed(path, err)
	case st.IsDir():
		before := len(s.found)
		if s.walk(path); len(s.found) == before {
			s.failed(path, errors.New("there are no pictures in this folder"))
		}
	default:
		s.file(path, st)
	}
}

func (s *search) file(path string, st fs.FileInfo) {
	size := int64(streamed)
	if st.Mode().IsRegular() {
		size = st.Size()
	}
	s.add(path, size, func() (io.ReadCloser, error) { return os.Open(path) })
}

func (s *search) add(name string, size int64, open func() (io.ReadCloser, error)) {
	if size > s.most {
		s.failed(name, tooLarge(s.most))
		return
	}
	s.found = append(s.found, picture{name: name, open: open, size: size})
}

func (s *search) failed(name string, err error) {
	s.found = append(s.found, picture{name: name, err: err})
}

func tooLarge(most int64) error { return fmt.Errorf("has more than %d MB (MAX_BODY_MB)", most/mib) }

// sizeOf is the size of what r reads, as far as it is known.
func sizeOf(r io.Reader) int64 {
	f, ok := r.(*os.File)
	if !ok {
		return streamed
	}
	if st, err := f.Stat(); err == nil && st.Mode().IsRegular() {
		return st.Size()
	}
	return streamed
}

// walk adds the pictures below dir, in the order of their names: regular files, and links
// to them. Hidden folders are left out, and links to folders. What cannot be looked into is
// found with its error.
func (s *search) walk(dir string) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error { return s.visit(path, d, err, path == dir) })
}

// visit is told of what a walk comes to; first: where it begins.
func (s *search) visit(path string, d fs.DirEntry, err error, first bool) error {
	switch {
	case err != nil:
		s.failed(path, err)
		if d != nil && d.IsDir() {
			return fs.SkipDir
		}
	case d.IsDir():
		if !first && (strings.HasPrefix(d.Name(), ".") || isFile(path, s.not)) {
			return fs.SkipDir
		}
	case load.IsPicture(d.Name()) && !strings.HasPrefix(d.Name(), "."):
		if st, err := os.Stat(path); err != nil {
			s.failed(path, err)
		} else if st.Mode().IsRegular() {
			s.file(path, st)
		}
	}
	return nil
}

// isFile reports whether two paths lead to the same file.
func isFile(a, b string) bool {
	one, err1 := os.Stat(a)
	other, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(one, other)
}

// readAhead is the memory that the pictures which are read or waiting have together: as
// much as bodies have in a server, or as the largest takes, if that much can be spared. It
// settles how much is read of a pipe.
func readAhead(pictures []picture, budget, most int64) *ahead {
	var sum, largest int64
	for i, p := range pictures {
		if p.err != nil {
			continue
		}
		if p.size == streamed {
			p.size = min(most, max(8*mib, budget/8))
			pictures[i].size, pictures[i].pipe = p.size, true
		}
		sum += p.size
		largest = max(largest, p.size)
	}
	n := max(1, min(max(largest, min(sum, shareOf(budget))), core.Spare(budget)))
	return &ahead{bodies.New(n), n}
}

// An ahead is memory for pictures.
type ahead struct {
	share *bodies.Share
	bytes int64
}

// read waits for memory for a picture and reads it. Nobody may use the data after done.
// When ctx ends, a pipe from which nothing comes is not waited for.
func (a *ahead) read(ctx context.Context, p picture) (data []byte, done func(), err error) {
	if p.err != nil {
		return nil, func() {}, p.err
	}
	if p.size > a.bytes {
		return nil, func() {}, fmt.Errorf("has %d MB, and the memory that can be spared is %d (MAX_MEMORY_MB)", p.size/mib, a.bytes/mib)
	}
	claim := a.share.Claim()
	buffer, err := claim.Buffer(ctx, p.size+1) // which shows that there is more
	for errors.Is(err, bodies.ErrFull) && ctx.Err() == nil {
		buffer, err = claim.Buffer(ctx, p.size+1)
	}
	if err != nil {
		return nil, func() {}, err
	}
	data, err = leaving(ctx, func() ([]byte, error) { return p.readInto(buffer[:cap(buffer)]) })
	if ctx.Err() != nil {
		return nil, func() {}, ctx.Err() // the buffer may still be read into
	}
	return data, claim.Release, err
}

// readInto reads a picture that must be smaller than the buffer.
func (p picture) readInto(buffer []byte) ([]byte, error) {
	r, err := p.open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	n, err := io.ReadFull(r, buffer)
	switch err {
	case nil:
		if !p.pipe {
			return nil, errors.New("grew while it was read")
		}
		return nil, fmt.Errorf("has more than %d MB (MAX_BODY_MB, and of a pipe an eighth of MAX_MEMORY_MB)", p.size/mib)
	case io.EOF, io.ErrUnexpectedEOF:
		return buffer[:n], nil
	}
	return nil, err
}

// leaving has read run until ctx ends. Nothing ends a read of a pipe: it is left then, and
// goes with the process.
func leaving(ctx context.Context, read func() ([]byte, error)) (data []byte, err error) {
	done := make(chan struct{})
	var got []byte
	var failed error
	go func() {
		defer close(done)
		got, failed = read()
	}()
	select {
	case <-done:
		return got, failed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
