package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"lazyolo/internal/buffers"
	"lazyolo/internal/catalog"
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

// allocations is what a warm request allocates, in bytes: the server wired up in
// this program as in cmd/lazyolo, but for the HTTP library, which is left out.
func (b *work) allocations(ctx context.Context) (float64, error) {
	handler, closeAll, err := b.handler()
	if err != nil {
		return 0, err
	}
	defer closeAll(ctx)
	d, err := newDetection(b.picture, 0)
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/api/v2/detect", nil)
	if err != nil {
		return 0, err
	}
	req.RemoteAddr = "127.0.0.1:9"
	req.ContentLength = int64(len(d.body))
	req.Header.Set("Content-Type", d.contentType)
	body, w := bytes.NewReader(nil), &discard{header: make(http.Header)}
	ask := func() error {
		body.Reset(d.body)
		req.Body = io.NopCloser(body)
		clear(w.header)
		w.status = 0
		handler.ServeHTTP(w, req)
		if w.status != 0 && w.status != http.StatusOK || w.length == 0 {
			return fmt.Errorf("status %d", w.status)
		}
		return nil
	}
	const warm, n = 30, 200
	var before, after runtime.MemStats
	for i := range warm + n {
		if i == warm {
			runtime.ReadMemStats(&before)
		}
		if err := ask(); err != nil {
			return 0, err
		}
	}
	runtime.ReadMemStats(&after)
	return float64(after.TotalAlloc-before.TotalAlloc) / n, nil
}

// A discard is a ResponseWriter that keeps nothing.
type discard struct {
	header         http.Header
	status, length int
}

func (w *discard) Header() http.Header { return w.header }
func (w *discard) WriteHeader(s int)   { w.status = s }
func (w *discard) Write(p []byte) (int, error) {
	w.length = len(p)
	return len(p), nil
}

// SetReadDeadline lets the server set the time of an upload.
func (w *discard) SetReadDeadline(time.Time) error { return nil }

// handler is the server's, over the nano set.
func (b *work) handler() (http.Handler, func(context.Context), error) {
	detector, models, closeAll, err := b.detector()
	if err != nil {
		return nil, nil, err
	}
	h, err := httpapi.New(detector, models, httpapi.Options{
		Log: slog.New(slog.DiscardHandler), MaxBody: 64 * mb, UploadTimeout: time.Minute, RequestTimeout: time.Minute, BodyShare: 64 * mb,
		Health: func() httpapi.Health { return httpapi.Health{} }, Memory: func() httpapi.Memory { return httpapi.Memory{} },
		Residents: models.Pool, Events: httpapi.NewEvents(),
	})
	return h, closeAll, err
}

// detector is the server's, over the nano set.
func (b *work) detector() (*detect.Detector, loadedModels, func(context.Context), error) {
	rt, err := b.runtime()
	if err != nil {
		return nil, loadedModels{}, nil, err
	}
	log := slog.New(slog.DiscardHandler)
	models, err := catalog.Open(catalog.Options{Dir: b.models(nano, "onnx"), Log: log})
	if err != nil {
		return nil, loadedModels{}, nil, err
	}
	e := &oneEngine{b: b, rt: rt}
	p, err := pool.New(pool.Options{Engine: e, Memory: e, Ledger: ledger.New(4 << 30), Log: log, MaxRuns: machine.CPUs(), Cores: machine.CPUs(), Threads: machine.CPUs(), KeepAlive: -1, Policy: pool.CostAware})
	if err != nil {
		return nil, loadedModels{}, nil, err
	}
	d := detect.New(models, p, detect.Options{Conf: 0.25, IoU: 0.45, Buffers: &e.buffers,
		Pictures: &imaging.Codec{JPEG: new(turbojpeg.Library), MaxPixels: 1e8, Buffers: &e.buffers}})
	return d, loadedModels{models, p}, func(ctx context.Context) { _ = p.Close(ctx) }, nil
}

type loadedModels struct {
	*catalog.Catalog
	*pool.Pool
}

// Loaded implements httpapi.Models.
func (loadedModels) Loaded() []int { return nil }

// A oneEngine loads the prepared file of the nano set; it is the pool's Engine and
// Memory.
type oneEngine struct {
	b       *work
	rt      *ort.Runtime
	buffers buffers.Store
}

func (e *oneEngine) Cost(*yolo.Model) (pool.Cost, bool) {
	return pool.Cost{Mapped: 14 * mb, Private: 4 * mb, LoadPeak: 8 * mb, Run: 64 * mb, Pixels: 640 * 640}, true
}
func (e *oneEngine) Prepare(context.Context, *yolo.Model, int64, bool) error {
	return errors.New("prepared before")
}
func (e *oneEngine) PrepareCost(*yolo.Model) int64 { return 0 }
func (e *oneEngine) Resident() int64               { return machine.Resident(os.Getpid()) }
func (e *oneEngine) Buffers() int64                { return e.buffers.Held() }
func (e *oneEngine) Shrink()                       { _ = e.rt.Shrink() }

func (e *oneEngine) Held() int64 {
	held, _ := e.rt.Arena()
	return max(0, held)
}

func (e *oneEngine) Open(_ context.Context, m *yolo.Model, threads int) (pool.Session, error) {
	name, err := e.b.prepared(m.Weights)
	if err != nil {
		return nil, err
	}
	data, err := mapFile(name)
	if err != nil {
		return nil, err
	}
	s, err := e.rt.OpenMapped(data, threads, func() error { return unix.Munmap(data) })
	return oneSession{s, threads}, err
}

// A oneSession is open for one number of threads, the pool's.
type oneSession struct {
	*ort.Session
	threads int
}

func (s oneSession) Run(ctx context.Context, threads int, in []yolo.Tensor, use func([]yolo.Tensor) error) error {
	if threads != s.threads {
		return fmt.Errorf("open for %d threads, not %d", s.threads, threads)
	}
	return s.Session.Run(ctx, in, use)
}

func (oneSession) Open(int) error { return errors.ErrUnsupported }
func (oneSession) Shut(int) error { return errors.ErrUnsupported }

func (oneSession) Metadata() map[string]string { return nil }
func (oneSession) Cool() error                 { return nil }
