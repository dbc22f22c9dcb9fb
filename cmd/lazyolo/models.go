package main

import (
	"bufio"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"lazyolo/internal/catalog"
	"lazyolo/internal/config"
	"lazyolo/yolo"
)

// demoFiles holds a small model of our own and two pictures for it, so that the
// main job runs with nothing downloaded.
//
//go:embed demo
var demoFiles embed.FS

// openedModels are the models of a folder.
type openedModels struct {
	*catalog.Catalog
	dir    string // where they are
	isDemo bool   // the embedded demo model
	temp   string // folder that goes with them; "": none
}

// remove removes what was only for this process.
func (o openedModels) remove() error {
	if o.temp == "" {
		return nil
	}
	return os.RemoveAll(o.temp)
}

// openModels reads the models folder. When nobody named one and the default holds no
// model, it is the embedded demo model instead. Read only, it takes no note of the models'
// numbers. Whoever gets them calls remove at the end.
func openModels(c *config.Config, log *slog.Logger, readOnly bool) (openedModels, error) {
	o := catalog.Options{Dir: c.ModelsPath, AllowDirs: c.AllowModelDirs, StateDir: c.StateDir, Reserved: reservedNames(c), Log: log, ReadOnly: readOnly}
	models, err := catalog.Open(o)
	chosen := c.Origin("MODELS_PATH").Source != config.Default
	var cannot *catalog.OpenError
	switch {
	case err == nil && (chosen || len(models.All())+len(models.Problems()) > 0):
		return openedModels{Catalog: models, dir: c.ModelsPath}, nil
	case err != nil && (chosen || !isMissing(err)):
		if errors.As(err, &cannot) {
			err = hinted{err, cannot.Hint}
		}
		return openedModels{}, err
	}
	dir, temp, err := unpackDemo(c.CacheDir)
	opened := openedModels{dir: filepath.Join(dir, "models"), isDemo: true, temp: temp}
	if err == nil {
		opened.Catalog, err = catalog.Open(catalog.Options{Dir: opened.dir, Log: log})
	}
	if err != nil {
		err = hinted{fmt.Errorf("unpack the demo model: %w", err), "set CACHE_DIR to a writable folder"}
		return openedModels{}, errors.Join(err, opened.remove())
	}
	return opened, nil
}

// pickModel finds the model that somebody names: by its folder, its number, or a name that
// no other has.
func pickModel(all []*yolo.Model, asked string) (*yolo.Model, error) {
	var named []*yolo.Model
	for _, by := range []func(*yolo.Model) bool{
		func(m *yolo.Model) bool { return m.ID == asked },
		func(m *yolo.Model) bool { return strconv.Itoa(m.Index) == asked },
		func(m *yolo.Model) bool { return m.Name == asked },
	} {
		for _, m := range all {
			if by(m) {
				named = append(named, m)
			}
		}
		if len(named) > 0 {
			break
		}
	}
	switch len(named) {
	case 0:
		return nil, noModel(asked)
	case 1:
		return named[0], nil
	}
	return nil, &config.UsageError{Setting: asked, Msg: fmt.Sprintf("%d models have the name %q", len(named), asked),
		Hint: fmt.Sprintf("name a folder, such as %s or %s", named[0].ID, named[1].ID)}
}

func noModel(asked string) error {
	return hinted{fmt.Errorf("no model %q", asked), "lazyolo models lists them; a path of weights for detect must end in .onnx or .pt, or contain a /"}
}

// unpackDemo writes the demo models and pictures into the cache folder, where they are
// kept, or into a temporary folder, temp, and returns the folder.
func unpackDemo(cacheDir string) (dir, temp string, err error) {
	if cacheDir != "" {
		dir = filepath.Join(cacheDir, "demo")
		if writeMissing(dir, ".") == nil {
			return dir, "", nil
		}
	}
	if temp, err = os.MkdirTemp("", "lazyolo-demo-*"); err != nil {
		return "", "", err
	}
	return temp, temp, writeMissing(temp, ".")
}

// demoPicture writes the picture that the greeting names into the cache folder
// and returns its path; without one, a name for the reader to replace.
func demoPicture(cacheDir string) string {
	dir := filepath.Join(cacheDir, "demo")
	if cacheDir == "" || writeMissing(dir, "pictures") != nil {
		return "picture.jpg"
	}
	return filepath.Join(dir, "pictures", "shapes.jpg")
}

// writeMissing copies the demo files below sub to dir; one of the same content
// stays as it is, so that it counts as unchanged.
func writeMissing(dir, sub string) error {
	files, err := fs.Sub(demoFiles, "demo")
	if err != nil {
		return err
	}
	return fs.WalkDir(files, sub, func(name string, d fs.DirEntry, err error) error {
		to := filepath.Join(dir, name)
		if err != nil || d.IsDir() {
			return errors.Join(err, os.MkdirAll(to, 0o700))
		}
		b, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		if have, err := os.ReadFile(to); err == nil && string(have) == string(b) {
			return nil
		}
		return writeWhole(to, func(w io.Writer) error {
			_, err := w.Write(b)
			return err
		})
	})
}

// writeWhole writes a file that others may be reading or writing too: it appears
// complete, or not at all.
func writeWhole(to string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(to), ".lazyolo-*")
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, mib)
	err = errors.Join(write(w), w.Flush(), f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), to)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

// readable and writable ask the system about this process's access to a folder.
func readable(dir string) bool { return unix.Access(dir, unix.R_OK|unix.X_OK) == nil }
func writable(dir string) bool { return unix.Access(dir, unix.W_OK|unix.X_OK) == nil }
