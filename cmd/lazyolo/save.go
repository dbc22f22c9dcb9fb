package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lazyolo/internal/config"
)

// written are the endings of the formats that pictures are drawn in; others become JPEG.
var written = []string{".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff"}

// nameOutputs chooses where in dir each picture is drawn: under its own name, or with a
// number where another has that name. None may take the place of a picture that is read,
// nor, unless it is forced, of any other file.
func nameOutputs(pictures []picture, dir string, force bool) error {
	taken, inputs := make(map[string]bool), make(map[string]bool)
	for _, p := range pictures {
		inputs[resolved(p.name)] = true
	}
	for i, p := range pictures {
		if p.err != nil {
			continue
		}
		name := filepath.Base(p.name)
		if p.name == stdinName {
			name = "stdin.jpg"
		}
		ext := filepath.Ext(name)
		stem := strings.TrimSuffix(name, ext)
		if !slices.Contains(written, strings.ToLower(ext)) {
			ext = ".jpg"
		}
		name = stem + ext
		for n := 2; taken[name]; n++ {
			name = fmt.Sprintf("%s-%d%s", stem, n, ext)
		}
		taken[name] = true
		output := filepath.Join(dir, name)
		if inputs[resolved(output)] {
			return &config.UsageError{Setting: "--save", Msg: output + " would be replaced: it is one of the pictures", Hint: "name another folder with --save"}
		}
		if err := mayWrite(output, force); err != nil {
			return err
		}
		pictures[i].output = output
	}
	return nil
}

// mayWrite refuses to replace what there is, unless it is forced.
func mayWrite(path string, force bool) error {
	if _, err := os.Lstat(path); force || err != nil {
		return nil // what else is wrong is told by writing it
	}
	return hinted{fmt.Errorf("%s is there already", path), "name another place, or replace it with --force"}
}

// resolved is a path by which a file is known, whatever links lead to it.
func resolved(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// openFolder makes a folder and tries whether files can be written to it.
func openFolder(dir string) error {
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		var f *os.File
		if f, err = os.CreateTemp(dir, ".lazyolo-*"); err == nil {
			err = errors.Join(f.Close(), os.Remove(f.Name()))
		}
	}
	if err != nil {
		return hinted{fmt.Errorf("write to %s: %w", dir, bare(err)), "name a folder that can be written with --save"}
	}
	return nil
}

// bare is an error without the name of a file.
func bare(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	var le *os.LinkError
	if errors.As(err, &le) {
		return le.Err
	}
	return err
}

// An outputError says why a picture could not be drawn.
type outputError struct {
	path string
	err  error
}

func (e *outputError) Error() string { return fmt.Sprintf("write %s: %v", e.path, bare(e.err)) }
func (e *outputError) Unwrap() error { return e.err }
