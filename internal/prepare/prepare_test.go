package prepare_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lazyolo/internal/ort"
	"lazyolo/internal/prepare"
	"lazyolo/yolo"
)

// workerMode tells the test binary, started as a worker, how to behave.
const workerMode = "PREPARE_TEST_WORKER"

func TestMain(m *testing.M) {
	if mode, ok := os.LookupEnv(workerMode); ok {
		os.Exit(work(mode))
	}
	os.Exit(m.Run())
}

// work is the child: the real one or one that fails in a certain way.
func work(mode string) int {
	switch mode {
	case "real":
		return prepare.Work(os.Stdin, os.Stdout)
	case "hang":
		_, _ = io.Copy(io.Discard, os.Stdin)
	case "killed":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "memory":
		fmt.Fprintln(os.Stderr, "terminate called after throwing an instance of 'std::bad_alloc'")
	case "environment":
		b, _ := json.Marshal(map[string]string{"error": strings.Join(os.Environ(), " "), "kind": "model"})
		fmt.Println(string(b))
		return 0
	case "garbage":
		fmt.Println("not an answer")
		return 0
	}
	return 134
}

// library finds ONNX Runtime or skips the test.
func library(t *testing.T) func() (ort.Library, error) {
	t.Helper()
	lib, err := ort.Locate(os.Getenv("ORT_LIBRARY"))
	if err != nil {
		if os.Getenv("REQUIRE_ORT") == "1" {
			t.Fatal(err)
		}
		t.Skip("needs ONNX Runtime: ", err)
	}
	return func() (ort.Library, error) { return lib, nil }
}

// A fixture is a cache and what happened to it.
type fixture struct {
	*prepare.Cache
	children atomic.Int64
	log      *logs
}

// newFixture makes a cache in dir whose children behave like mode.
func newFixture(t *testing.T, mode string, o prepare.Options) *fixture {
	t.Helper()
	f := &fixture{log: &logs{}}
	o.Library = library(t)
	o.Log = slog.New(slog.NewTextHandler(f.log, nil))
	o.Worker = func() *exec.Cmd {
		f.children.Add(1)
		c := exec.Command(os.Args[0])
		c.Env = []string{workerMode + "=" + mode}
		return c
	}
	var err error
	if f.Cache, err = prepare.Open(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

type logs struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), s)
}

// model copies a test model to a folder of the test's own.
func model(t *testing.T, name string) *yolo.Model {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testmodels", name))
	if err != nil {
		t.Fatal(err)
	}
	return modelOf(t, b)
}

func modelOf(t *testing.T, b []byte) *yolo.Model {
	t.Helper()
	path := filepath.Join(t.TempDir(), "best.onnx")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return &yolo.Model{ID: "m", Weights: path, WeightsRef: "./best.onnx"}
}

func cacheDir(t *testing.T) string { return filepath.Join(t.TempDir(), "cache") }

// mustPrepare prepares and unmaps, and returns what was said of the file.
func (f *fixture) mustPrepare(t *testing.T, m *yolo.Model) prepare.Info {
	t.Helper()
	file, err := f.Prepare(t.Context(), m, prepare.How{})
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(file.Data)) != file.Bytes {
		t.Errorf("mapped %d bytes, the sidecar says %d", len(file.Data), file.Bytes)
	}
	if err := file.Unmap(); err != nil {
		t.Error(err)
	}
	return file.Info
}

func TestAModelIsPreparedOnce(t *testing.T) {
	dir, m := cacheDir(t), model(t, "static.onnx")
	f := newFixture(t, "real", prepare.Options{Dir: dir})
	if _, ok := f.Known(m); ok {
		t.Error("known before it was prepared")
	}
	info := f.mustPrepare(t, m)
	if s := info.Sizes; s.Mapped != info.Bytes || s.RunPeak <= 0 || fmt.Sprint(s.RunShape) != "[1 3 160 160]" {
		t.Errorf("sizes %+v", s)
	}
	if info.Metadata["task"] != "detect" || len(info.Inputs) != 1 || len(info.Outputs) != 1 {
		t.Errorf("info %+v", info)
	}
	f.mustPrepare(t, m)
	again := newFixture(t, "real", prepare.Options{Dir: dir})
	if known, ok := again.Known(m); !ok || known.CRC32C != info.CRC32C {
		t.Errorf("after a restart: %+v, %v", known, ok)
	}
	again.mustPrepare(t, m)
	if n, models, err := again.Size(); err != nil || models != 1 || n != info.Bytes {
		t.Errorf("the folder has %d models of %d bytes, want 1 of %d: %v", models, n, info.Bytes, err)
	}
	if f.children.Load() != 1 || again.children.Load() != 0 {
		t.Errorf("%d and %d children", f.children.Load(), again.children.Load())
	}
	for _, name := range []string{"model.ort", "info.json"} {
		found, _ := filepath.Glob(filepath.Join(dir, "*", name))
		if len(found) != 1 {
			t.Fatalf("%s: %v", name, found)
		}
		if st, err := os.Stat(found[0]); err != nil || st.Mode().Perm() != 0o400 {
			t.Errorf("%s: %v, %v", name, st.Mode(), err)
		}
	}
}

func TestManyAskOneChildWorks(t *testing.T) {
	f, m := newFixture(t, "real", prepare.Options{Dir: cacheDir(t)}), model(t, "static.onnx")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { f.mustPrepare(t, m) })
	}
	all.Wait()
	if n := f.children.Load(); n != 1 {
		t.Errorf("%d children", n)
	}
}

func TestTwoServersShareAFolder(t *testing.T) {
	dir, m := cacheDir(t), model(t, "static.onnx")
	var all sync.WaitGroup
	for range 3 {
		f := newFixture(t, "real", prepare.Options{Dir: dir})
		all.Go(func() { f.mustPrepare(t, m) })
	}
	all.Wait()
	if left, _ := filepath.Glob(filepath.Join(dir, "tmp-*")); len(left) > 0 {
		t.Errorf("drafts left: %v", left)
	}
}

func TestDynamicInputsAreMeasuredAtTheirTrainingSize(t *testing.T) {
	f := newFixture(t, "real", prepare.Options{Dir: cacheDir(t)})
	info := f.mustPrepare(t, model(t, "dynamic.onnx"))
	if fmt.Sprint(info.Sizes.RunShape) != "[1 3 160 160]" || info.Inputs[0].Shape[2] != -1 {
		t.Errorf("got %v of %v", info.Sizes.RunShape, info.Inputs)
	}
}

func TestADamagedEntryIsMadeAnew(t *testing.T) {
	damages := map[string]func(t *testing.T, model, info string){
		"a flipped byte": func(t *testing.T, model, _ string) {
			b, err := os.ReadFile(model)
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)/2] ^= 1
			replace(t, model, b)
		},
		"a shorter file":            func(t *testing.T, model, _ string) { replace(t, model, []byte("short")) },
		"a sidecar that is no JSON": func(t *testing.T, _, info string) { replace(t, info, []byte("{")) },
		"a symlink": func(t *testing.T, model, _ string) {
			to := filepath.Join(t.TempDir(), "elsewhere")
			if err := errors.Join(os.Rename(model, to), os.Symlink(to, model)); err != nil {
				t.Fatal(err)
			}
		},
		"a missing file": func(t *testing.T, model, _ string) {
			if err := os.Remove(model); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			dir, m := cacheDir(t), model(t, "static.onnx")
			newFixture(t, "real", prepare.Options{Dir: dir}).mustPrepare(t, m)
			found, _ := filepath.Glob(filepath.Join(dir, "*", "model.ort"))
			if len(found) != 1 {
				t.Fatal(found)
			}
			damage(t, found[0], filepath.Join(filepath.Dir(found[0]), "info.json"))
			f := newFixture(t, "real", prepare.Options{Dir: dir})
			f.mustPrepare(t, m)
			if n := f.children.Load(); n != 1 {
				t.Errorf("%d children", n)
			}
		})
	}
}

// replace puts other content under a name, as nothing of ours ever does.
func replace(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := errors.Join(os.Remove(path), os.WriteFile(path, b, 0o400)); err != nil {
		t.Fatal(err)
	}
}

func TestFolders(t *testing.T) {
	t.Run("open to others", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		_, err := prepare.Open(prepare.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), "chmod 700 "+dir) {
			t.Errorf("got %v", err)
		}
	})
	for name, dir := range map[string]string{"cannot be made": filepath.Join(os.Args[0], "cache"), "none": ""} {
		t.Run(name, func(t *testing.T) {
			f, m := newFixture(t, "real", prepare.Options{Dir: dir}), model(t, "static.onnx")
			f.mustPrepare(t, m)
			if info := f.mustPrepare(t, m); info.Sizes.RunPeak <= 0 {
				t.Errorf("info %+v", info)
			}
			if _, ok := f.Known(m); !ok || f.children.Load() != 1 {
				t.Errorf("known %v after %d children", ok, f.children.Load())
			}
			want := 1
			if dir == "" {
				want = 0
			}
			if n := f.log.count("cannot write the cache folder"); n != want {
				t.Errorf("%d warnings", n)
			}
		})
	}
}

// Without a folder a prepared file lies in memory until the model's load takes it.
func TestWithoutAFolderMemoryIsGivenBack(t *testing.T) {
	f, m, other := newFixture(t, "real", prepare.Options{}), model(t, "static.onnx"), model(t, "dynamic.onnx")
	load := prepare.How{Existing: true}
	f.mustPrepare(t, m)
	file, err := f.Prepare(t.Context(), m, load)
	if err != nil {
		t.Fatal(err)
	}
	if !file.InMemory || int64(len(file.Data)) != file.Bytes {
		t.Errorf("in memory %v, %d of %d bytes", file.InMemory, len(file.Data), file.Bytes)
	}
	if err := file.Unmap(); err != nil {
		t.Error(err)
	}
	if _, err := f.Prepare(t.Context(), m, load); !errors.Is(err, prepare.ErrNotPrepared) {
		t.Errorf("taken twice: %v", err)
	}
	if _, err := f.Prepare(t.Context(), m, prepare.How{Speculative: true}); !errors.Is(err, prepare.ErrNotPrepared) {
		t.Errorf("prepared for nobody: %v", err)
	}
	f.mustPrepare(t, m)
	f.mustPrepare(t, other)
	if _, ok := f.Known(m); ok {
		t.Error("two prepared files in memory wait to be taken")
	}
	if _, ok := f.Known(other); !ok {
		t.Error("the last prepared file is gone")
	}
}

func TestTheFolderIsBounded(t *testing.T) {
	dir := cacheDir(t)
	f := newFixture(t, "real", prepare.Options{Dir: dir, MaxBytes: 1})
	f.mustPrepare(t, model(t, "static.onnx"))
	f.mustPrepare(t, model(t, "dynamic.onnx"))
	found, _ := filepath.Glob(filepath.Join(dir, "*", "model.ort"))
	if len(found) != 1 {
		t.Errorf("the one just made must stay, and only that: %v", found)
	}
}

func TestWrongFiles(t *testing.T) {
	tests := map[string]struct {
		content []byte
		says    string
	}{
		"empty":     {nil, "is empty"},
		"not ONNX":  {[]byte("this is not a model at all"), "is not a model"},
		"truncated": {truncated(t), "is not a model"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f, m := newFixture(t, "real", prepare.Options{Dir: cacheDir(t)}), modelOf(t, tt.content)
			for range 2 {
				_, err := f.Prepare(t.Context(), m, prepare.How{})
				if err == nil || yolo.CodeOf(err) != yolo.LoadFailed || !strings.Contains(err.Error(), "model_path ./best.onnx "+tt.says) {
					t.Errorf("got %v", err)
				}
			}
			if n := f.children.Load(); n > 1 {
				t.Errorf("%d children for a file that is wrong", n)
			}
		})
	}
}

func truncated(t *testing.T) []byte {
	b, err := os.ReadFile("../testmodels/static.onnx")
	if err != nil {
		t.Fatal(err)
	}
	return b[:len(b)/2]
}

// checkpoint copies one of package convert's small checkpoints.
func checkpoint(t *testing.T, name string) *yolo.Model {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "convert", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	m := modelOf(t, b)
	m.WeightsRef, m.Bytes = "./best.pt", int64(len(b))
	return m
}

func TestACheckpointIsConvertedFirst(t *testing.T) {
	dir, m := cacheDir(t), checkpoint(t, "detect.pt")
	f := newFixture(t, "real", prepare.Options{Dir: dir})
	info := f.mustPrepare(t, m)
	if info.Metadata["task"] != "detect" || info.Inputs[0].Shape[2] != -1 || info.Sizes.RunPeak <= 0 {
		t.Errorf("info %+v", info)
	}
	if n := f.children.Load(); n != 2 {
		t.Errorf("%d children, want one to convert and one to optimise", n)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "tmp-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	f.mustPrepare(t, m)
	if n := f.children.Load(); n != 2 {
		t.Errorf("%d children after the second use", n)
	}
	// Nowhere to write: the graph between the two lies in memory too.
	newFixture(t, "real", prepare.Options{}).mustPrepare(t, m)
}

func TestTheOtherHeadIsAnotherEntry(t *testing.T) {
	f := newFixture(t, "real", prepare.Options{Dir: cacheDir(t)})
	many, one := checkpoint(t, "two.pt"), checkpoint(t, "two.pt")
	one.OneToOne = true
	a, b := f.mustPrepare(t, many), f.mustPrepare(t, one)
	if a.CRC32C == b.CRC32C || b.Metadata["end2end"] != "True" {
		t.Errorf("one2many %v, one2one %v", a.Metadata, b.Metadata)
	}
}

func TestAnUnknownModuleIsNamed(t *testing.T) {
	f := newFixture(t, "real", prepare.Options{Dir: cacheDir(t)})
	for range 2 {
		_, err := f.Prepare(t.Context(), checkpoint(t, "custom.pt"), prepare.How{})
		if err == nil || yolo.CodeOf(err) != yolo.LoadFailed || !strings.Contains(err.Error(), "export") {
			t.Errorf("got %v", err)
		}
	}
}

func TestFailuresAreToldApart(t *testing.T) {
	for mode, says := range map[string]string{
		"killed":  "was killed",
		"crashed": "crashed on it",
		"garbage": "crashed on it",
		"hang":    "took too long",
	} {
		t.Run(mode, func(t *testing.T) {
			o := prepare.Options{Dir: cacheDir(t)}
			if mode == "hang" {
				o.Timeout = 300 * time.Millisecond
			}
			f, m := newFixture(t, mode, o), model(t, "static.onnx")
			for i := range 4 {
				_, err := f.Prepare(t.Context(), m, prepare.How{})
				var known *yolo.Error
				if !errors.As(err, &known) || known.Code != yolo.LoadFailed || !strings.Contains(known.Msg, says) {
					t.Fatalf("try %d: got %v", i, err)
				}
			}
			if n := f.children.Load(); n != 3 {
				t.Errorf("%d children, want 3: then the file counts as wrong", n)
			}
			// Until it changes.
			if err := os.Chtimes(m.Weights, time.Time{}, time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			if _, err := f.Prepare(t.Context(), m, prepare.How{}); err == nil || f.children.Load() != 4 {
				t.Errorf("after a change: %v, %d children", err, f.children.Load())
			}
		})
	}
}

func TestAChildOverItsMemoryIsKilled(t *testing.T) {
	f, m := newFixture(t, "real", prepare.Options{Dir: cacheDir(t)}), model(t, "static.onnx")
	if _, err := f.Prepare(t.Context(), m, prepare.How{Memory: 1 << 20}); !errors.Is(err, prepare.ErrMemory) {
		t.Errorf("one MiB: got %v", err)
	}
	for range 4 {
		f := newFixture(t, "memory", prepare.Options{Dir: cacheDir(t)})
		if _, err := f.Prepare(t.Context(), m, prepare.How{}); !errors.Is(err, prepare.ErrMemory) {
			t.Errorf("bad_alloc: got %v", err)
		}
	}
	f.mustPrepare(t, m) // that says nothing of the file
}

func TestTheChildSeesNoSecrets(t *testing.T) {
	t.Setenv("API_KEY", "secret")
	f := newFixture(t, "environment", prepare.Options{Dir: cacheDir(t)})
	_, err := f.Prepare(t.Context(), model(t, "static.onnx"), prepare.How{})
	if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "MALLOC_ARENA_MAX=1") {
		t.Errorf("got %v", err)
	}
}

func TestARequestTakesOverFromSpeculation(t *testing.T) {
	m := model(t, "static.onnx")
	dir := cacheDir(t)
	f := &fixture{log: &logs{}}
	started := make(chan struct{})
	var err error
	f.Cache, err = prepare.Open(prepare.Options{
		Dir: dir, Library: library(t), Log: slog.New(slog.DiscardHandler),
		Worker: func() *exec.Cmd {
			c := exec.Command(os.Args[0])
			c.Env = []string{workerMode + "=real"}
			if f.children.Add(1) == 1 {
				c.Env = []string{workerMode + "=hang"}
				close(started)
			}
			return c
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	background := make(chan error)
	go func() {
		_, err := f.Prepare(t.Context(), m, prepare.How{Speculative: true})
		background <- err
	}()
	<-started
	f.mustPrepare(t, m)
	if err := <-background; err == nil {
		t.Error("the speculative child went on")
	}
}

func TestPreparationEndsWithItsContext(t *testing.T) {
	f, m := newFixture(t, "hang", prepare.Options{Dir: cacheDir(t)}), model(t, "static.onnx")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := f.Prepare(ctx, m, prepare.How{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestTheWorkerEndsWithItsServer(t *testing.T) {
	c := exec.Command(os.Args[0])
	c.Env = []string{workerMode + "=real"}
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err == nil {
		t.Error("exit code 0 without a request")
	}
}

func TestImageSize(t *testing.T) {
	for in, want := range map[string]int{"[640, 640]": 640, "[384, 640]": 640, "320": 320, "": 99, "[0, 0]": 99, "[99999999999, 1]": 1} {
		if got := prepare.ImageSize(map[string]string{"imgsz": in}, 99); got != want {
			t.Errorf("%q: got %d, want %d", in, got, want)
		}
	}
}
