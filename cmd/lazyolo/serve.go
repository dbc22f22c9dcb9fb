package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"lazyolo/internal/access"
	"lazyolo/internal/annotate"
	"lazyolo/internal/catalog"
	"lazyolo/internal/config"
	"lazyolo/internal/core"
	"lazyolo/internal/detect"
	"lazyolo/internal/engine"
	"lazyolo/internal/grpcapi"
	"lazyolo/internal/httpapi"
	"lazyolo/internal/ledger"
	"lazyolo/internal/machine"
	"lazyolo/internal/pool"
	"lazyolo/internal/prepare"
	"lazyolo/internal/simulate"
	"lazyolo/internal/telemetry"
	"lazyolo/internal/usage"
	"lazyolo/yolo"
)

// serveCommand makes the serve command.
func serveCommand() command {
	return command{
		name: "serve", does: "serve the models over HTTP and gRPC",
		more: "Without MODELS_PATH and a folder ./models an embedded demo model is served. The first SIGINT or SIGTERM\n" +
			"lets requests finish, a second ends at once; SIGHUP has settings, models and keys looked at again.",
		examples: []string{"lazyolo serve", "lazyolo serve --models-path /srv/models --max-memory-mb 2048", "MODELS_PATH=/srv/models lazyolo serve --port 9000"},
		run:      serve,
	}
}

// serve runs the server until the first signal, then lets requests in flight
// finish; a second signal ends the process at once.
func serve(ctx context.Context, c *config.Config, s sys) error {
	if err := noArguments("serve", c); err != nil {
		return err
	}
	level := new(slog.LevelVar)
	level.Set(c.LogLevel)
	log := newLogger(c, s.stderr, level)
	for _, w := range c.Warnings {
		log.Warn(w)
	}
	srv, err := newServer(c, log)
	if err != nil {
		return err
	}
	srv.level = level
	return errors.Join(srv.run(ctx, s), srv.close())
}

// A server is the wired-up program.
type server struct {
	c         *config.Config
	log       *slog.Logger
	models    *catalog.Catalog
	opened    openedModels // the same
	core      *core.Core
	ledger    *ledger.Ledger // of the core, as the next three
	engine    *engine.Engine
	pool      *pool.Pool
	detector  *detect.Detector
	annotate  *annotate.Writer   // nil when pictures are not saved
	usage     *usage.Store       // once it listens
	trace     *simulate.Recorder // nil: uses are not recorded
	warmedUp  atomic.Bool        // the models to be there from the start are
	stopping  atomic.Bool        // a signal came
	telemetry *telemetry.Telemetry
	http      *http.Server
	grpc      *grpcapi.Server // nil: GRPC_PORT is 0

	guard       *access.Guard
	certificate *access.Certificate // nil: no TLS
	conns       *access.Conns
	doors       doors
	metrics     http.Handler // of /metrics at ADMIN_ADDR; nil: none
	admin       *http.Server // nil: no ADMIN_ADDR

	events *httpapi.Events

	now      atomic.Pointer[config.Config] // settings as of the last SIGHUP; c's until then
	level    *slog.LevelVar
	limiting sync.Mutex         // one change of the budget at a time
	ask      chan struct{}      // a look at the models folder
	rekey    chan struct{}      // at the files of keys
	recert   chan struct{}      // at those of the certificate
	pace     chan time.Duration // MODEL_POLL, when it changes
	slot     chan struct{}      // held by who prepares a changed model
}

func newServer(c *config.Config, log *slog.Logger) (_ *server, err error) {
	s := &server{
		c: c, log: log, conns: access.NewConns(c.MaxConnections), events: httpapi.NewEvents(),
		ask: make(chan struct{}, 1), rekey: make(chan struct{}, 1), recert: make(chan struct{}, 1),
		pace: make(chan time.Duration, 1), slot: make(chan struct{}, 1),
	}
	s.now.Store(c)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.opened.remove())
		}
	}()
	if s.guard, err = newGuard(c, log); err != nil {
		return nil, err
	}
	if s.certificate, err = newCertificate(c, log); err != nil {
		return nil, err
	}
	if s.opened, err = openModels(c, log, false); err != nil {
		return nil, err
	}
	s.models = s.opened.Catalog
	if c.TraceFile != "" {
		if s.trace, err = simulate.NewRecorder(c.TraceFile, maxTrace); err != nil {
			return nil, hinted{err, "set TRACE_FILE to a file that can be written, or leave it out"}
		}
	}
	if s.telemetry, err = s.newTelemetry(); err != nil {
		return nil, err
	}
	if err := s.openCore(); err != nil {
		return nil, err
	}
	return s, s.openDoors()
}

// openCore opens what serves the models, within the budget.
func (s *server) openCore() error {
	n := core.Budget(s.c)
	o := core.Options{
		Config: s.c, Models: s.models, Log: s.log, Aside: bodyShare(s.c, n), Ran: s.ran,
		Observe: func(t yolo.Transition) { s.telemetry.Transition(t); s.events.Transition(t) },
		Decide:  func(d yolo.Decision) { s.telemetry.Decide(d); s.events.Decide(d) },
	}
	if s.trace != nil {
		o.Used = s.trace.Record
	}
	var err error
	if s.core, err = core.Open(o); err != nil {
		return err
	}
	s.ledger, s.engine, s.pool, s.detector = s.core.Ledger, s.core.Engine, s.core.Pool, s.core.Detector
	held := o.Aside
	if s.c.SaveAnnotated {
		held += pictureShare(n)
	}
	s.ledger.Set(ledger.Bodies, held)
	// Go's heap, where the bodies lie, must not grow into the models' share between
	// collections; pixels and tensors lie outside of it.
	debug.SetMemoryLimit(goMemory + held)
	if err := s.engine.Ready(); err != nil {
		s.log.Error("inference is not possible", "err", err)
	}
	return nil
}

// maxTrace bounds the file of TRACE_FILE: 5 million uses.
const maxTrace = 256 * mib

// run listens, serves and drains.
func (s *server) run(ctx context.Context, out sys) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	reloads := make(chan os.Signal, 1)
	signal.Notify(reloads, syscall.SIGHUP)
	defer signal.Stop(reloads)

	n := len(s.models.All())
	s.log.Info(fmt.Sprintf("Setting up lazy loading for up to %d inference sessions", n))
	s.log.Info("Lazy loading configured - models will be loaded on first use")
	l, err := net.Listen("tcp", net.JoinHostPort(s.c.Host, strconv.Itoa(s.c.Port)))
	if err != nil {
		return hinted{fmt.Errorf("listen: %w", err), "another server may use the port: set PORT, or stop it"}
	}
	g, err := s.listenGRPC()
	if err != nil {
		return errors.Join(err, l.Close())
	}
	port := l.Addr().(*net.TCPAddr).Port
	s.log.Info(fmt.Sprintf("Starting server on %s:%d", s.c.Host, port))
	s.warnOpen(l)
	serveAdmin, err := s.listenAdmin()
	if err != nil {
		return errors.Join(err, l.Close())
	}
	s.greet(out, port)

	s.openUsage() // a server that cannot listen leaves the file as it is
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var background sync.WaitGroup
	defer background.Wait()
	s.goOn(ctx, &background, reloads)
	if serveAdmin != nil {
		background.Go(func() {
			if err := serveAdmin(); err != nil {
				s.log.Error("administration stopped", "err", err)
			}
		})
		defer s.admin.Close()
	}
	if _, err := machine.DropCode(); err != nil { // what only the start used
		s.log.Debug("cannot give back the pages of code", "err", err)
	}
	served := make(chan error, 2)
	go func() { served <- s.serveOn(s.http, l, s.conns) }()
	if g != nil {
		go func() { served <- s.grpc.Serve(g) }()
	}
	select {
	case err := <-served:
		cancel()
		return fmt.Errorf("serve: %w", err)
	case sig := <-signals:
		s.stopping.Store(true)
		s.log.Info("Stopping: requests in flight may finish, a second signal ends the process", "signal", sig.String())
		if sig == syscall.SIGTERM {
			s.linger(signals)
		}
	case <-ctx.Done():
	}
	s.stopping.Store(true)
	cancel()
	if err := s.usage.Stop(s.pool.Status()); err != nil {
		s.log.Warn("remember how models were used", "err", err)
	}
	return s.drain(signals)
}

// goOn starts what goes on beside the requests until ctx ends.
func (s *server) goOn(ctx context.Context, background *sync.WaitGroup, reloads <-chan os.Signal) {
	background.Go(func() { s.warmUp(ctx) })
	background.Go(func() { s.watchLimit(ctx) })
	background.Go(func() { s.watchModels(ctx) })
	background.Go(func() { s.watchReloads(ctx, reloads) })
	background.Go(func() { s.watchAccess(ctx) })
	background.Go(func() { s.usage.Keep(ctx, s.pool.Status) })
	if s.c.Preheat == config.PreheatAuto {
		background.Go(func() { s.usage.Preheat(ctx, s.loadAhead) })
	}
}

// linger takes requests for SHUTDOWN_GRACE more, while /readyz sends new ones elsewhere.
func (s *server) linger(signals <-chan os.Signal) {
	select {
	case <-time.After(s.c.ShutdownGrace):
	case <-signals:
		os.Exit(exitError)
	}
}

// drain waits for the requests in flight, the time SHUTDOWN_TIMEOUT allows.
func (s *server) drain(signals <-chan os.Signal) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.c.ShutdownTimeout)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.stopDoors(ctx) }()
	select {
	case err := <-done:
		if err != nil {
			return errors.Join(fmt.Errorf("stop: requests still ran after %v (SHUTDOWN_TIMEOUT)", s.c.ShutdownTimeout), s.http.Close())
		}
		return nil
	case <-signals:
		os.Exit(exitError)
		return nil
	}
}

// close frees what the server holds, requests being over: first the pictures that
// wait to be drawn, which take their memory from the pool.
func (s *server) close() error {
	var errs []error
	within := func(d time.Duration, end func(context.Context) error) {
		ctx, cancel := context.WithTimeout(context.Background(), d)
		defer cancel()
		errs = append(errs, end(ctx))
	}
	if s.annotate != nil {
		within(5*time.Second, s.annotate.Close)
	}
	within(5*time.Second, s.core.Close)
	if s.trace != nil {
		errs = append(errs, s.trace.Close())
		if n := s.trace.Dropped(); n > 0 {
			s.log.Warn("uses of models are missing in TRACE_FILE: it is full, or the disk too slow", "missing", n)
		}
	}
	within(2*time.Second, s.telemetry.Shutdown) // a collector may be down
	errs = append(errs, s.opened.remove())
	return errors.Join(errs...)
}

// greet says where the server is and how to try it.
func (s *server) greet(out sys, port int) {
	picture, curl := demoPicture(s.c.CacheDir), ""
	if s.guard.Keyed() {
		curl = "-H 'X-API-Key: KEY' "
	}
	if s.opened.isDemo {
		fmt.Fprintln(out.stdout, "No models in", s.c.ModelsPath+": serving the demo model.")
	}
	fmt.Fprintf(out.stdout, "lazyolo serves %d models on %s://127.0.0.1:%d (dashboard: /, API page: /docs). Try:\n\n  curl %s-F file=@%s %[2]s://127.0.0.1:%[3]d/api/v2/detect\n\n",
		len(s.models.All()), s.scheme(), port, curl, picture)
}

// prepareAll prepares what is not, one model after the other, as memory allows, and
// warns of models that cannot serve.
func (s *server) prepareAll(ctx context.Context) {
	for left := slices.Clone(s.models.All()); len(left) > 0; {
		if ctx.Err() != nil || s.engine.Ready() != nil {
			return
		}
		m := left[0]
		left = left[1:]
		done, err := s.pool.Ahead(ctx, m)
		if done || err != nil {
			s.tellPrepared(ctx, m, err)
			continue
		}
		left = append(left, m) // after the others: they may be smaller
		select {
		case <-ctx.Done():
			return
		case <-time.After(200 * time.Millisecond): // memory may be free then
		}
	}
	s.engine.Rest()
}

// tellPrepared tells how a preparation that nobody waited for ended, unless all is well.
func (s *server) tellPrepared(ctx context.Context, m *yolo.Model, err error) {
	switch {
	case errors.Is(err, prepare.ErrTakenOver) || ctx.Err() != nil:
	case errors.Is(err, prepare.ErrNotPrepared): // nothing would keep it, as the cache has told
	case err != nil:
		s.log.Warn("cannot prepare model ahead of its use", "model", m.ID, "err", err)
	default:
		info, ok := s.engine.Cache().Known(m)
		if !ok {
			return
		}
		if err := cannotServe(m, info); err != nil {
			s.log.Warn("this model will not load", "model", m.ID, "err", err)
		}
	}
}

func (s *server) memory() httpapi.Memory {
	books := s.ledger.Snapshot()
	m := httpapi.Memory{
		Used: s.engine.Resident(), Limit: books.Budget, Ledger: books.Used, Unexplained: books.Unexplained, Free: books.Free,
		Models: s.pool.Status(),
	}
	m.WaitLoad, m.WaitMemory = s.pool.Queue()
	m.Preheated, m.PreheatUsed = s.pool.Preheated()
	return m
}

// served joins catalog and pool to what the door shows of them.
type served struct {
	*catalog.Catalog
	pool *pool.Pool
}

// Loaded implements httpapi.Models.
func (s served) Loaded() []int {
	var out []int
	for _, m := range s.pool.Loaded() {
		if !slices.Contains(out, m.Index) { // of one both heads may be
			out = append(out, m.Index)
		}
	}
	return out
}
