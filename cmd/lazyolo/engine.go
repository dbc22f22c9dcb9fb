package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"sync"

	"golang.org/x/sys/unix"

	"lazyolo/internal/buffers"
	"lazyolo/internal/config"
	"lazyolo/internal/machine"
	"lazyolo/internal/ort"
	"lazyolo/internal/pool"
	"lazyolo/internal/prepare"
	"lazyolo/internal/usage"
	"lazyolo/yolo"
)

// workerCommand is how lazyolo starts itself to prepare a model.
const workerCommand = "prepare-worker"

// An engine loads models: prepared by one package, run by another. It opens
// ONNX Runtime with the first of them, because an open one takes 20 MB. It is
// the pool's Engine and its Memory.
type engine struct {
	log      *slog.Logger
	library  string // ORT_LIBRARY
	threads  int
	arenaMax int64 // bytes that all runs together may hold; 0: no bound
	cache    *prepare.Cache
	buffers  buffers.Store // of all requests

	mu    sync.Mutex
	found ort.Library  // once Locate succeeded
	rt    *ort.Runtime // nil until the first load
	err   error        // of the last attempt to find or open it
	costs map[string]pool.Cost
	took  func(*yolo.Model) (usage.Took, bool) // what is known from before; nil: nothing
}

// newEngine locates ONNX Runtime without opening it; that it is missing is told
// by ready and by the first load.
func newEngine(c *config.Config, log *slog.Logger) (*engine, error) {
	e := &engine{log: log, library: c.ORTLibrary, threads: c.Threads, costs: make(map[string]pool.Cost)}
	if e.threads == 0 {
		e.threads = machine.CPUs()
	}
	_, err := e.locate()
	if err != nil {
		log.Debug("locate ONNX Runtime", "err", err)
	}
	e.cache, err = prepare.Open(prepare.Options{
		Dir: c.CacheDir, MaxBytes: c.CacheMax, Timeout: c.PrepareTimeout, Log: log,
		Library: e.locate, Worker: worker,
	})
	return e, err
}

// worker makes the command of a preparing child: this binary, whatever happened
// to its file meanwhile.
func worker() *exec.Cmd {
	exe := "/proc/self/exe"
	if runtime.GOOS != "linux" {
		exe = os.Args[0]
		if path, err := os.Executable(); err == nil {
			exe = path
		}
	}
	return exec.Command(exe, workerCommand)
}

// locate finds ONNX Runtime, once it is there without looking again.
func (e *engine) locate() (ort.Library, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.found.Path == "" {
		lib, err := ort.Locate(e.library)
		if e.err = err; err == nil { // one that is named but not usable is looked at again
			e.found = lib
		}
	}
	return e.found, e.err
}

// ready returns why models cannot be run, as of the last attempt; nil when they can.
func (e *engine) ready() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// runtime opens ONNX Runtime, once.
func (e *engine) runtime() (*ort.Runtime, error) {
	lib, err := e.locate()
	if err != nil {
		return nil, &yolo.Error{Code: yolo.Unavailable, Msg: err.Error()}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.rt != nil {
		return e.rt, nil
	}
	if e.rt, e.err = ort.Open(lib, ort.Options{Threads: e.threads, ArenaMax: e.arenaMax}); e.err != nil {
		e.found = ort.Library{} // look again next time
		return nil, &yolo.Error{Code: yolo.Unavailable, Msg: e.err.Error()}
	}
	e.log.Debug("opened ONNX Runtime", "version", e.rt.Version(), "library", lib.Path)
	return e.rt, nil
}

// remember has costs corrected by what runs took in earlier processes.
func (e *engine) remember(took func(*yolo.Model) (usage.Took, bool)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.took = took
	clear(e.costs)
}

// Cost implements pool.Engine from what was measured when m was prepared.
func (e *engine) Cost(m *yolo.Model) (pool.Cost, bool) {
	key := costKey(m)
	e.mu.Lock()
	c, ok := e.costs[key]
	e.mu.Unlock()
	if ok {
		return c, true
	}
	info, ok := e.cache.Known(m)
	if !ok {
		return pool.Cost{}, false
	}
	c = costOf(info.Sizes)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.took != nil {
		took, _ := e.took(m)
		c.Ran = took.Ran
	}
	e.costs[key] = c
	return c, true
}

func costKey(m *yolo.Model) string { return m.ID + "\x00" + m.Rev }

// costOf turns measurements into a prediction that errs high.
func costOf(s prepare.Sizes) pool.Cost {
	const slack = 512 << 10 // of a session: threads, the allocator's rounding
	pixels := int64(1)
	if len(s.RunShape) == 4 {
		pixels = s.RunShape[2] * s.RunShape[3]
	}
	return pool.Cost{
		Mapped: s.Mapped, Private: s.Private + slack, LoadPeak: s.LoadPeak + slack,
		Run: s.RunPeak + s.RunPeak/16, Pixels: pixels,
	}
}

// PrepareCost implements pool.Engine.
func (e *engine) PrepareCost(m *yolo.Model) int64 { return prepare.PredictPeak(m) }

// Prepare implements pool.Engine.
func (e *engine) Prepare(ctx context.Context, m *yolo.Model, memory int64, speculative bool) error {
	f, err := e.cache.Prepare(ctx, m, prepare.How{Memory: memory, Speculative: speculative})
	if errors.Is(err, prepare.ErrMemory) {
		return errors.Join(err, pool.ErrMemory)
	}
	if err != nil {
		return err
	}
	return f.Unmap()
}

// Open implements pool.Engine.
func (e *engine) Open(ctx context.Context, m *yolo.Model) (pool.Session, error) {
	e.log.Info("Loading YOLO model from "+m.Weights, "model", m.ID)
	opened := make(chan error, 1)
	go func() { // beside the first look at the file
		_, err := e.runtime()
		opened <- err
	}()
	f, err := e.cache.Prepare(ctx, m, prepare.How{Existing: true})
	if openErr := <-opened; openErr != nil && err == nil {
		err = errors.Join(openErr, f.Unmap())
	}
	if errors.Is(err, prepare.ErrNotPrepared) { // its entry was removed or proved damaged
		e.mu.Lock()
		delete(e.costs, costKey(m))
		e.mu.Unlock()
		return nil, pool.ErrNotPrepared
	}
	if err != nil {
		return nil, err
	}
	rt, err := e.runtime()
	if err != nil {
		return nil, errors.Join(err, f.Unmap())
	}
	s, err := rt.OpenMapped(f.Data, f.Unmap)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", m.ID, err)
	}
	return &session{s, f.Metadata, f.Data}, nil
}

// A session is ort's with the metadata that the prepared file does not carry.
type session struct {
	*ort.Session
	metadata map[string]string
	mapped   []byte // the weights, owned by the ort.Session
}

// Metadata implements pool.Session.
func (s *session) Metadata() map[string]string { return s.metadata }

// Cool implements pool.Session: the kernel takes the pages of the mapping away,
// which is safe even beside a run; touching one brings it back from the file. Other
// systems than Linux keep the pages.
func (s *session) Cool() error {
	if runtime.GOOS != "linux" {
		return errors.ErrUnsupported
	}
	return unix.Madvise(s.mapped, unix.MADV_DONTNEED)
}

// Resident implements pool.Memory.
func (e *engine) Resident() int64 { return machine.Resident(os.Getpid()) + e.cache.Resident() }

// Held implements pool.Memory.
func (e *engine) Held() int64 {
	if rt := e.loaded(); rt != nil {
		held, _ := rt.Arena()
		return max(0, held)
	}
	return 0
}

// Buffers implements pool.Memory.
func (e *engine) Buffers() int64 { return e.buffers.Held() }

// Shrink implements pool.Memory.
func (e *engine) Shrink() {
	e.buffers.Clear()
	if rt := e.loaded(); rt != nil {
		if err := rt.Shrink(); err != nil {
			e.log.Warn("cannot shrink the arena", "err", err)
		}
	}
}

// loaded returns the runtime if it is open.
func (e *engine) loaded() *ort.Runtime {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.rt
}

// rest gives memory back that the last requests left: that of arena and buffers,
// Go's and the C allocator's.
func (e *engine) rest() {
	e.Shrink()
	runtime.GC() // what is pooled survives one collection: this one and the next free it
	debug.FreeOSMemory()
}
