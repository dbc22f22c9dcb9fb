package catalog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxLabels is the size of the largest labels.yaml that is read: 100,000 names
// fit, and reading it stays a matter of a second.
const maxLabels = 4 << 20

// readLabels returns the content of a folder's labels.yaml, and its stamp from before. A pipe or device of
// that name is refused unopened: it could block forever.
func (r *reader) readLabels(dir string) ([]byte, stamp, *Problem) {
	if _, err := os.Lstat(filepath.Join(dir, labelsFile)); errors.Is(err, fs.ErrNotExist) {
		p := &Problem{Field: labelsFile, Msg: "is missing", Remedy: "add one, or move the folder out of the models folder"}
		if _, err := os.Lstat(filepath.Join(dir, "labels.yml")); err == nil {
			p.Remedy = "rename labels.yml to " + labelsFile
		}
		return nil, stamp{}, p
	}
	path, info, p := r.follow(dir, labelsFile)
	if p == nil {
		p = regular(info)
	}
	if p != nil {
		p.Field = labelsFile
		return nil, stamp{}, p
	}
	before := stampOf(path)
	tooLarge := &Problem{Field: labelsFile, Msg: fmt.Sprintf("is larger than %d MiB", maxLabels>>20), Remedy: "make it smaller: class names and a description are all it needs"}
	if info.Size() > maxLabels {
		return nil, before, tooLarge
	}
	data, err := readLimited(path, info.Size(), maxLabels)
	if err != nil {
		return nil, before, &Problem{Field: labelsFile, Msg: "cannot be read: " + cause(err), Remedy: "make it readable for the user that lazyolo runs as"}
	}
	if len(data) > maxLabels {
		return nil, before, tooLarge
	}
	return data, before, nil
}

// readLimited reads a file of about size bytes, and no more than one byte
// beyond limit should it grow meanwhile.
func readLimited(path string, size, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buf := make([]byte, 0, size+1)
	for {
		n, err := f.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) || int64(len(buf)) > limit {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, 512)
		}
	}
}

// weights finds the file that model_path names and returns its resolved path.
func (r *reader) weights(dir, ref string) (string, fs.FileInfo, *Problem) {
	refuse := func(msg, remedy string) (string, fs.FileInfo, *Problem) {
		return "", nil, &Problem{Field: "model_path", Msg: fmt.Sprintf("%.200q ", ref) + msg, Remedy: remedy}
	}
	slashed := filepath.ToSlash(ref)
	switch {
	case strings.Contains(ref, `\`):
		return refuse("has a backslash in it", `write it with slashes, such as ./best.onnx`)
	case filepath.IsAbs(ref) || strings.HasPrefix(slashed, "/"):
		return refuse("is absolute", "write it relative to the folder, such as ./best.onnx; a link may lead elsewhere, see ALLOW_MODEL_DIRS")
	case slices.Contains(strings.Split(slashed, "/"), ".."):
		return refuse("leads out of the folder", "remove the ..; a link may lead elsewhere, see ALLOW_MODEL_DIRS")
	}
	if ext := strings.ToLower(filepath.Ext(ref)); ext != ".onnx" && ext != ".pt" {
		return refuse("is neither .onnx nor .pt", "export the model as .onnx, or name its .pt file")
	}
	path, info, p := r.follow(dir, filepath.Clean(ref))
	if p == nil {
		p = regular(info)
	}
	if p != nil {
		p.Field = "model_path"
		p.Msg = fmt.Sprintf("%.200q ", ref) + p.Msg
		return "", nil, p
	}
	return path, info, nil
}

// follow returns where dir/rel really is, dir being resolved, and refuses what
// lies outside the allowed folders.
func (r *reader) follow(dir, rel string) (string, fs.FileInfo, *Problem) {
	path := filepath.Join(dir, rel)
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil, &Problem{Msg: "does not exist", Remedy: "copy the file there, or correct its name"}
	case err != nil:
		return "", nil, &Problem{Msg: "cannot be read: " + cause(err), Remedy: "check the name, and that the user lazyolo runs as may read it"}
	case info.Mode()&fs.ModeSymlink == 0 && filepath.Base(rel) == rel:
		return path, info, nil // no link anywhere: the usual case, and the cheap one
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		target, _ := os.Readlink(path)
		return "", nil, &Problem{Msg: fmt.Sprintf("(%s) is a link to %s that cannot be followed: %s", path, target, cause(err)), Remedy: "correct the link, or remove it", paths: true}
	}
	if !slices.ContainsFunc(r.allowed, func(d string) bool { return within(d, real) }) {
		return "", nil, &Problem{
			Msg:    fmt.Sprintf("(%s) leads to %s, outside the models folder", path, real),
			Remedy: "copy it into the models folder, or add " + filepath.Dir(real) + " to ALLOW_MODEL_DIRS",
			paths:  true,
		}
	}
	if info, err = os.Stat(real); err != nil {
		return "", nil, &Problem{Msg: "cannot be read: " + cause(err), Remedy: "check that the user lazyolo runs as may read it"}
	}
	return real, info, nil
}

// within reports whether path is dir or lies in it; both are resolved.
func within(dir, path string) bool {
	if path == dir {
		return true
	}
	return strings.HasPrefix(path, strings.TrimSuffix(dir, string(filepath.Separator))+string(filepath.Separator))
}

// regular refuses what is not a regular file.
func regular(info fs.FileInfo) *Problem {
	kind := "a special file"
	switch m := info.Mode(); {
	case m.IsRegular():
		return nil
	case m.IsDir():
		kind = "a folder"
	case m&fs.ModeNamedPipe != 0:
		kind = "a pipe"
	case m&fs.ModeDevice != 0:
		kind = "a device"
	case m&fs.ModeSocket != 0:
		kind = "a socket"
	}
	return &Problem{Msg: "is " + kind + ", not a file", Remedy: "put a regular file there"}
}

// cause returns an error's text without the path, which the message names.
func cause(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}
