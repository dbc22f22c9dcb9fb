package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lazyolo/internal/catalog"
	"lazyolo/internal/detect"
	"lazyolo/internal/engine"
	"lazyolo/internal/imaging"
	"lazyolo/internal/ledger"
	"lazyolo/internal/machine"
	"lazyolo/internal/pool"
	"lazyolo/internal/turbojpeg"
	"lazyolo/yolo"
)

// What runs beside the resident model.
const (
	besideLoader  = "loader"  // a goroutine that loads and unloads others without pause
	besideSpinner = "spinner" // a goroutine that only counts
)

// A residence is what a resident child measured.
type residence struct {
	Took  sample // seconds
	Loads int
}

// residentTable measures whether loading others disturbs a model in use.
func residentTable(ctx context.Context, out *report, b *work) error {
	if !b.yolo {
		return nil // the head of the report says why
	}
	f := &fleet{b, "n20", "yolov8n.onnx", 20, gainNano}
	if err := f.prepared(ctx); err != nil {
		return err
	}
	h, err := b.startChild(ctx, "resident", "resident", f.dir(), f.cache(), strconv.Itoa(b.rounds.steady))
	if err != nil {
		return err
	}
	defer h.stop()
	var loading, spinning, both sample
	var loads int
	const rounds = 3
	for i := range rounds {
		progress("resident model, round %d of %d", i+1, rounds)
		var beside [2]residence
		for k, what := range []string{besideLoader, besideSpinner} {
			if beside[k], err = h.resident(what); err != nil {
				return err
			}
		}
		loads += beside[0].Loads
		loading, spinning = append(loading, beside[0].Took.percentile(99)), append(spinning, beside[1].Took.percentile(99))
		both = append(both, loading[i]/spinning[i])
	}
	out.section("A resident model while others load", fmt.Sprintf(
		"p99 of %d detections, three times (%d in all), one after the other, while a goroutine loads and unloads other models without pause (%d loads), over the same beside a goroutine that spins. Engine, pool and detector as in the server, in one process and without HTTP, whose clients would take a core of their own.",
		b.rounds.steady, rounds*b.rounds.steady, loads))
	out.table([]figure{
		{what: "p99 beside the loader over p99 beside the spinner", in: asRatio, measured: sample{loading.median() / spinning.median()}, most: 1.15},
		{what: "of each round", in: asRatio, measured: both, spread: true},
		{what: "p99 beside the loader", in: inMillis, measured: loading, spread: true},
		{what: "p99 beside the spinner", in: inMillis, measured: spinning, spread: true},
	})
	return nil
}

// resident has a resident child measure beside something.
func (h *helper) resident(beside string) (r residence, err error) {
	if _, err := fmt.Fprintln(h.in, beside); err != nil {
		return r, err
	}
	line, err := h.out.ReadString('\n')
	if err != nil {
		return r, fmt.Errorf("%s: %w", h.name, err)
	}
	return r, json.Unmarshal([]byte(line), &r)
}

// A resident is the server's inside: no HTTP.
type resident struct {
	models   *catalog.Catalog
	pool     *pool.Pool
	detector *detect.Detector
	picture  []byte
}

// residentChild answers each line of its input, which says what runs beside, with
// the times of n detections.
func residentChild(dir, cache, count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	r := &resident{}
	if r.picture, err = os.ReadFile(pictureFile); err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	e, err := engine.New(engine.Options{Log: log, Library: os.Getenv("ORT_LIBRARY"), CacheDir: cache,
		Worker: func() *exec.Cmd { return exec.Command("false") }}) // all is prepared
	if err != nil {
		return err
	}
	if r.models, err = catalog.Open(catalog.Options{Dir: dir, Log: log}); err != nil {
		return err
	}
	r.pool, err = pool.New(pool.Options{Engine: e, Memory: e, Ledger: ledger.New(4 << 30), Log: log, MaxRuns: machine.CPUs(), Cores: machine.CPUs(), Threads: machine.CPUs(),
		MinResident: 250 * time.Millisecond, KeepAlive: -1, Policy: pool.CostAware, WorkingRoom: 16 * mb})
	if err != nil {
		return err
	}
	r.detector = detect.New(r.models, r.pool, detect.Options{Conf: 0.25, IoU: 0.45, Buffers: e.Store(),
		Pictures: &imaging.Codec{JPEG: new(turbojpeg.Library), Buffers: e.Store()}})
	ctx := context.Background()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		got, err := r.measure(ctx, strings.TrimSpace(lines.Text()), n)
		if err != nil {
			return err
		}
		if err := json.NewEncoder(os.Stdout).Encode(got); err != nil {
			return err
		}
	}
	return nil
}

// measure times n detections beside something.
func (r *resident) measure(ctx context.Context, beside string, n int) (got residence, err error) {
	var ended atomic.Bool
	var other sync.WaitGroup
	var failed error
	other.Go(func() {
		if beside == besideLoader {
			got.Loads, failed = r.load(ctx, &ended)
			return
		}
		for !ended.Load() {
		}
	})
	const warm = 5
	for i := range warm + n {
		began := time.Now()
		if _, err = r.detector.Detect(ctx, yolo.Request{Model: "0", Image: r.picture}); err != nil {
			break
		}
		if i >= warm {
			got.Took = append(got.Took, time.Since(began).Seconds())
		}
	}
	ended.Store(true)
	other.Wait()
	return got, errors.Join(err, failed)
}

// load loads and unloads models 1 to 5 without pause, and counts.
func (r *resident) load(ctx context.Context, ended *atomic.Bool) (n int, err error) {
	for ; err == nil && !ended.Load(); n++ {
		m, _ := r.models.Model(strconv.Itoa(1 + n%cycleModels))
		if err = r.pool.Load(ctx, m); err == nil {
			err = r.pool.Unload(ctx, m)
		}
	}
	return n, err
}
