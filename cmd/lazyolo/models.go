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

	"golang.org/x/sys/unix"

	"lazyolo/internal/catalog"
	"lazyolo/internal/config"
)

// demoFiles holds a small model of our own and two pictures for it, so that the
// main job runs with nothing downloaded.
//
//go:embed demo
var demoFiles embed.FS

// openModels reads the models folder. When nobody named one and the default
// holds no model, the embedded demo model is served instead; isDemo says so.
func openModels(c *config.Config, log *slog.Logger) (models *catalog.Catalog, isDemo bool, err error) {
	o := catalog.Options{Dir: c.ModelsPath, AllowDirs: c.AllowModelDirs, StateDir: c.StateDir, Reserved: reservedNames(c), Log: log}
	models, err = catalog.Open(o)
	chosen := c.Origin("MODELS_PATH").Source != config.Default
	var cannot *catalog.OpenError
	switch {
	case err == nil && (chosen || len(models.All())+len(models.Problems()) > 0):
		return models, false, nil
	case err != nil && (chosen || !isMissing(err)):
		if errors.As(err, &cannot) {
			err = hinted{err, cannot.Hint}
		}
		return nil, false, err
	}
	dir, err := unpackDemo(c.CacheDir)
	if err != nil {
		return nil, false, hinted{fmt.Errorf("unpack the demo model: %w", err), "set CACHE_DIR to a writable folder"}
	}
	models, err = catalog.Open(catalog.Options{Dir: filepath.Join(dir, "models"), Log: log})
	return models, true, err
}

// unpackDemo writes the demo models and pictures into the cache folder, where
// they are kept, or into a temporary folder, and returns the folder.
func unpackDemo(cacheDir string) (string, error) {
	if cacheDir != "" {
		dir := filepath.Join(cacheDir, "demo")
		if err := writeMissing(dir, "."); err == nil {
			return dir, nil
		}
	}
	dir, err := os.MkdirTemp("", "lazyolo-demo-*")
	if err != nil {
		return "", err
	}
	return dir, writeMissing(dir, ".")
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
