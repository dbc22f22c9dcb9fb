package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"lazyolo/internal/buffers"
	"lazyolo/internal/catalog"
	"lazyolo/internal/config"
	"lazyolo/internal/core"
	"lazyolo/internal/detect"
	"lazyolo/internal/httpapi"
	"lazyolo/internal/imaging"
	"lazyolo/internal/ledger"
	"lazyolo/internal/machine"
	"lazyolo/internal/ort"
	"lazyolo/internal/pool"
	"lazyolo/internal/turbojpeg"
	"lazyolo/yolo"
)

// Servers that bench memory and demo start: the one they compare with, and ours.
const (
	eagerName = "serve-eager"
	lazyName  = "serve-lazy"
)

// lazyCommand is serve until the end of its input, so that no server outlives who
// started it. Help does not list it.
func lazyCommand() command {
	return command{name: lazyName, run: func(ctx context.Context, c *config.Config, s sys) error {
		ctx, stop := untilEOF(ctx, s.stdin)
		defer stop()
		return serve(ctx, c, s)
	}}
}

// untilEOF is ctx until the end of an input: whoever holds its other end is gone then,
// however that came.
func untilEOF(ctx context.Context, input io.Reader) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() { // ends with the process: no read of a pipe can be broken off
		_, _ = io.Copy(io.Discard, input)
		cancel()
	}()
	return ctx, cancel
}

// eagerFlags are its flags.
type eagerFlags struct {
	only      string // numbers of the models to load; "": all
	converted string // folder of ID.onnx for models that are checkpoints
}

// eagerCommand serves as the old server did: every model is opened from its ONNX file,
// onto the heap, before the first request, and stays. Only bench memory and demo
// start it, so help does not list it.
func eagerCommand() command {
	var f eagerFlags
	return command{
		name: eagerName,
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&f.only, "only", "", "model numbers to load")
			fs.StringVar(&f.converted, "converted", "", "folder of the ONNX files of checkpoints")
		},
		run: func(ctx context.Context, c *config.Config, s sys) error { return serveEager(ctx, f, c, s) },
	}
}

// An eagerEngine opens models as programs do that change no option of ONNX Runtime. It is the
// pool's Engine and Memory, in a budget that never binds.
type eagerEngine struct {
	rt        *ort.Runtime
	converted string
	buffers   buffers.Store
}

// An eagerSession is open for one number of threads, the pool's.
type eagerSession struct {
	*ort.Session
	metadata map[string]string
}

func (s eagerSession) Metadata() map[string]string { return s.metadata }
func (s eagerSession) Run(ctx context.Context, _ int, in []yolo.Tensor, use func([]yolo.Tensor) error) error {
	return s.Session.Run(ctx, in, use)
}
func (eagerSession) Open(int) error { return errors.ErrUnsupported }
func (eagerSession) Shut(int) error { return errors.ErrUnsupported }
func (eagerSession) Cool() error    { return errors.ErrUnsupported }

func (e *eagerEngine) Open(_ context.Context, m *yolo.Model, threads int) (pool.Session, error) {
	file := m.Weights
	if m.IsCheckpoint() {
		file = filepath.Join(e.converted, m.ID+".onnx")
	}
	s, metadata, err := e.rt.OpenPlain(file, threads)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", m.ID, err)
	}
	if err := detect.Check(m, s.Inputs(), s.Outputs(), metadata); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return eagerSession{s, metadata}, nil
}

func (e *eagerEngine) Cost(*yolo.Model) (pool.Cost, bool)                      { return pool.Cost{}, true }
func (e *eagerEngine) Prepare(context.Context, *yolo.Model, int64, bool) error { return nil }
func (e *eagerEngine) PrepareCost(*yolo.Model) int64                           { return 0 }
func (e *eagerEngine) Resident() int64                                         { return machine.Resident(os.Getpid()) }
func (e *eagerEngine) Held() int64                                             { return 0 }
func (e *eagerEngine) Buffers() int64                                          { return e.buffers.Held() }
func (e *eagerEngine) Shrink()                                                 { e.buffers.Clear() }

// serveEager loads, then listens, until a signal or the end of its input.
func serveEager(ctx context.Context, f eagerFlags, c *config.Config, s sys) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, stopReading := untilEOF(ctx, s.stdin)
	defer stopReading()
	log := newLogger(c, s.stderr, c.LogLevel)
	models, err := catalog.Open(catalog.Options{Dir: c.ModelsPath, AllowDirs: c.AllowModelDirs, Reserved: reservedNames(c), Log: log, ReadOnly: true})
	if err != nil {
		return err
	}
	lib, err := ort.Locate(c.ORTLibrary)
	if err != nil {
		return err
	}
	e := &eagerEngine{converted: f.converted}
	if e.rt, err = ort.Open(lib, ort.Options{}); err != nil {
		return err
	}
	p, err := pool.New(pool.Options{
		Engine: e, Memory: e, Ledger: ledger.New(math.MaxInt64 / 4), Log: log,
		MaxRuns: 1, Cores: core.Threads(c), Threads: core.Threads(c), KeepAlive: -1, LoadTimeout: c.LoadTimeout, Policy: pool.CostAware,
	})
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = p.Close(ctx) // the process ends
	}()
	if err := loadAll(ctx, p, models.All(), f.only); err != nil {
		return err
	}
	h, err := eagerDoor(e, models, p, c, log)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", net.JoinHostPort(c.Host, fmt.Sprint(c.Port)))
	if err != nil {
		return err
	}
	fmt.Fprintf(s.stdout, "every model is loaded: http://%s\n", l.Addr())
	srv := &http.Server{Handler: h, ReadHeaderTimeout: c.UploadTimeout}
	closed := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer closed()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// loadAll loads the models whose numbers only lists, or all.
func loadAll(ctx context.Context, p *pool.Pool, models []*yolo.Model, only string) error {
	var chosen []string
	if only != "" {
		var err error
		if chosen, err = modelList(only); err != nil {
			return err
		}
	}
	for _, m := range models {
		if only != "" && !slices.Contains(chosen, fmt.Sprint(m.Index)) {
			continue
		}
		if err := p.Load(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// eagerDoor is the old server's API over a pool in which every model is loaded.
func eagerDoor(e *eagerEngine, models *catalog.Catalog, p *pool.Pool, c *config.Config, log *slog.Logger) (http.Handler, error) {
	d := detect.New(models, p, detect.Options{
		Conf: float64(c.ConfThres), IoU: float64(c.IoUThres), Buffers: &e.buffers,
		Pictures: &imaging.Codec{MaxPixels: c.MaxPixels, JPEG: &turbojpeg.Library{Buffers: &e.buffers}, Buffers: &e.buffers},
	})
	return httpapi.New(d, served{models, p}, httpapi.Options{
		Log: log, MaxBody: c.MaxBody, UploadTimeout: c.UploadTimeout, RequestTimeout: c.RequestTimeout,
		Health: func() httpapi.Health {
			return httpapi.Health{InferenceOK: true, Device: "cpu", ModelPathAccess: true, TmpWritable: true, OutputWritable: true}
		},
		Memory:    func() httpapi.Memory { return httpapi.Memory{Used: e.Resident(), Models: p.Status()} },
		Residents: p, Events: httpapi.NewEvents(),
	})
}
