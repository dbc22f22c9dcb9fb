package load

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// endings are those of the files that are taken from a folder.
var endings = []string{".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}

// IsPicture reports whether a file's name ends as those of pictures do.
func IsPicture(name string) bool {
	return slices.Contains(endings, strings.ToLower(filepath.Ext(name)))
}

// Bounds of what is read: all pictures are held, once for each model.
const (
	maxPictures = 1000
	maxBytes    = 512 << 20
)

// ReadPictures reads picture files, and those that lie in folders, not in folders of
// these.
func ReadPictures(paths []string) ([]Picture, error) {
	var files []string
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, p)
			continue
		}
		inside, err := os.ReadDir(p)
		if err != nil {
			return nil, err
		}
		before := len(files)
		for _, e := range inside {
			if e.Type()&fs.ModeType == 0 && IsPicture(e.Name()) {
				files = append(files, filepath.Join(p, e.Name()))
			}
		}
		if len(files) == before {
			return nil, fmt.Errorf("%s has no pictures (%s)", p, strings.Join(endings, " "))
		}
	}
	if len(files) == 0 {
		return nil, errors.New("no pictures named")
	}
	if len(files) > maxPictures {
		return nil, fmt.Errorf("%d pictures, at most %d can be sent", len(files), maxPictures)
	}
	var out []Picture
	sum := 0
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		if sum += len(data); sum > maxBytes {
			return nil, fmt.Errorf("the pictures have more than %d MB together", maxBytes>>20)
		}
		out = append(out, Picture{filepath.Base(f), data})
	}
	return out, nil
}
