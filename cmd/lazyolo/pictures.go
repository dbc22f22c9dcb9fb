package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lazyolo/internal/config"
	"lazyolo/internal/load"
)

// A picture is what detect is asked about.
type picture struct {
	name   string                 // as it is told
	output string                 // where it is drawn; "": nowhere
	read   func() ([]byte, error) // may be called once
}

// stdinName is the argument that means standard input.
const stdinName = "-"

// findPictures lists what the arguments name: files, folders with all in them, patterns
// and standard input. What is not there is an error when it is read, so that the others
// are answered. most bounds the bytes of each.
func findPictures(args []string, stdin io.Reader, most int64) ([]picture, error) {
	var out []picture
	file := func(path string) {
		out = append(out, picture{name: path, read: func() ([]byte, error) { return readPicture(path, most) }})
	}
	failed := func(name string, err error) {
		out = append(out, picture{name: name, read: func() ([]byte, error) { return nil, err }})
	}
	folder := func(dir string) {
		before := len(out)
		if err := walkPictures(dir, file); err != nil {
			failed(dir, err)
		} else if len(out) == before {
			failed(dir, errors.New("there are no pictures in this folder"))
		}
	}
	read := false
	for _, arg := range args {
		if arg == stdinName {
			if read {
				return nil, &config.UsageError{Setting: stdinName, Msg: "standard input (-) is named twice", Hint: "name it once: it is one picture"}
			}
			read = true
			out = append(out, picture{name: stdinName, read: func() ([]byte, error) { return readMost(stdin, most) }})
			continue
		}
		paths := []string{arg}
		if _, err := os.Lstat(arg); err != nil && strings.ContainsAny(arg, "*?[") {
			if paths, err = filepath.Glob(arg); err != nil {
				return nil, &config.UsageError{Setting: arg, Msg: fmt.Sprintf("%q is no pattern: %v", arg, err), Hint: "write * for any name, [] around a choice of letters"}
			}
			if len(paths) == 0 {
				failed(arg, errors.New("nothing has such a name"))
			}
		}
		for _, path := range paths {
			if st, err := os.Stat(path); err == nil && st.IsDir() {
				folder(path)
			} else {
				file(path)
			}
		}
	}
	return out, nil
}

// walkPictures gives file the pictures below dir, in the order of their names. Hidden
// folders are left out, and links to folders.
func walkPictures(dir string, file func(path string)) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != dir && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case !d.IsDir() && load.IsPicture(d.Name()) && !strings.HasPrefix(d.Name(), "."):
			file(path)
		}
		return nil
	})
}

func readPicture(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readMost(f, most)
}

// readMost reads all of r, unless it is more than most bytes.
func readMost(r io.Reader, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(data)) > most {
		return nil, fmt.Errorf("has more than %d MB (MAX_BODY_MB)", most/mib)
	}
	return data, err
}

// written are the endings of the formats that pictures are drawn in; others become JPEG.
var written = []string{".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff"}

// nameOutputs chooses where in dir each picture is drawn: under its own name, or with a
// number where another has that name. None may take the place of a picture that is read.
func nameOutputs(pictures []picture, dir string) error {
	taken, inputs := make(map[string]bool), make(map[string]bool)
	for _, p := range pictures {
		inputs[resolved(p.name)] = true
	}
	for i, p := range pictures {
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
		pictures[i].output = filepath.Join(dir, name)
		if inputs[resolved(pictures[i].output)] {
			return &config.UsageError{Setting: "--save", Msg: pictures[i].output + " would be replaced: it is one of the pictures", Hint: "name another folder with --save"}
		}
	}
	return nil
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
