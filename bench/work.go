package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"lazyolo/internal/ort"
)

// The pictures and models of the repository that the bench uses.
const (
	pictureFile = "cmd/lazyolo/demo/pictures/street.jpg" // 810x1080
	demoModel   = "cmd/lazyolo/demo/models/model_0/best.onnx"
)

// The work folder holds everything the bench makes; nothing of the user's is used.
//
//	weights/          what peers/models.py made
//	models/SET-FORMAT model folders, weights linked
//	cache/ state/ output/  of the servers
//	venv/             Python, unless BENCH_VENV names one
type work struct {
	dir     string
	binary  string // a copy of the program
	version string
	library ort.Library
	picture []byte
	rounds  rounds
	python  string // of a usable environment; "": none
	yolo    bool   // the YOLOv8 models are there
	lazyolo contender
	peers   []contender
	started int          // servers so far
	threads int          // of ort; 0: as the server
	ort     *ort.Runtime // once opened
	notes   []string     // what the reader of the tables must know
}

// prepareWork makes or finds everything that is measured.
func prepareWork(ctx context.Context) (*work, error) {
	b := &work{rounds: full}
	if os.Getenv("BENCH_QUICK") == "1" {
		b.rounds = quick
		b.note("Quick: few rounds, a check that the bench works and no more.")
	}
	var err error
	if b.picture, err = os.ReadFile(pictureFile); err != nil {
		return nil, fmt.Errorf("%w: run the bench from the repository's root", err)
	}
	if b.library, err = ort.Locate(os.Getenv("ORT_LIBRARY")); err != nil {
		return nil, err
	}
	if b.dir = os.Getenv("BENCH_DIR"); b.dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, err
		}
		b.dir = filepath.Join(cache, "lazyolo-bench")
	}
	if b.dir, err = filepath.Abs(b.dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return nil, err
	}
	if err := b.takeBinary(ctx); err != nil {
		return nil, fmt.Errorf("%w: run make build first", err)
	}
	b.lazyolo = contender{name: "lazyolo", format: "onnx", command: []string{b.binary, "serve"}}
	b.setUpPython(ctx)
	if err := b.makeModels(); err != nil {
		return nil, fmt.Errorf("make models: %w", err)
	}
	return b, b.prepareAll(ctx)
}

// takeBinary copies the program, so that a build beside the bench changes nothing.
func (b *work) takeBinary(ctx context.Context) error {
	b.binary = b.path("lazyolo")
	if err := os.Remove(b.binary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	from := os.Getenv("BENCH_BINARY")
	if from == "" {
		from = "bin/lazyolo"
	}
	if err := copyFile(b.binary, from, 0o755); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, b.binary, "version").Output()
	b.version = strings.TrimPrefix(strings.TrimSpace(string(out)), "lazyolo ")
	return err
}

func (b *work) note(format string, args ...any) {
	b.notes = append(b.notes, fmt.Sprintf(format, args...))
	progress(format, args...)
}

func (b *work) path(names ...string) string {
	return filepath.Join(append([]string{b.dir}, names...)...)
}

// env is the whole environment of a measured server, but for its own settings.
func (b *work) env() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "ORT_LIBRARY=" + b.library.Path,
		"GRPC_PORT=0", "CACHE_DIR=" + b.path("cache"), "STATE_DIR=" + b.path("state"), "OUTPUT_IMG_BASE_PATH=" + b.path("output"),
	}
}

// models is a set's folder in a format.
func (b *work) models(set, format string) string { return b.path("models", set+"-"+format) }

// The sets of model folders.
const (
	pair     = "pair"     // two models, YOLOv8m where they are there
	thousand = "thousand" // 1,000 folders, all linked to one small file
	nano     = "nano"     // one YOLOv8n
	dynamic  = "dynamic"  // the same with free height and width
)

// thousandFolders is how many folders the set thousand has.
const thousandFolders = 1000

// makeModels writes the sets anew, with the weights linked.
func (b *work) makeModels() error {
	if err := os.RemoveAll(b.path("models")); err != nil {
		return err
	}
	demo := b.path("demo.onnx") // a copy: the work folder may be on another file system
	if err := copyFile(demo, demoModel, 0o644); err != nil {
		return err
	}
	for _, format := range []string{"onnx", "pt"} {
		two := []string{demo, demo}
		if b.yolo {
			two = []string{b.path("weights", "yolov8m-a."+format), b.path("weights", "yolov8m-b."+format)}
		} else if format == "pt" {
			continue
		}
		for i, weights := range two {
			if err := makeFolder(b.models(pair, format), i, weights); err != nil {
				return err
			}
		}
		if b.yolo {
			if err := makeFolder(b.models(nano, format), 0, b.path("weights", "yolov8n."+format)); err != nil {
				return err
			}
			if err := makeFolder(b.models(dynamic, format), 0, b.path("weights", "yolov8n-dynamic."+format)); err != nil {
				return err
			}
		}
		small := demo
		if format == "pt" {
			small = b.path("weights", "yolov8n.pt")
		}
		for i := range thousandFolders {
			if err := makeFolder(b.models(thousand, format), i, small); err != nil {
				return err
			}
		}
	}
	return nil
}

// makeFolder writes one model folder of a set with 80 names of its own.
func makeFolder(set string, i int, weights string) error {
	dir := filepath.Join(set, fmt.Sprintf("model_%d", i))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	format := strings.TrimPrefix(filepath.Ext(weights), ".")
	if err := os.Link(weights, filepath.Join(dir, "best."+format)); err != nil {
		return err
	}
	return writeLabels(dir, filepath.Base(set), format, i)
}

// writeLabels writes a model's labels.yaml.
func writeLabels(dir, set, format string, i int) error {
	var y strings.Builder
	fmt.Fprintf(&y, "model_name: bench %s %d\nmodel_family: YOLOv8\nversion: 1.0.0\nmodel_path: ./best.%s\n", set, i, format)
	y.WriteString("task: detection\ninput_size: \"640x640\"\ndescription: A model to measure with.\n")
	y.WriteString("metadata:\n  training_data: none\n  date_trained: '2026-01-01'\n  maintainers: bench\n  note: random weights\nnames:\n")
	for k := range 80 {
		fmt.Fprintf(&y, "  %d: thing %d of %d\n", k, k, i)
	}
	return os.WriteFile(filepath.Join(dir, "labels.yaml"), []byte(y.String()), 0o644)
}

// prepareAll runs lazyolo prepare on every set.
func (b *work) prepareAll(ctx context.Context) error {
	for _, set := range []string{pair, thousand, nano, dynamic} {
		dir := b.models(set, "onnx")
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := b.prepare(ctx, dir); err != nil {
			return err
		}
	}
	return nil
}

// prepare runs lazyolo prepare over a models folder.
func (b *work) prepare(ctx context.Context, dir string, env ...string) error {
	progress("lazyolo prepare, %s", dir)
	cmd := exec.CommandContext(ctx, b.binary, "prepare")
	cmd.Dir, cmd.Env = b.dir, append(append(b.env(), env...), "MODELS_PATH="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("lazyolo prepare: %w\n%s", err, out)
	}
	return nil
}

// copyFile leaves a copy that is there already as it is, so that it counts as
// unchanged.
func copyFile(to, from string, mode fs.FileMode) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if have, err := os.ReadFile(to); err == nil && bytes.Equal(have, b) {
		return nil
	}
	return os.WriteFile(to, b, mode)
}
