package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"lazyolo/internal/config"
	"lazyolo/internal/core"
	"lazyolo/internal/imaging"
	"lazyolo/internal/pool"
	"lazyolo/yolo"
)

// stageOf is a stage of one prepared model of 10 MB, with these settings.
func stageOf(t *testing.T, settings ...string) *stage {
	t.Helper()
	env := make(map[string]string)
	for _, s := range settings {
		name, value, _ := strings.Cut(s, "=")
		env[name] = value
	}
	c, err := config.Load(nil, func(name string) string { return env[name] }, os.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	return &stage{c: c, models: []*yolo.Model{{Bytes: 10 * mib, WeightsRef: "a.onnx"}}, costs: []pool.Cost{{Mapped: 10 * mib, Run: 8 * mib}}, folder: &folder{}}
}

// The budget has room for the picture, while it is decoded and while it is drawn into,
// and for its body.
func TestStageBudgetHasRoomForThePicture(t *testing.T) {
	small, large := stageOf(t), stageOf(t)
	small.decode, small.picture.Data = imaging.Measure{Width: 640, Height: 480, Bytes: 3 * 640 * 480}, make([]byte, 100<<10)
	const pixels = 4032 * 3024
	large.decode, large.picture.Data = imaging.Measure{Width: 4032, Height: 3024, Bytes: 3 * pixels}, make([]byte, 5*mib)
	const bodies = 20 * mib // of the picture and the answer, twice
	a, b := small.budget(), large.budget()
	if want := core.BudgetFor(26*mib, 8*mib, 8*mib); a < want || a >= want+mib {
		t.Errorf("for a small picture %d MB, not %d", a/mib, want/mib)
	}
	if least := a + 3*pixels - 16*mib + bodies - 8*mib; b < least {
		t.Errorf("for a photo %d MB, not %d", b/mib, least/mib)
	}
	// Drawing, when no model is in memory, takes the pixels twice.
	if least := int64(64*mib + 2*3*pixels + bodies); b < least {
		t.Errorf("for a photo that is drawn into %d MB, not %d", b/mib, least/mib)
	}
	if cmd := large.serve(b)(); !slices.Contains(cmd.Args, "20") {
		t.Errorf("no room for bodies in %q", cmd.Args)
	}
}

// Only MAX_MEMORY_MB itself chooses the budget: what else means one is for servers.
func TestStageBudgetOfSettings(t *testing.T) {
	automatic := stageOf(t).budget()
	if n := stageOf(t, "ENABLE_LRU_CACHE=true").budget(); n != automatic {
		t.Errorf("the old server's environment: %d MB, not %d", n/mib, automatic/mib)
	}
	if n := stageOf(t, "ENABLE_LRU_CACHE=true", "MAX_MEMORY_MB=300").budget(); n != 300*mib {
		t.Errorf("MAX_MEMORY_MB=300: %d MB", n/mib)
	}
}

// Settings that change what models do are the servers' too.
func TestStageHandsSettingsOn(t *testing.T) {
	plain := strings.Join(stageOf(t).serve(unlimited)().Args, " ")
	for _, flag := range []string{"--keep-alive", "--eviction-policy", "--max-concurrency", "--conf-thres"} {
		if strings.Contains(plain, flag) {
			t.Errorf("%s in %s", flag, plain)
		}
	}
	st := stageOf(t, "KEEP_ALIVE=3s", "EVICTION_POLICY=lru", "MAX_CONCURRENCY=2", "CONF_THRES=0.5", "PRELOAD_MODELS=0")
	args := strings.Join(st.serve(unlimited)().Args, " ")
	for _, part := range []string{" --keep-alive 3s", " --eviction-policy lru", " --max-concurrency 2", " --conf-thres 0.5"} {
		if !strings.Contains(args, part) {
			t.Errorf("no%s in %s", part, args)
		}
	}
	if strings.Contains(args, "preload") {
		t.Error(args)
	}
}

// Where all models at once are too much for the machine, that run is left out; the
// numbers of a checkpoint take twice their size.
func TestEagerIsLeftOutWhereItDoesNotFit(t *testing.T) {
	for _, c := range []struct {
		weights string
		limit   int64
		fits    bool
	}{
		{"a.onnx", 0, true}, {"a.onnx", 30 * mib, true}, {"a.onnx", 24 * mib, false}, {"a.pt", 49 * mib, false},
	} {
		st := stageOf(t)
		st.models[0].WeightsRef, st.limit = c.weights, c.limit
		cmd, leftOut, err := st.eager(t.Context())
		if err != nil || (cmd != nil) != c.fits || (leftOut == "") != c.fits || !c.fits && !strings.Contains(leftOut, "MB here") {
			t.Errorf("%+v: %v %q %v", c, cmd != nil, leftOut, err)
		}
	}
}

// A folder that a process left behind is removed by the next one, one in use is not.
func TestFoldersLeftBehind(t *testing.T) {
	home := t.TempDir()
	used, err := newFolder(home)
	if err != nil {
		t.Fatal(err)
	}
	left, other := filepath.Join(home, "compare-123"), filepath.Join(home, "prepared")
	for _, dir := range []string{left, other} {
		if err := os.MkdirAll(filepath.Join(dir, "models"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	next, err := newFolder(home)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !isMissing(err) {
		t.Errorf("%s is still there: %v", left, err)
	}
	for _, dir := range []string{used.path, next.path, other} {
		if _, err := os.Stat(dir); err != nil {
			t.Error(err)
		}
	}
	if err := errors.Join(used.close(), next.close()); err != nil {
		t.Error(err)
	}
	if found, _ := filepath.Glob(filepath.Join(home, "compare-*")); len(found) > 0 {
		t.Errorf("left behind: %q", found)
	}
}

// A broken output is one whose reader has gone.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, syscall.EPIPE }

// What has to be tidied up is when nobody reads the output any more.
func TestTidyEndsWithItsOutput(t *testing.T) {
	ctx, s, stop := tidy(t.Context(), sys{stdout: broken{}, stderr: new(bytes.Buffer)})
	defer stop()
	if _, err := io.WriteString(s.stderr, "x"); err != nil || ctx.Err() != nil {
		t.Fatalf("%v %v", err, ctx.Err())
	}
	_, _ = io.WriteString(s.stdout, "x")
	<-ctx.Done()
	if err := comparisonError(ctx, ctx.Err()); !errors.Is(err, syscall.EPIPE) || report(io.Discard, err) != exitError {
		t.Error(err)
	}
}

// A server ends when whoever started it is gone.
func TestUntilEOF(t *testing.T) {
	r, w := io.Pipe()
	ctx, stop := untilEOF(t.Context(), r)
	defer stop()
	if _, err := w.Write([]byte("x")); err != nil || ctx.Err() != nil {
		t.Fatal(err, ctx.Err())
	}
	_ = w.Close()
	<-ctx.Done()
	if !errors.Is(ctx.Err(), context.Canceled) {
		t.Error(ctx.Err())
	}
}

// The folder for results is made, or refused, before the work.
func TestMakeOut(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s := sys{stdout: io.Discard, stderr: io.Discard, getenv: func(string) string { return "" }}
	c := stageOf(t, "MODELS_PATH=/nonexistent").c
	for _, err := range []error{
		runDemo(t.Context(), filepath.Join(file, "x"), "", c, s),
		runBenchMemory(t.Context(), loadFlags{out: filepath.Join(file, "x")}, c, s),
	} {
		var h hinted
		if !errors.As(err, &h) || !strings.Contains(h.hint, "--out") {
			t.Error(err)
		}
	}
	out := filepath.Join(t.TempDir(), "a", "b")
	if err := makeOut(out); err != nil || !writable(out) {
		t.Error(err)
	}
}
