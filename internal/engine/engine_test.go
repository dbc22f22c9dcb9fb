package engine_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"lazyolo/internal/buffers"
	"lazyolo/internal/engine"
	"lazyolo/internal/ort"
	"lazyolo/internal/pool"
	"lazyolo/internal/pool/pooltest"
	"lazyolo/internal/prepare"
	"lazyolo/yolo"
)

// workerCommand makes the test binary a preparing process.
const workerCommand = "prepare-worker"

// cacheDir is the process's own, as its engine is.
var cacheDir string

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == workerCommand {
		os.Exit(prepare.Work(os.Stdin, os.Stdout))
	}
	os.Exit(test(m))
}

func test(m *testing.M) int {
	dir, err := os.MkdirTemp("", "lazyolo-engine-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	cacheDir = filepath.Join(dir, "cache")
	return m.Run()
}

func options(dir string) engine.Options {
	return engine.Options{
		Log: slog.New(slog.DiscardHandler), Library: os.Getenv("ORT_LIBRARY"), CacheDir: dir,
		Worker: func() *exec.Cmd { return exec.Command(os.Args[0], workerCommand) },
	}
}

// shared is the process's one engine that opens ONNX Runtime.
var shared = sync.OnceValues(func() (*engine.Engine, error) {
	o := options(cacheDir)
	o.Check = func(m *yolo.Model, in, out []yolo.TensorInfo, metadata map[string]string) error {
		if f := check.Load(); f != nil {
			return (*f)(m, in, out, metadata)
		}
		return nil
	}
	return engine.New(o)
})

// check is what the shared engine checks models with; nil: it does not.
var check atomic.Pointer[func(m *yolo.Model, in, out []yolo.TensorInfo, metadata map[string]string) error]

func needLibrary(t *testing.T) {
	t.Helper()
	if _, err := ort.Locate(os.Getenv("ORT_LIBRARY")); err != nil {
		if os.Getenv("REQUIRE_ORT") == "1" {
			t.Fatal(err)
		}
		t.Skip("needs ONNX Runtime: ", err)
	}
}

// The models: the first is large enough for its pages to be seen to come and go.
var weights = []string{
	filepath.Join("..", "..", "cmd", "lazyolo", "demo", "models", "model_0", "best.onnx"),
	filepath.Join("..", "testmodels", "dynamic.onnx"),
}

var models atomic.Int64 // made so far

// model copies weights into a file that no other is like, so that it is not prepared.
func model(t *testing.T, weights string) *yolo.Model {
	t.Helper()
	b, err := os.ReadFile(weights)
	if err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprint("m", models.Add(1))
	return modelOf(t, id, append(b, property("copy", id)...))
}

func modelOf(t *testing.T, id string, b []byte) *yolo.Model {
	t.Helper()
	path := filepath.Join(t.TempDir(), "best.onnx")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return &yolo.Model{ID: id, Rev: "1", Weights: path, WeightsRef: "./best.onnx", Bytes: int64(len(b))}
}

// property is one more metadata_props of onnx.proto's ModelProto: in protocol
// buffers what is appended to a message belongs to it.
func property(key, value string) []byte {
	field := func(tag byte, b []byte) []byte {
		return append(binary.AppendUvarint([]byte{tag}, uint64(len(b))), b...)
	}
	return field(14<<3|2, append(field(1<<3|2, []byte(key)), field(2<<3|2, []byte(value))...))
}

// input differs everywhere; dynamic sides get the size that the model was trained at.
func input(s pool.Session) []yolo.Tensor {
	var in []yolo.Tensor
	for _, info := range s.Inputs() {
		n := int64(1)
		shape := make([]int64, len(info.Shape))
		for i, d := range info.Shape {
			if shape[i] = d; d < 0 {
				shape[i] = []int64{1, 3, 160, 160}[i]
			}
			n *= shape[i]
		}
		t := yolo.Tensor{Name: info.Name, Shape: shape, Data: make([]float32, n)}
		for i := range t.Data {
			t.Data[i] = float32(i%251) / 250
		}
		in = append(in, t)
	}
	return in
}

func TestTheEngineKeepsItsPromises(t *testing.T) {
	needLibrary(t)
	e, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	pooltest.Run(t, pooltest.Options{
		New:       func(*testing.T) (pool.Engine, pool.Memory) { return e, e },
		Model:     func(t *testing.T, i int) *yolo.Model { return model(t, weights[i]) },
		Input:     input,
		Broken:    broken,
		Forget:    forget,
		Tolerance: 2 << 20,
		// Regions of the arena that one run freed may not suit the next: two runs at
		// once, each many times, were seen to hold 1.43 times what they reserve.
		Waste: 0.6,
	})
}

// broken is a model whose second half is missing.
func broken(t *testing.T) *yolo.Model {
	b, err := os.ReadFile(weights[0])
	if err != nil {
		t.Fatal(err)
	}
	return modelOf(t, fmt.Sprint("m", models.Add(1)), b[:len(b)/2])
}

// forget empties the cache folder; the checks share nothing in it.
func forget(t *testing.T, _ *yolo.Model) {
	found, err := filepath.Glob(filepath.Join(cacheDir, "*", "model.ort"))
	if err != nil || len(found) == 0 {
		t.Fatalf("entries %v, %v", found, err)
	}
	for _, path := range found {
		if err := os.RemoveAll(filepath.Dir(path)); err != nil {
			t.Fatal(err)
		}
	}
}

// What runs took before is part of the cost, once the model is prepared.
func TestCostRemembersWhatRunsTook(t *testing.T) {
	needLibrary(t)
	took := map[int64]int64{160 * 160: 12345}
	var asked atomic.Value
	for name, ran := range map[string]func(*yolo.Model) map[int64]int64{
		"remembered": func(m *yolo.Model) map[int64]int64 { asked.Store(m.ID); return took },
		"nothing":    nil,
	} {
		t.Run(name, func(t *testing.T) {
			o := options(filepath.Join(t.TempDir(), "cache"))
			o.Ran = ran
			e, err := engine.New(o)
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			m := model(t, weights[1])
			if c, ok := e.Cost(m); ok {
				t.Errorf("before it is prepared: %+v", c)
			}
			if err := e.Prepare(t.Context(), m, 1<<30, false); err != nil {
				t.Fatal(err)
			}
			want := map[int64]int64(nil)
			if ran != nil {
				want = took
			}
			for range 2 { // the second time it is remembered
				c, ok := e.Cost(m)
				if !ok || !maps.Equal(c.Ran, want) || c.Pixels != 160*160 {
					t.Errorf("got %+v, %v", c, ok)
				}
			}
			if ran != nil && asked.Load() != m.ID {
				t.Errorf("asked for %v", asked.Load())
			}
		})
	}
}

// A model that cannot serve is refused by Open, with the reason, and costs nothing.
func TestWhatCannotServeIsNotOpened(t *testing.T) {
	needLibrary(t)
	wrong := yolo.Errorf(yolo.Unsupported, "wrong task")
	refuse := func(m *yolo.Model, in, out []yolo.TensorInfo, metadata map[string]string) error {
		if len(in) != 1 || len(out) != 1 || out[0].Shape[1] != 9 || metadata["task"] != "detect" {
			t.Errorf("told %v, %v, %v of %s", in, out, metadata, m.ID)
		}
		return wrong
	}
	check.Store(&refuse)
	defer check.Store(nil)
	e, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	m := model(t, weights[1])
	if err := e.Prepare(t.Context(), m, 1<<30, false); err != nil {
		t.Fatal(err)
	}
	if c, ok := e.Cost(m); !ok || c.Mapped+c.Private+c.LoadPeak != 0 {
		t.Errorf("it costs %+v, %v", c, ok)
	}
	if s, err := e.Open(t.Context(), m, 1); s != nil || !errors.Is(err, wrong) {
		t.Errorf("got %v, %v", s, err)
	}
	check.Store(nil)
	if c, ok := e.Cost(m); !ok || c.Mapped <= 0 {
		t.Errorf("then it costs %+v, %v", c, ok)
	}
}

func TestWithoutTheLibrary(t *testing.T) {
	o := options(filepath.Join(t.TempDir(), "cache"))
	o.Library = filepath.Join(t.TempDir(), "libonnxruntime.so")
	e, err := engine.New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if e.Ready() == nil {
		t.Error("ready")
	}
	m := model(t, weights[1])
	if _, ok := e.Cost(m); ok {
		t.Error("a cost is known")
	}
	if err := e.Prepare(t.Context(), m, 1<<30, false); yolo.CodeOf(err) != yolo.Unavailable {
		t.Errorf("prepare: %v", err)
	}
	if _, err := e.Open(t.Context(), m, 1); yolo.CodeOf(err) != yolo.Unavailable {
		t.Errorf("open: %v", err)
	}
	e.Shrink()
	if e.Resident() <= 0 || e.Held() != 0 || e.Buffers() != 0 {
		t.Errorf("%d resident, %d held, %d of buffers", e.Resident(), e.Held(), e.Buffers())
	}
}

func TestBuffersAreThoseOfTheStore(t *testing.T) {
	e, err := engine.New(options(""))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	const n = 1 << 20
	lent := buffers.Get[byte](e.Store(), n)
	if got := e.Buffers(); got < n {
		t.Errorf("%d bytes lent, %d counted", n, got)
	}
	buffers.Put(e.Store(), lent)
	e.Shrink()
	if got := e.Buffers(); got != 0 {
		t.Errorf("%d bytes are left", got)
	}
}
