package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"lazyolo/yolo"
)

const labelsFile = "labels.yaml"

// found is what is in a models folder, in natural order.
type found struct {
	dir      string // absolute, links not resolved: its name stays when a link moves on
	entries  []entry
	problems []Problem
	folders  map[string]folder // by name
	alone    bool              // the folder itself is the only model
}

// scan reads the models folder: its model folders or, in the old server's
// first layout, the one model in it.
func scan(o Options) (*found, error) {
	dir, root, items, err := openDir(o.Dir)
	if err != nil {
		return nil, err
	}
	f := &found{dir: dir, folders: make(map[string]folder)}
	r := newReader(root, o)
	alone := slices.ContainsFunc(items, func(e fs.DirEntry) bool { return e.Name() == labelsFile && !e.IsDir() })
	folders := candidates(items)
	if alone && f.single(r, o, folders) {
		return f, nil
	}
	for i, x := range r.folders(folders) {
		f.folders[folders[i].Name()] = newFolder(x)
		switch {
		case x.problem != nil:
			f.problems = append(f.problems, *x.problem)
		case x.model != nil:
			f.entries = append(f.entries, x.entry)
		}
	}
	return f, nil
}

// openDir lists a models folder under its absolute and its resolved path.
func openDir(name string) (dir, root string, items []fs.DirEntry, err error) {
	fail := func(err error) (string, string, []fs.DirEntry, error) {
		e := &OpenError{Dir: name, Err: err, Hint: "make it readable for the user that lazyolo runs as"}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			e.Hint = "create it, or set MODELS_PATH to the folder that holds your model folders"
		case !errors.Is(err, fs.ErrPermission):
			e.Hint = "set MODELS_PATH to the folder that holds your model folders"
		}
		return "", "", nil, e
	}
	if name == "" {
		return fail(fs.ErrNotExist)
	}
	if dir, err = filepath.Abs(name); err != nil {
		return fail(err)
	}
	if root, err = filepath.EvalSymlinks(dir); err != nil {
		return fail(err)
	}
	info, err := os.Stat(root)
	if err != nil {
		return fail(err)
	}
	if !info.IsDir() {
		return fail(errors.New("not a folder"))
	}
	if items, err = os.ReadDir(root); err != nil {
		return fail(err)
	}
	return dir, root, items, nil
}

// candidates returns what may be a model folder, in natural order. Hidden ones
// are not: Kubernetes keeps the real files of a ConfigMap in ..data.
func candidates(items []fs.DirEntry) []fs.DirEntry {
	items = slices.DeleteFunc(items, func(e fs.DirEntry) bool {
		return !e.IsDir() && e.Type()&fs.ModeSymlink == 0 || strings.HasPrefix(e.Name(), ".")
	})
	slices.SortFunc(items, func(a, b fs.DirEntry) int { return natural(a.Name(), b.Name()) })
	return items
}

// single takes the folder itself as one model and reports whether it is one. A
// stray labels.yaml beside model folders, which the old server ignored, must
// not hide them.
func (f *found) single(r *reader, o Options, folders []fs.DirEntry) bool {
	id := filepath.Base(f.dir)
	x := r.read(id, r.root, true)
	inside := 0
	for _, e := range folders {
		if _, err := os.Stat(filepath.Join(r.root, e.Name(), labelsFile)); err == nil {
			inside++
		}
	}
	switch {
	case x.problem == nil:
		if inside > 0 {
			o.Log.Warn("models folder is itself a model: the model folders in it are not served", "dir", o.Dir, "folders", inside,
				"hint", "move its "+labelsFile+" and weights into a folder of their own")
		}
		f.entries = []entry{x.entry}

	case inside > 0:
		o.Log.Warn("ignore labels.yaml beside model folders", "dir", o.Dir, "problem", x.problem.String())
		return false
	default:
		f.problems = []Problem{*x.problem}
	}
	f.alone = true
	f.folders[id] = newFolder(x)
	return true
}

// A reading is what one folder turned out to be: an entry, a problem, or, when
// both are empty, nothing of interest.
type reading struct {
	entry
	problem *Problem
	ref     string // model_path, "" unless the labels could be read
	mark    mark   // of the files that were read
}

// A reader reads model folders, several at once.
type reader struct {
	root    string   // the models folder, resolved
	allowed []string // where links may lead: root and Options.AllowDirs, resolved
	taken   []string // Options.Reserved
	mu      sync.Mutex
	shared  map[[sha256.Size]byte]yolo.Labels // label sets seen, by content
}

func newReader(root string, o Options) *reader {
	r := &reader{root: root, allowed: []string{root}, taken: o.Reserved, shared: make(map[[sha256.Size]byte]yolo.Labels)}
	for _, d := range o.AllowDirs {
		abs, err := filepath.Abs(d)
		if err == nil {
			abs, err = filepath.EvalSymlinks(abs)
		}
		if err != nil {
			o.Log.Warn("ignore folder of ALLOW_MODEL_DIRS", "dir", d, "error", err)
			continue
		}
		r.allowed = append(r.allowed, abs)
	}
	return r
}

// folders reads these folders on all processors; the readings are in
// their order.
func (r *reader) folders(items []fs.DirEntry) []reading {
	out := make([]reading, len(items))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(items)) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(items) {
					return
				}
				out[i] = r.folder(items[i])
			}
		})
	}
	wg.Wait()
	return out
}

// folder reads one entry of the models folder.
func (r *reader) folder(item fs.DirEntry) reading {
	name := item.Name()
	path := filepath.Join(r.root, name)
	if !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return reading{problem: &Problem{Folder: fmt.Sprintf("%q", name), Field: "folder", Msg: "has a name that cannot be an id", Remedy: "rename it, in UTF-8 and without control characters"}}
	}
	if slices.Contains(r.taken, name) {
		return reading{problem: &Problem{Folder: name, Field: "folder", Msg: "has a name that the HTTP APIs use in their paths", Remedy: "rename it, for example to " + name + "_model"}}
	}
	if !item.IsDir() { // a link
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			return reading{} // to a file, which is no model folder
		}
		var p *Problem
		if path, _, p = r.follow(r.root, name); p != nil {
			p.Folder, p.Field = name, "folder"
			return reading{problem: p}
		}
	}
	return r.read(name, path, false)
}

// read reads the model in a resolved folder. alone says that it is the only
// one, in the old server's first layout, where labels.yaml said less.
func (r *reader) read(id, dir string, alone bool) reading {
	out := reading{mark: mark{there: true}}
	data, was, p := r.readLabels(dir)
	out.mark.labels = was
	var l *labels
	if p == nil {
		l, p = parseLabels(data)
	}
	if p == nil && alone {
		l.fillIn(id, dir)
	}
	if p == nil {
		out.ref = l.path
		p = l.check()
	}
	var weights string
	var info fs.FileInfo
	if p == nil {
		out.mark.weights = stampOf(filepath.Join(dir, l.path)) // from before it is looked at
		weights, info, p = r.weights(dir, l.path)
	}
	if p != nil {
		p.Folder = id
		out.problem = p
		return out
	}
	out.entry = entry{pin: l.pin, model: &yolo.Model{
		ID:          id,
		Name:        l.name,
		Family:      l.family,
		Version:     l.version,
		Description: l.description,
		TaskName:    l.taskName,
		Task:        l.task,
		Labels:      r.share(l.names),
		InputSize:   l.inputSize,
		OneToOne:    l.oneToOne,
		KeepAlive:   l.keepAlive,
		Weights:     weights,
		WeightsRef:  l.path,
		Rev:         revision(data, weights, info),
		Bytes:       info.Size(),
	}}
	return out
}

// share returns the label set with this content: of a thousand models, most
// have the names of a few.
func (r *reader) share(names yolo.Labels) yolo.Labels {
	keys := make([]int, 0, len(names))
	for k := range names {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var b []byte
	for _, k := range keys {
		b = strconv.AppendInt(b, int64(k), 10)
		b = strconv.AppendQuote(b, names[k])
	}
	sum := sha256.Sum256(b)
	r.mu.Lock()
	defer r.mu.Unlock()
	if same, ok := r.shared[sum]; ok {
		return same
	}
	r.shared[sum] = names
	return names
}

// revision identifies what a model is made of, without reading the weights.
func revision(data []byte, weights string, info fs.FileInfo) string {
	h := sha256.New()
	h.Write(data)
	fmt.Fprintf(h, "\x00%s\x00%d\x00%d", weights, info.Size(), info.ModTime().UnixNano())
	return hex.EncodeToString(h.Sum(nil)[:6])
}
