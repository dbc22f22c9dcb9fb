// Package engine loads models for the pool: prepared by package prepare, run by
// package ort. It is the pool's Engine and its Memory.
package engine

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
	"time"

	"lazyolo/internal/buffers"
	"lazyolo/internal/machine"
	"lazyolo/internal/ort"
	"lazyolo/internal/pool"
	"lazyolo/internal/prepare"
	"lazyolo/yolo"
)

// Options configures an Engine. Log and Worker are required.
type Options struct {
	Log      *slog.Logger
	Library  string           // path of ONNX Runtime; "": the usual places are searched
	Threads  int              // of a session, at most
	ArenaMax int64            // bytes that all runs together may hold; 0: no bound
	CacheDir string           // of prepared models; "": they are not kept
	CacheMax int64            // bytes of all prepared models; 0: no bound
	Timeout  time.Duration    // of one preparation; 0: 5 minutes
	Worker   func() *exec.Cmd // the command that ends in prepare.Work
	// Ran says what runs of a model really took, in bytes by the pixels of their input,
	// from earlier processes; nil: nothing is known.
	Ran func(*yolo.Model) map[int64]int64
	// Check says why a model with these inputs, outputs and metadata cannot serve; Open
	// refuses it with that error before it takes memory. nil: nothing is checked.
	Check func(m *yolo.Model, inputs, outputs []yolo.TensorInfo, metadata map[string]string) error
}

// An Engine opens ONNX Runtime with the first model, because an open one takes 20 MB.
// Its methods may be called concurrently.
type Engine struct {
	o       Options
	cache   *prepare.Cache
	buffers buffers.Store // of all requests

	mu    sync.Mutex
	found ort.Library      // once Locate succeeded
	rt    *ort.Runtime     // nil until the first load
	err   error            // of the last attempt to find or open it
	known map[string]known // by model and revision
	soon  map[string]bool  // by the same: to be prepared soon though no request waits

	trimmed  time.Time // when the C allocator last gave pages back
	trimming bool      // it will soon
}

// New locates ONNX Runtime without opening it; that it is missing is told by Ready
// and by the first load.
func New(o Options) (*Engine, error) {
	if o.Log == nil || o.Worker == nil {
		return nil, errors.New("engine: Log and Worker are required")
	}
	e := &Engine{o: o, known: make(map[string]known), soon: make(map[string]bool)}
	_, err := e.locate()
	if err != nil {
		o.Log.Debug("locate ONNX Runtime", "err", err)
	}
	e.cache, err = prepare.Open(prepare.Options{
		Dir: o.CacheDir, MaxBytes: o.CacheMax, Timeout: o.Timeout, Log: o.Log,
		Library: e.locate, Worker: o.Worker,
	})
	return e, err
}

// Close lets go of the cache folder and of ONNX Runtime. Every model is closed before.
func (e *Engine) Close() error {
	e.mu.Lock()
	rt := e.rt
	e.rt = nil
	e.mu.Unlock()
	if rt == nil {
		return e.cache.Close()
	}
	err := rt.Shrink()
	rt.Release()
	return errors.Join(err, e.cache.Close())
}

// Cache is where prepared models lie.
func (e *Engine) Cache() *prepare.Cache { return e.cache }

// Store lends the memory for pictures and tensors.
func (e *Engine) Store() *buffers.Store { return &e.buffers }

// locate finds ONNX Runtime, once it is there without looking again.
func (e *Engine) locate() (ort.Library, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.found.Path == "" {
		lib, err := ort.Locate(e.o.Library)
		if e.err = err; err == nil { // one that is named but not usable is looked at again
			e.found = lib
		}
	}
	return e.found, e.err
}

// Ready returns why models cannot be run, as of the last attempt; nil when they can.
func (e *Engine) Ready() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// runtime opens ONNX Runtime, once.
func (e *Engine) runtime() (*ort.Runtime, error) {
	lib, err := e.locate()
	if err != nil {
		return nil, &yolo.Error{Code: yolo.Unavailable, Msg: err.Error()}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.rt != nil {
		return e.rt, nil
	}
	if e.rt, e.err = ort.Open(lib, ort.Options{ArenaMax: e.o.ArenaMax}); e.err != nil {
		e.found = ort.Library{} // look again next time
		return nil, &yolo.Error{Code: yolo.Unavailable, Msg: e.err.Error()}
	}
	e.o.Log.Debug("opened ONNX Runtime", "version", e.rt.Version(), "library", lib.Path)
	return e.rt, nil
}

// Cost implements pool.Engine from what was measured when m was prepared.
func (e *Engine) Cost(m *yolo.Model) (pool.Cost, bool) { return e.cost(m, e.cache.Find) }

// Known is Cost as far as it is known without reading m's weights.
func (e *Engine) Known(m *yolo.Model) (pool.Cost, bool) { return e.cost(m, e.cache.Known) }

func (e *Engine) cost(m *yolo.Model, find func(*yolo.Model) (prepare.Info, bool)) (pool.Cost, bool) {
	e.mu.Lock()
	k, ok := e.known[revisionKey(m)]
	e.mu.Unlock()
	if ok {
		return k.cost, true
	}
	info, ok := find(m)
	if !ok {
		return pool.Cost{}, false
	}
	return e.learn(m, info), true
}

// learn remembers what a prepared revision costs, and of which weights it was made. One
// that cannot serve costs nothing: Open refuses it, and no other model need make room.
func (e *Engine) learn(m *yolo.Model, info prepare.Info) pool.Cost {
	if e.check(m, info) != nil {
		return pool.Cost{}
	}
	c := costOf(info.Sizes, e.o.Threads)
	if e.o.Ran != nil {
		c.Ran = e.o.Ran(m)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.known[revisionKey(m)] = known{c, info.Digest}
	return c
}

// A known is what is remembered of a revision: what it costs, and which weights it was
// made of, since their file may be another before it is loaded again.
type known struct {
	cost   pool.Cost
	digest string
}

// Soon has a revision prepared at more than the lowest priority though no request waits
// for it.
func (e *Engine) Soon(m *yolo.Model) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.soon[revisionKey(m)] = true
}

func (e *Engine) wanted(m *yolo.Model) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.soon[revisionKey(m)]
}

// Forget drops what is remembered of a revision that is served no more, or never was.
func (e *Engine) Forget(m *yolo.Model) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.known, revisionKey(m))
	delete(e.soon, revisionKey(m))
}

func revisionKey(m *yolo.Model) string { return m.ID + "\x00" + m.Rev }

// costOf turns measurements into a prediction that errs high.
func costOf(s prepare.Sizes, threads int) pool.Cost {
	const perThread = 64 << 10
	slack := int64(512 << 10) // of a session: the allocator's rounding, a few threads more than it was measured with
	slack += perThread * int64(max(0, threads-8))
	pixels := int64(1)
	if len(s.RunShape) == 4 {
		pixels = s.RunShape[2] * s.RunShape[3]
	}
	return pool.Cost{
		Mapped: s.Mapped, Private: s.Private + slack, LoadPeak: s.LoadPeak + slack,
		Run: s.RunPeak + s.RunPeak/16, Pixels: pixels,
	}
}

// check says why m, prepared as info tells, cannot serve.
func (e *Engine) check(m *yolo.Model, info prepare.Info) error {
	if e.o.Check == nil {
		return nil
	}
	return e.o.Check(m, info.Inputs, info.Outputs, info.Metadata)
}

// PrepareCost implements pool.Engine.
func (e *Engine) PrepareCost(m *yolo.Model) int64 { return prepare.PredictPeak(m) }

// Prepare implements pool.Engine.
func (e *Engine) Prepare(ctx context.Context, m *yolo.Model, memory int64, speculative bool) error {
	f, err := e.cache.Prepare(ctx, m, prepare.How{Memory: memory, Speculative: speculative, Soon: e.wanted(m)})
	if errors.Is(err, prepare.ErrMemory) {
		return errors.Join(err, pool.ErrMemory)
	}
	if err != nil {
		return err
	}
	e.learn(m, f.Info) // its file may be another before anybody asks for it
	return f.Unmap()
}

// Open implements pool.Engine.
func (e *Engine) Open(ctx context.Context, m *yolo.Model, threads int) (pool.Session, error) {
	e.o.Log.Info("Loading YOLO model from "+m.Weights, "model", m.ID)
	opened := make(chan error, 1)
	go func() { // beside the first look at the file
		_, err := e.runtime()
		opened <- err
	}()
	e.mu.Lock()
	digest := e.known[revisionKey(m)].digest
	e.mu.Unlock()
	f, err := e.cache.Prepare(ctx, m, prepare.How{Existing: true, Digest: digest})
	if openErr := <-opened; openErr != nil && err == nil {
		err = errors.Join(openErr, f.Unmap())
	}
	if errors.Is(err, prepare.ErrNotPrepared) { // its entry was removed or proved damaged
		e.mu.Lock()
		delete(e.known, revisionKey(m))
		e.mu.Unlock()
		return nil, pool.ErrNotPrepared
	}
	if err != nil {
		return nil, err
	}
	if err := e.check(m, f.Info); err != nil {
		return nil, errors.Join(err, f.Unmap())
	}
	rt, err := e.runtime()
	if err != nil {
		return nil, errors.Join(err, f.Unmap())
	}
	s := &session{engine: e, rt: rt, file: f}
	if err := s.Open(threads); err != nil {
		return nil, errors.Join(fmt.Errorf("load %s: %w", m.ID, err), f.Unmap())
	}
	first := s.open[threads]
	s.inputs, s.outputs = first.Inputs(), first.Outputs()
	return s, nil
}

// trimEvery bounds how often the C allocator looks for free pages after models were
// closed: it keeps all others from allocating meanwhile.
const trimEvery = 100 * time.Millisecond

// trim gives back what closed models left, now or soon.
func (e *Engine) trim() {
	e.mu.Lock()
	left := trimEvery - time.Since(e.trimmed)
	if left > 0 && !e.trimming {
		e.trimming = true
		time.AfterFunc(left, e.trimNow)
	}
	e.mu.Unlock()
	if left <= 0 {
		e.trimNow()
	}
}

func (e *Engine) trimNow() {
	e.mu.Lock()
	e.trimming, e.trimmed = false, time.Now()
	rt := e.rt
	e.mu.Unlock() // others ask for what the lock guards meanwhile
	rt.Trim()
}

// Resident implements pool.Memory.
func (e *Engine) Resident() int64 { return machine.Resident(os.Getpid()) + e.cache.Resident() }

// Held implements pool.Memory.
func (e *Engine) Held() int64 {
	if rt := e.loaded(); rt != nil {
		held, _ := rt.Arena()
		return max(0, held)
	}
	return 0
}

// Buffers implements pool.Memory.
func (e *Engine) Buffers() int64 { return e.buffers.Held() }

// Shrink implements pool.Memory.
func (e *Engine) Shrink() {
	e.buffers.Clear()
	if rt := e.loaded(); rt != nil {
		if err := rt.Shrink(); err != nil {
			e.o.Log.Warn("cannot shrink the arena", "err", err)
		}
	}
}

// loaded returns the runtime if it is open.
func (e *Engine) loaded() *ort.Runtime {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.rt
}

// Rest gives memory back that the start or the last requests left: that of arena and
// buffers, Go's and the C allocator's, and the pages of code.
func (e *Engine) Rest() {
	e.Shrink()
	runtime.GC() // what is pooled survives one collection: this one and the next free it
	debug.FreeOSMemory()
	if _, err := machine.DropCode(); err != nil {
		e.o.Log.Debug("cannot give back the pages of code", "err", err)
	}
}
