// Package core joins the parts that serve models without a door: catalog, ledger,
// engine, pool and detector, as the settings say. The program and the Go library are
// both built on it, so that a setting means the same in both.
package core

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"lazyolo/internal/annotate"
	"lazyolo/internal/config"
	"lazyolo/internal/detect"
	"lazyolo/internal/engine"
	"lazyolo/internal/imaging"
	"lazyolo/internal/ledger"
	"lazyolo/internal/machine"
	"lazyolo/internal/pool"
	"lazyolo/internal/prepare"
	"lazyolo/internal/turbojpeg"
	"lazyolo/yolo"
)

// Models are what is served; *catalog.Catalog is one.
type Models interface {
	// Model finds a model by its id or decimal index.
	Model(id string) (*yolo.Model, bool)
	// All returns the models in ascending Index. The slice is not changed.
	All() []*yolo.Model
}

// Settings are the names of the settings that act on a Core.
func Settings() []string {
	return []string{
		"CONF_THRES", "IOU_THRES", "DECODE", "ENABLE_LRU_CACHE", "MAX_MEMORY_MB", "EVICTION_POLICY", "KEEP_ALIVE", "MAX_QUEUE",
		"THREADS", "MAX_CONCURRENCY", "ORT_LIBRARY", "CACHE_DIR", "CACHE_MAX_MB", "PREPARE_TIMEOUT", "MAX_PIXELS", "LOAD_TIMEOUT",
	}
}

// Options says what Open joins. Config, Models and Log are required.
type Options struct {
	Config *config.Config
	Models Models
	Log    *slog.Logger
	Aside  int64 // bytes of the budget that the caller takes itself, such as for bodies

	// Ran says what runs of a model took in earlier processes, as in engine.Options;
	// nil: nothing is known.
	Ran func(*yolo.Model) map[int64]int64
	// Observe, Decide and Used are told what happens to models, as in pool.Options;
	// nil: nobody is.
	Observe func(yolo.Transition)
	Decide  func(yolo.Decision)
	Used    func(m *yolo.Model, bytes int64, load time.Duration)
}

// A Core serves models. Its parts may be used; none of them is nil.
type Core struct {
	Ledger   *ledger.Ledger
	Engine   *engine.Engine
	Pool     *pool.Pool
	Detector *detect.Detector
	Pictures *imaging.Codec
	Painter  *annotate.Painter

	models Models
}

// Open joins the parts. Nothing is loaded, and ONNX Runtime is not opened: that it is
// missing is told by Engine.Ready. A budget in which nothing could be served is a
// *config.UsageError.
func Open(o Options) (*Core, error) {
	if o.Config == nil || o.Models == nil || o.Log == nil {
		return nil, errors.New("core: Config, Models and Log are required")
	}
	c := o.Config
	budget := Budget(c)
	if err := Enough(budget, o.Aside); err != nil {
		return nil, err
	}
	s := &Core{Ledger: ledger.New(budget), models: o.Models}
	s.Ledger.Set(ledger.Base, baseMemory+margin(budget))
	s.Ledger.Set(ledger.Bodies, o.Aside)
	eo := engineOptions(c, o.Log)
	// A run that wants more than its reservation fails instead of growing the process.
	eo.ArenaMax, eo.Ran = budget-baseMemory, o.Ran
	var err error
	if s.Engine, err = engine.New(eo); err != nil {
		return nil, err
	}
	if s.Pool, err = s.newPool(o); err != nil {
		return nil, errors.Join(err, s.Engine.Close())
	}
	s.Pictures = &imaging.Codec{MaxPixels: c.MaxPixels, JPEG: &turbojpeg.Library{Buffers: s.Engine.Store()}, Fast: c.Decode == config.DecodeFast,
		Buffers: s.Engine.Store()}
	s.Painter = annotate.NewPainter(s.Pictures, Concurrency(c), s.room)
	s.Detector = detect.New(o.Models, s.Pool, detect.Options{
		Conf: float64(c.ConfThres), IoU: float64(c.IoUThres), Pictures: s.Pictures, Buffers: s.Engine.Store(), Known: s.signature,
	})
	return s, nil
}

// Close waits for the requests in flight until ctx ends, closes every model and lets go
// of the cache folder and ONNX Runtime. When requests still run after ctx, what they
// use stays open.
func (s *Core) Close(ctx context.Context) error {
	if err := s.Pool.Close(ctx); err != nil {
		return err
	}
	return s.Engine.Close()
}

// NewEngine makes an engine over the cache that the settings name, to prepare models or
// to ask what is known of them.
func NewEngine(c *config.Config, log *slog.Logger) (*engine.Engine, error) {
	return engine.New(engineOptions(c, log))
}

func engineOptions(c *config.Config, log *slog.Logger) engine.Options {
	return engine.Options{
		Log: log, Library: c.ORTLibrary, Threads: Threads(c),
		CacheDir: c.CacheDir, CacheMax: c.CacheMax, Timeout: c.PrepareTimeout, Worker: prepare.Self, Check: detect.Check,
	}
}

// How models come and go.
const (
	// idleAfter is how long after the last request memory is given back.
	idleAfter = 2 * time.Second
	// minResident bounds how fast two models can push each other out.
	minResident = 250 * time.Millisecond
)

// newPool makes the pool over the engine, within the ledger's budget.
func (s *Core) newPool(o Options) (*pool.Pool, error) {
	c := o.Config
	po := pool.Options{
		Engine: s.Engine, Memory: s.Engine, Ledger: s.Ledger, Log: o.Log,
		MaxRuns: Concurrency(c), Cores: max(machine.CPUs(), c.Threads), Threads: Threads(c),
		MaxQueue: c.MaxQueue, LoadTimeout: c.LoadTimeout,
		MinResident: minResident, KeepAlive: c.KeepAlive, NeverEvict: c.LRUCache != nil && !*c.LRUCache,
		Policy: pool.CostAware, WorkingRoom: workingRoom, IdleAfter: idleAfter, Idle: s.Engine.Rest,
		Costs: s.costs, Observe: o.Observe, Decide: o.Decide, Used: o.Used,
	}
	if c.EvictionPolicy == config.PolicyLRU {
		po.Policy = pool.LRU
	}
	return pool.New(po)
}

// Concurrency is how many pictures are in work at once: one more than fills the cores
// would only take memory.
func Concurrency(c *config.Config) int { return cmp.Or(c.MaxConcurrency, machine.CPUs()) }

// Threads is how many a run takes that is alone.
func Threads(c *config.Config) int { return cmp.Or(c.Threads, machine.CPUs()) }

// costs is what is known of all models, by id.
func (s *Core) costs() map[string]pool.Cost {
	known := make(map[string]pool.Cost)
	for _, m := range s.models.All() {
		for _, head := range Heads(m) {
			if c, ok := s.Engine.Known(head); ok {
				known[head.ID] = c
			}
		}
	}
	return known
}

// Heads are a model and its other head.
func Heads(m *yolo.Model) []*yolo.Model {
	if m.OtherHead == nil {
		return []*yolo.Model{m}
	}
	return []*yolo.Model{m, m.OtherHead}
}

// signature is what is known of a model that was prepared.
func (s *Core) signature(m *yolo.Model) (yolo.Signature, bool) {
	info, ok := s.Engine.Cache().Known(m)
	return yolo.Signature{Inputs: info.Inputs, Outputs: info.Outputs, Metadata: info.Metadata}, ok
}
