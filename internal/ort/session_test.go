package ort

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"lazyolo/yolo"
)

// shared is the process's one Runtime.
var shared = sync.OnceValues(func() (*Runtime, error) {
	lib, err := Locate(os.Getenv("ORT_LIBRARY"))
	if err != nil {
		return nil, err
	}
	return Open(lib, Options{})
})

func runtimeOf(t *testing.T) *Runtime {
	t.Helper()
	r, err := shared()
	if err != nil {
		if os.Getenv("REQUIRE_ORT") == "1" {
			t.Fatal(err)
		}
		t.Skip("needs ONNX Runtime: ", err)
	}
	return r
}

// session prepares one of the small models and opens it; unmapped counts.
func session(t *testing.T, model string, unmapped *int) *Session {
	t.Helper()
	r := runtimeOf(t)
	out := filepath.Join(t.TempDir(), "model.ort")
	if _, err := r.Optimize(filepath.Join("..", "testmodels", model), out); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	// The closure holds the bytes, which ONNX Runtime uses in place: nothing else
	// keeps the garbage collector from them.
	s, err := r.OpenMapped(data, 2, func() error { *unmapped++; clear(data); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ramp is an input that differs everywhere.
func ramp(shape ...int64) []yolo.Tensor {
	n := int64(1)
	for _, d := range shape {
		n *= d
	}
	t := yolo.Tensor{Shape: shape, Data: make([]float32, n)}
	for i := range t.Data {
		t.Data[i] = float32(i%251) / 250
	}
	return []yolo.Tensor{t}
}

func run(t *testing.T, s *Session, in []yolo.Tensor) yolo.Tensor {
	t.Helper()
	var out yolo.Tensor
	err := s.Run(t.Context(), in, func(got []yolo.Tensor) error {
		out = got[0]
		out.Data = append([]float32(nil), out.Data...) // gone after the run
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestStaticSession(t *testing.T) {
	unmapped := 0
	s := session(t, "static.onnx", &unmapped)
	in, out := s.Inputs(), s.Outputs()
	if len(in) != 1 || in[0].Name != "images" || in[0].DType != yolo.FP32 || len(in[0].Shape) != 4 || in[0].Shape[3] != 160 || len(out) != 1 {
		t.Errorf("inputs %+v, outputs %+v", in, out)
	}
	first := run(t, s, ramp(1, 3, 160, 160))
	if len(first.Shape) != 3 || first.Shape[2] != 525 || first.Name != out[0].Name {
		t.Errorf("shape %v of %s", first.Shape, first.Name)
	}
	var all sync.WaitGroup
	for range 8 { // beside each other, and with the arena shrunk in between
		all.Go(func() {
			again := run(t, s, ramp(1, 3, 160, 160))
			for i, v := range again.Data {
				if v != first.Data[i] {
					t.Errorf("value %d: %v, then %v", i, first.Data[i], v)
					return
				}
			}
		})
		if err := runtimeOf(t).Shrink(); err != nil {
			t.Error(err)
		}
	}
	all.Wait()
	for name, bad := range map[string][]yolo.Tensor{
		"no input": nil, "another size": ramp(1, 3, 32, 32), "another rank": ramp(1, 3), "no data": {{Shape: []int64{1, 3, 160, 160}}},
		"less data than the shape": {{Shape: []int64{1, 3, 160, 160}, Data: make([]float32, 10)}},
	} {
		if err := s.Run(t.Context(), bad, func([]yolo.Tensor) error { return nil }); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := s.Close(); err != nil || unmapped != 1 {
		t.Errorf("close: %v, unmapped %d times", err, unmapped)
	}
}

func TestDynamicSession(t *testing.T) {
	unmapped := 0
	s := session(t, "dynamic.onnx", &unmapped)
	defer s.Close()
	if shape := s.Inputs()[0].Shape; shape[2] != -1 || shape[3] != -1 {
		t.Errorf("shape %v", shape)
	}
	if out := run(t, s, ramp(1, 3, 96, 160)); out.Shape[2] != 12*20+6*10+3*5 {
		t.Errorf("shape %v", out.Shape)
	}
}

// half.onnx holds static.onnx's weights in half precision.
func TestHalfSession(t *testing.T) {
	unmapped := 0
	half, full := session(t, "half.onnx", &unmapped), session(t, "static.onnx", &unmapped)
	defer half.Close()
	defer full.Close()
	if half.Inputs()[0].DType != yolo.FP16 {
		t.Errorf("input is %s", half.Inputs()[0].DType)
	}
	in := ramp(1, 3, 160, 160)
	want, got := run(t, full, in), run(t, half, in) // which changes its input
	for i, v := range want.Data {
		if d := math.Abs(float64(got.Data[i] - v)); d > 0.5+0.01*math.Abs(float64(v)) {
			t.Fatalf("value %d: %v, in full precision %v", i, got.Data[i], v)
		}
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	unmapped := 0
	s := session(t, "dynamic.onnx", &unmapped)
	defer s.Close()
	none := func([]yolo.Tensor) error { return nil }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx, ramp(1, 3, 96, 160), none); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}
	in := ramp(1, 3, 1280, 1280) // takes far longer than the context lasts
	ctx, cancel = context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if err := s.Run(ctx, in, none); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("cancelled during the run: %v", err)
	}
}

func TestShrinkGivesTheArenaBack(t *testing.T) {
	unmapped := 0
	s := session(t, "dynamic.onnx", &unmapped)
	defer s.Close()
	run(t, s, ramp(1, 3, 640, 640))
	before, peak := runtimeOf(t).Arena()
	if err := runtimeOf(t).Shrink(); err != nil {
		t.Fatal(err)
	}
	if after, _ := runtimeOf(t).Arena(); before <= 0 || peak <= 0 || after > before/4 {
		t.Errorf("arena %d bytes before, %d after, peak %d", before, after, peak)
	}
}

// A file that is opened plainly answers as its prepared one, and brings its metadata.
func TestPlainSession(t *testing.T) {
	unmapped := 0
	prepared := session(t, "static.onnx", &unmapped)
	plain, metadata, err := runtimeOf(t).OpenPlain(filepath.Join("..", "testmodels", "static.onnx"), 2)
	if err != nil {
		t.Fatal(err)
	}
	if metadata["task"] != "detect" {
		t.Errorf("metadata %v", metadata)
	}
	want, got := run(t, prepared, ramp(1, 3, 160, 160)), run(t, plain, ramp(1, 3, 160, 160))
	if len(got.Data) != len(want.Data) {
		t.Fatalf("%d values, prepared %d", len(got.Data), len(want.Data))
	}
	for i, v := range got.Data {
		if math.Abs(float64(v-want.Data[i])) > 1e-3*max(1, math.Abs(float64(v))) {
			t.Fatalf("value %d: %v, prepared %v", i, v, want.Data[i])
		}
	}
	if err := errors.Join(plain.Close(), prepared.Close()); err != nil {
		t.Error(err)
	}
	if _, _, err := runtimeOf(t).OpenPlain("locate.go", 1); err == nil {
		t.Error("no model: opened")
	}
}

func TestWhatIsNoModelIsRefused(t *testing.T) {
	r := runtimeOf(t)
	unmapped := 0
	unmap := func() error { unmapped++; return nil }
	for _, data := range [][]byte{nil, []byte("no model")} {
		if _, err := r.OpenMapped(data, 1, unmap); err == nil {
			t.Errorf("%q: opened", data)
		}
	}
	if unmapped != 2 {
		t.Errorf("unmapped %d times: the mapping is ours on failure too", unmapped)
	}
	var known *Error
	if _, err := r.Optimize("locate.go", filepath.Join(t.TempDir(), "x")); !errors.As(err, &known) || known.Code == 0 {
		t.Errorf("optimize: %#v", err)
	}
	if _, err := Open(Library{}, Options{}); !errors.Is(err, ErrAlreadyOpen) {
		t.Errorf("a second runtime: %v", err)
	}
	r.Release()
	if _, err := Open(Library{Version: "1.20.0"}, Options{}); err == nil {
		t.Error("one that is too old was opened")
	}
	if again, err := Open(Library{}, Options{ArenaMax: 1 << 20}); err != nil || again != r {
		t.Errorf("after its release: %v %v", again, err)
	}
}

// An arena's bound is fixed at the start: a runtime that was left is not used for more.
func TestALeftRuntimeKeepsItsArena(t *testing.T) {
	r := runtimeOf(t)
	r.most = 1 << 20
	r.Release()
	defer func() { r.most = 0 }()
	for _, most := range []int64{0, 1<<20 + 1} {
		if _, err := Open(Library{}, Options{ArenaMax: most}); err == nil || errors.Is(err, ErrAlreadyOpen) {
			t.Errorf("ArenaMax %d: %v", most, err)
		}
	}
	if again, err := Open(Library{}, Options{ArenaMax: 1 << 20}); err != nil || again != r {
		t.Errorf("for as much: %v %v", again, err)
	}
}
