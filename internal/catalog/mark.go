package catalog

import (
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A stamp tells one state of a file, its content and who may read it, from another without
// reading it, links being followed. The zero stamp is a file that is not there.
type stamp struct {
	dev, ino           uint64
	size, mtime, ctime int64
}

func stampOf(path string) stamp {
	var s unix.Stat_t // os.Stat makes garbage, and there may be thousands to look at
	if unix.Stat(path, &s) != nil {
		return stamp{}
	}
	return stamp{uint64(s.Dev), s.Ino, s.Size, s.Mtim.Nano(), s.Ctim.Nano()}
}

// A mark tells one state of a model folder from another. The zero mark is a folder that
// is not there.
type mark struct {
	there           bool
	labels, weights stamp
}

// A lookup is one look at all folders.
type lookup struct {
	*watcher
	root   string  // of this look, resolved
	reader *reader // nil: nothing was read yet
}

// dir is where a folder lies.
func (r *lookup) dir(name string) string {
	if r.c.alone {
		return r.root
	}
	return filepath.Join(r.root, name)
}

// mark looks at the files of a folder. It reads the labels only if they changed, to
// learn which weights they name.
func (r *lookup) mark(name string, item fs.DirEntry, f *folder) mark {
	if f.root != r.root || f.labels == "" {
		f.root, f.labels, f.weights = r.root, filepath.Join(r.dir(name), labelsFile), ""
	}
	m := mark{there: true, labels: stampOf(f.labels)}
	if m.labels != f.seen.labels {
		f.ref, f.weights = r.read(name, item).ref, ""
	}
	if f.ref != "" {
		if f.weights == "" {
			f.weights = filepath.Join(r.dir(name), f.ref)
		}
		m.weights = stampOf(f.weights)
	}
	return m
}

// read reads one folder.
func (r *lookup) read(name string, item fs.DirEntry) reading {
	if r.reader == nil {
		r.reader = newReader(r.root, r.o)
	}
	if item == nil {
		return r.reader.read(name, r.root, true)
	}
	return r.reader.folder(item)
}
