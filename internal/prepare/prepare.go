// Package prepare turns a model's weights into a prepared file: optimised once,
// saved in ONNX Runtime's own format, and from then on mapped into memory, where
// its bytes serve as the weights without a copy. A prepared model loads in
// milliseconds and its weights are clean file pages.
//
// # Where the work runs
//
// Optimising needs several times the weights' size and reads a file that may be
// hostile, so it runs in a child process of the same binary (see Work), bounded
// in memory and time. The server itself never parses an ONNX file.
//
// # The cache
//
// A prepared file and what was measured about it form an entry, one directory
// named by a key: the digest of the weights, the ONNX Runtime version, the CPU's
// features and the options used. Entries are written aside, synced and renamed
// into place; the first wins, so several servers may share the folder. They are
// never changed in place, only unlinked. Where the folder cannot be written, the
// child prepares into an anonymous file instead, which lives until its model is closed;
// there is no second way to load.
package prepare

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os/exec"
	"sync"
	"time"

	"lazyolo/internal/machine"
	"lazyolo/internal/ort"
	"lazyolo/yolo"
)

// Options configures a Cache. Library, Worker and Log are required.
type Options struct {
	Dir      string // the cache folder, made when missing; "": anonymous files only
	MaxBytes int64  // of all entries together, oldest use goes first; 0: no bound
	// Library locates ONNX Runtime; asked anew for each preparation, so that a
	// library installed meanwhile is found.
	Library func() (ort.Library, error)
	// Worker makes the command that ends in Work; prepare adds its files,
	// environment and limits.
	Worker  func() *exec.Cmd
	Timeout time.Duration // of one preparation; 0: 5 minutes
	Log     *slog.Logger
}

// Sizes is what a prepared model was measured to take, in bytes.
type Sizes struct {
	Mapped   int64   `json:"mapped"`    // the file's pages, all of them in memory once it has run
	Private  int64   `json:"private"`   // resident beside the mapping after the load
	LoadPeak int64   `json:"load_peak"` // highest during the load, beside the mapping
	RunPeak  int64   `json:"run_peak"`  // of one run at RunShape
	RunShape []int64 `json:"run_shape"`
}

// Info is what an entry's sidecar says of a prepared model.
type Info struct {
	Inputs   []yolo.TensorInfo `json:"inputs"`
	Outputs  []yolo.TensorInfo `json:"outputs"`
	Metadata map[string]string `json:"metadata"` // the weights file's own, as Ultralytics writes it
	Sizes    Sizes             `json:"sizes"`
	Bytes    int64             `json:"bytes"`   // of the prepared file
	CRC32C   uint32            `json:"crc32c"`  // of the prepared file, see checksum
	Digest   string            `json:"digest"`  // SHA-256 of the weights
	Runtime  string            `json:"runtime"` // ONNX Runtime's version
	CPU      string            `json:"cpu"`     // see machine.CPUFeatures
}

// A File is a prepared model mapped into memory. Data must not be written to
// and is valid until Unmap, which must be called once.
type File struct {
	Info
	Data     []byte
	Unmap    func() error
	InMemory bool // it has no folder: its pages are free when it is unmapped, and not before
}

// A Cache prepares models and keeps what came of it. Its methods may be called
// from several goroutines.
type Cache struct {
	o       Options
	store   *store // nil: anonymous files only
	digests *digests

	mu       sync.Mutex
	flights  map[string]*flight  // preparations under way, by key
	wrong    map[string]*verdict // weights that could not be prepared, by identity
	anon     *anonymous          // prepared without a folder and not taken yet
	verified map[string]fileID   // entries whose checksum this process has checked, by key
	beyond   map[string]bool     // damaged entries that cannot be removed, by key
	children map[int]struct{}    // preparing processes, by id
	warned   bool                // that the folder cannot be written

	urgent  sync.Mutex // one preparation somebody waits for at a time
	reading sync.Mutex // one file at a time is read for its digest alone
}

// Open makes a Cache. A folder that exists but is not private to this user is
// an error that names the mending command; one that cannot be made or written
// is only warned of.
func Open(o Options) (*Cache, error) {
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Minute
	}
	c := &Cache{
		o:        o,
		flights:  make(map[string]*flight),
		wrong:    make(map[string]*verdict),
		verified: make(map[string]fileID),
		children: make(map[int]struct{}),
		beyond:   make(map[string]bool),
	}
	if o.Dir != "" {
		var err error
		if c.store, err = openStore(o.Dir); err != nil {
			if errors.Is(err, errNotPrivate) {
				return nil, err
			}
			c.warn(err)
		}
	}
	c.digests = newDigests(c.store)
	return c, nil
}

// warn says once that prepared models will not outlive their use.
func (c *Cache) warn(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.warned {
		c.warned = true
		c.o.Log.Warn("cannot write the cache folder: models are prepared anew at each load",
			"folder", c.o.Dir, "err", err, "hint", "set CACHE_DIR to a writable folder")
	}
}

// Size is what the prepared models in the cache folder take, in bytes, and how many
// they are; without a folder 0.
func (c *Cache) Size() (bytes int64, models int, err error) {
	if c.store == nil {
		return 0, 0, nil
	}
	return c.store.size()
}

// Close lets go of the cache folder. Files handed out stay mapped.
func (c *Cache) Close() error {
	if c.store == nil {
		return nil
	}
	return c.store.close()
}

// key names the entry of m's weights, which have this digest, on this machine.
func key(m *yolo.Model, digest string, lib ort.Library) string {
	// "v5": the options of ort.Optimize, what convert makes and the layout of Info.
	how := "onnx"
	if m.IsCheckpoint() {
		how = fmt.Sprint("pt, one2one ", m.OneToOne)
	}
	return shortHash("v5", digest, how, lib.Version, libraryStamp(lib), machine.CPUFeatures())
}

// libraryStamp stands in for the version of a library that does not tell its own.
func libraryStamp(lib ort.Library) string {
	if lib.Version != "" {
		return ""
	}
	id, err := statID(lib.Path)
	if err != nil {
		return lib.Path
	}
	return fmt.Sprint(lib.Path, id.size, id.mtime)
}

// Known returns what was measured about m if it is prepared, without hashing or
// preparing anything.
func (c *Cache) Known(m *yolo.Model) (Info, bool) { return c.find(m, false) }

// Find is Known for weights whose digest is not known, too: it reads them, once however
// many ask.
func (c *Cache) Find(m *yolo.Model) (Info, bool) { return c.find(m, true) }

func (c *Cache) find(m *yolo.Model, read bool) (Info, bool) {
	id, err := statID(m.Weights)
	if err != nil {
		return Info{}, false
	}
	lib, err := c.o.Library()
	if err != nil {
		return Info{}, false
	}
	digest, ok := c.digests.recall(m.Weights, id)
	if !ok && read {
		digest, err = c.read(m)
		ok = err == nil
	}
	if !ok {
		return Info{}, false
	}
	k := key(m, digest, lib)
	if a := c.anonymous(k, false); a != nil {
		return a.info, true
	}
	if c.store == nil {
		return Info{}, false
	}
	info, err := c.store.info(k)
	return info, err == nil
}

// read finds the digest of m's weights by reading them.
func (c *Cache) read(m *yolo.Model) (string, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	w, err := openWeights(m)
	if err != nil {
		return "", err
	}
	defer w.Close()
	return c.digests.of(context.Background(), w)
}

// How says how Prepare is to work when there is work to do.
type How struct {
	// Speculative work is what nobody waits for: it runs at the lowest priority
	// and gives way, with ErrTakenOver, to the same work asked for in earnest. Where no
	// folder would keep what comes of it, it is ErrNotPrepared, unless it is wanted Soon.
	Speculative bool
	// Soon is for speculative work that is wanted all the same: a busy server would not get
	// to it at the lowest priority.
	Soon bool
	// Existing work is not to be done anew: what is not prepared is ErrNotPrepared. A
	// prepared file that lies in memory, for want of a folder, is handed over for good.
	Existing bool
	// Digest is that of the weights m was made of, if known: what was prepared of them is
	// found although another file has their name by now. "": the file is looked at.
	Digest string
	// Memory is what the child may take in resident bytes; 0: what
	// PredictPeak says, twice over.
	Memory int64
}

// Prepare returns m's prepared file, mapped, making it first if it must. Errors
// that lie in the weights file are *yolo.Error with code LoadFailed.
func (c *Cache) Prepare(ctx context.Context, m *yolo.Model, how How) (*File, error) {
	lib, err := c.o.Library()
	if err != nil {
		return nil, &yolo.Error{Code: yolo.Unavailable, Model: m.ID, Msg: err.Error()}
	}
	// A second try: an entry may vanish or prove damaged between being found and being mapped.
	for try := 0; ; try++ {
		f, err := c.prepare(ctx, m, lib, how)
		if err == nil || try == 1 || !errors.Is(err, errStale) {
			return f, err
		}
	}
}

func (c *Cache) prepare(ctx context.Context, m *yolo.Model, lib ort.Library, how How) (*File, error) {
	if how.Digest != "" {
		if f, err := c.open(key(m, how.Digest, lib), how.Existing); err == nil {
			return f, nil
		}
	}
	w, err := openWeights(m)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	if err := c.refused(w.identity()); err != nil {
		return nil, err
	}
	digest, err := c.digests.of(ctx, w)
	if err != nil {
		return nil, err
	}
	k := key(m, digest, lib)
	if f, err := c.open(k, how.Existing); err == nil {
		return f, nil
	}
	if how.Existing || how.Speculative && !how.Soon && c.folderless() {
		return nil, ErrNotPrepared
	}
	if how.Memory == 0 {
		how.Memory = 2 * PredictPeak(m)
	}
	j := job{key: k, digest: digest, lib: lib, model: m, weights: w, speculative: how.Speculative, soon: how.Soon, memory: how.Memory}
	if err := c.make(ctx, j); err != nil {
		return nil, err
	}
	f, err := c.open(k, false)
	if err != nil {
		return nil, fmt.Errorf("open prepared model: %w", errors.Join(errStale, err))
	}
	return f, nil
}

// ErrNotPrepared says that there is no prepared file, or none any more.
var ErrNotPrepared = errors.New("not prepared")

// errStale marks an entry that was there a moment ago.
var errStale = errors.New("the cache entry changed")

// folderless reports whether prepared files lie in memory for want of a usable folder.
func (c *Cache) folderless() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.store == nil || c.warned
}

// open maps the prepared file of key k, and takes it if it lies in memory and is to be
// taken.
func (c *Cache) open(k string, take bool) (*File, error) {
	if f, err := c.openAnonymous(k, take); err == nil {
		return f, nil
	}
	c.mu.Lock()
	seen, beyond := c.verified[k], c.beyond[k]
	c.mu.Unlock()
	if c.store == nil || beyond {
		return nil, fs.ErrNotExist
	}
	f, id, err := c.store.open(k)
	if errors.Is(err, errDamaged) {
		c.condemn(k, err)
	}
	if err != nil {
		return nil, err
	}
	if seen != id {
		// Once per process; afterwards size, inode and time stand for the bytes.
		if got := checksum(f.Data); got != f.CRC32C {
			err := fmt.Errorf("%w: CRC-32C %08x, expected %08x", errDamaged, got, f.CRC32C)
			c.condemn(k, err)
			return nil, errors.Join(err, f.Unmap())
		}
		c.mu.Lock()
		c.verified[k] = id
		c.mu.Unlock()
	}
	c.store.touch(k)
	return f, nil
}

// condemn removes a damaged entry, so that it is made anew; where the folder does
// not let it, this process makes do without the entry.
func (c *Cache) condemn(k string, why error) {
	c.o.Log.Warn("cache entry cannot be used, making it anew", "entry", k, "err", why)
	if err := c.store.remove(k); err != nil {
		c.warn(err)
		c.mu.Lock()
		c.beyond[k] = true
		c.mu.Unlock()
	}
}
