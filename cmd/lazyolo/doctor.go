package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"lazyolo/internal/catalog"
	"lazyolo/internal/config"
	"lazyolo/internal/core"
	"lazyolo/internal/engine"
	"lazyolo/internal/machine"
	"lazyolo/internal/ort"
	"lazyolo/internal/prepare"
	"lazyolo/internal/turbojpeg"
	"lazyolo/yolo"
)

// doctorCommand makes the doctor command with its one flag.
func doctorCommand() command {
	fix := false
	return command{
		name: "doctor", does: "show what lazyolo finds here, what is missing and what that costs",
		more:     "It fails where models cannot be run or served. With the settings of serve it looks at what serve would see.",
		examples: []string{"lazyolo doctor", "lazyolo doctor --fix", "lazyolo doctor --models-path /srv/models"},
		flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&fix, "fix", false, "fetch ONNX Runtime with pip or npm when it is missing or too old")
		},
		interruptible: true,
		run:           func(ctx context.Context, c *config.Config, s sys) error { return doctor(ctx, c, s, fix) },
	}
}

// An examination collects doctor's lines.
type examination struct {
	out    io.Writer
	broken bool // the main job cannot run
}

func (x *examination) line(name, format string, args ...any) {
	fmt.Fprintf(x.out, "  %-14s %s\n", name, plain(fmt.Sprintf(format, args...)))
}

// fail notes what keeps the main job from running, and the way out.
func (x *examination) fail(name string, err error, remedy string) {
	x.broken = true
	x.line(name, "MISSING: %v", err)
	if remedy != "" {
		x.line("", "-> %s", remedy)
	}
}

// doctor examines the installation; it returns errReported when the main job
// cannot run.
func doctor(ctx context.Context, c *config.Config, s sys, fix bool) error {
	if err := noArguments("doctor", c); err != nil {
		return err
	}
	x := &examination{out: s.stdout}
	fmt.Fprintln(s.stdout, "lazyolo", versionString())
	x.library(ctx, c, fix)
	x.jpeg()
	x.machine(c)
	x.access(c)
	e := x.cache(c)
	x.models(c, e)
	if e != nil {
		if err := e.Close(); err != nil {
			x.line("cache", "%v", err)
		}
	}
	if c.SaveAnnotated && !writable(c.OutputPath) && (readable(c.OutputPath) || !writable(".")) {
		x.line("output", "%s cannot be written: annotated pictures are not saved; set OUTPUT_IMG_BASE_PATH or SAVE_ANNOTATED=off", c.OutputPath)
	} else if c.SaveAnnotated {
		x.line("output", "%s", c.OutputPath)
	}
	for _, w := range c.Warnings {
		x.line("warning", "%s", w)
	}
	if x.broken {
		return errReported
	}
	return nil
}

func (x *examination) library(ctx context.Context, c *config.Config, fix bool) {
	lib, err := ort.Locate(c.ORTLibrary)
	if err != nil && fix {
		fetching, cancel := context.WithTimeout(ctx, 10*time.Minute)
		defer cancel()
		if lib, err = ort.Fetch(fetching, x.out); err == nil && c.ORTLibrary != "" {
			x.line("", "ORT_LIBRARY names another file; leave it out to use the fetched one")
			_, err = ort.Locate(c.ORTLibrary)
		}
	}
	if err != nil {
		x.fail("onnx runtime", err, "")
		return
	}
	x.line("onnx runtime", "%s, %s (from the %s)", orUnknown(lib.Version), lib.Path, lib.From)
}

func (x *examination) jpeg() {
	version, err := new(turbojpeg.Library).Version()
	if err != nil {
		x.line("libjpeg-turbo", "none: JPEGs take several times longer to decode and to annotate (a 12-megapixel photo 0.1 s more)")
		x.line("", "-> install libturbojpeg (Debian: libturbojpeg0, Fedora: turbojpeg, Homebrew: jpeg-turbo), or put it beside lazyolo")
		return
	}
	x.line("libjpeg-turbo", "%s", version)
}

func orUnknown(s string) string {
	if s == "" {
		return "version unknown"
	}
	return s
}

func (x *examination) machine(c *config.Config) {
	x.line("cpu", "%d cores, %s", machine.CPUs(), machine.CPUFeatures())
	limit := machine.MemoryLimit()
	if limit.Bytes == 0 {
		x.line("memory", "limit unknown")
	} else {
		x.line("memory", "%d MiB (%s)", limit.Bytes/mib, limit.From)
	}
	if c.MaxMemory > 0 && limit.Bytes > 0 && c.MaxMemory > limit.Bytes {
		x.line("", "MAX_MEMORY_MB=%d is more than that", c.MaxMemory/mib)
	}
}

// access tells who may call, and whether keys and certificate can be used.
func (x *examination) access(c *config.Config) {
	quiet := slog.New(slog.DiscardHandler)
	g, err := newGuard(c, quiet)
	switch {
	case err != nil:
		x.fail("keys", err, "")
	case g.Keyed():
		x.line("keys", "set: calls need one")
	default:
		x.line("keys", "none: whoever reaches %s may use the models; lazyolo key NAME makes one", c.Host)
	}
	cert, err := newCertificate(c, quiet)
	if err != nil {
		x.fail("tls", err, "")
	} else if cert != nil {
		x.line("tls", "%s", c.TLSCert)
	}
}

// cache returns an engine over the cache; nil: there can be none.
func (x *examination) cache(c *config.Config) *engine.Engine {
	const cost = "prepared models stay in memory and are made anew at each start: a first request may take seconds"
	e, err := core.NewEngine(c, slog.New(slog.DiscardHandler))
	switch {
	case err != nil:
		x.fail("cache", err, "")
	case c.CacheDir == "":
		x.line("cache", "none: %s; set CACHE_DIR", cost)
	case !writable(c.CacheDir):
		x.line("cache", "%s cannot be written: %s; set CACHE_DIR", c.CacheDir, cost)
	default:
		x.line("cache", "%s (at most %d MiB)", c.CacheDir, c.CacheMax>>20)
	}
	return e
}

// models lists what is served and what is not. Models that are prepared are checked
// against their files; e may be nil.
func (x *examination) models(c *config.Config, e *engine.Engine) {
	models, err := catalog.Open(catalog.Options{Dir: c.ModelsPath, AllowDirs: c.AllowModelDirs, StateDir: c.StateDir, Reserved: reservedNames(c), ReadOnly: true})
	if err != nil {
		if isMissing(err) && c.Origin("MODELS_PATH").Source == config.Default {
			x.line("models", "%s does not exist: serve would run the demo model", c.ModelsPath)
			return
		}
		x.fail("models", err, "set MODELS_PATH to the folder of model folders")
		return
	}
	x.line("models", "%s: %d served, %d refused", c.ModelsPath, len(models.All()), len(models.Problems()))
	for _, m := range models.All() {
		x.line("", "%d  %s  %s %s, %d KiB", m.Index, m.ID, m.Name, m.Version, m.Bytes>>10)
	}
	for _, p := range models.Problems() {
		x.line("refused", "%s", p)
	}
	if e != nil {
		x.prepared(models.All(), e.Cache())
	}
	for _, m := range models.Moved() {
		x.line("moved", "%s: id %d in the last run, %d now (-1: gone); id: in its labels.yaml pins it", m.Folder, m.From, m.To)
	}
	if len(models.All()) == 0 && len(models.Problems()) > 0 {
		x.fail("models", fmt.Errorf("no folder can be served"), "mend the refused ones")
	}
	if c.StateDir != "" && !writable(c.StateDir) {
		if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
			x.line("state", "%s cannot be written: moved ids go unnoticed; set STATE_DIR", c.StateDir)
		}
	}
}

// prepared tells which models cannot serve, as far as their files were read.
func (x *examination) prepared(models []*yolo.Model, cache *prepare.Cache) {
	unread := 0
	for _, m := range models {
		info, ok := cache.Known(m)
		if !ok {
			unread++
		} else if err := cannotServe(m, info); err != nil {
			x.line("cannot serve", "%v", err)
		}
	}
	if unread > 0 {
		x.line("not prepared", "%d, so not checked against their files; lazyolo prepare does both", unread)
	}
}
