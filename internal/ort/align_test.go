package ort

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"lazyolo/yolo"
)

// weightsOf lists where the weights of an ORT-format file begin.
func weightsOf(t *testing.T, file []byte) []int64 {
	t.Helper()
	r := &rewriter{in: file}
	if !r.rewrite() {
		t.Fatal("its layout is not known")
	}
	var at []int64
	for _, w := range r.weights {
		at = append(at, w.from+4)
	}
	return at
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestAlign checks with every layout there is among the small models that weights are
// aligned, that a model answers as before, and that there is nothing left to do. A
// version of ONNX Runtime that writes what align does not know fails here.
func TestAlign(t *testing.T) {
	rt := runtimeOf(t)
	for _, model := range []string{"static.onnx", "dynamic.onnx", "half.onnx", "e2e.onnx", "nms.onnx"} {
		t.Run(model, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "model.ort")
			if _, err := rt.optimize(filepath.Join("..", "testmodels", model), name); err != nil {
				t.Fatal(err)
			}
			before := read(t, name)
			if !slices.ContainsFunc(weightsOf(t, before), func(at int64) bool { return at%cacheLine != 0 }) {
				t.Error("everything was aligned before: nothing is tested")
			}
			if err := align(name); err != nil {
				t.Fatal(err)
			}
			after := read(t, name)
			for _, at := range weightsOf(t, after) {
				if at%cacheLine != 0 {
					t.Errorf("a weight at %d", at)
				}
			}
			if len(after) > len(before)+len(before)/20 {
				t.Errorf("%d bytes became %d", len(before), len(after))
			}
			if got, want := answer(t, rt, after), answer(t, rt, before); !slices.Equal(got, want) {
				t.Error("it answers otherwise")
			}
			if err := align(name); err != nil {
				t.Fatal(err)
			}
			if again := read(t, name); !bytes.Equal(again, after) {
				t.Errorf("aligned again, %d bytes became %d", len(after), len(again))
			}
		})
	}
}

// answer is what a model in ORT format says to a ramp.
func answer(t *testing.T, rt *Runtime, file []byte) (all []float32) {
	t.Helper()
	s, err := rt.OpenMapped(file, 1, func() error {
		runtime.KeepAlive(file) // the session reads its weights there
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = s.Run(t.Context(), ramp(1, 3, 160, 160), func(out []yolo.Tensor) error {
		for _, o := range out {
			all = append(all, o.Data...)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// small.ort is an ORT-format file of one weight as ONNX Runtime 1.32 wrote it.
const small = "testdata/small.ort"

func TestAlignWithoutRuntime(t *testing.T) {
	name := filepath.Join(t.TempDir(), "model.ort")
	before := read(t, small)
	if err := os.WriteFile(name, before, 0o600); err != nil {
		t.Fatal(err)
	}
	if at := weightsOf(t, before); len(at) != 1 || at[0]%cacheLine == 0 {
		t.Fatalf("weights at %v", at)
	}
	if err := align(name); err != nil {
		t.Fatal(err)
	}
	if at := weightsOf(t, read(t, name)); len(at) != 1 || at[0]%cacheLine != 0 {
		t.Errorf("weights at %v", at)
	}
}

// TestAlignLeavesTheUnknown: a field of a later schema is lost in no file.
func TestAlignLeavesTheUnknown(t *testing.T) {
	good := read(t, small)
	root := binary.LittleEndian.Uint32(good)
	vtable := root - binary.LittleEndian.Uint32(good[root:])
	for what, change := range map[string]func(b []byte){
		"another format":          func(b []byte) { copy(b[4:], "TFL3") },
		"a root outside":          func(b []byte) { binary.LittleEndian.PutUint32(b, 1<<30) },
		"a field not in ort.fbs":  func(b []byte) { copy(b[vtable+8:], b[vtable+6:vtable+8]) }, // session_state
		"a table without a place": func(b []byte) { binary.LittleEndian.PutUint16(b[vtable+6:], 0xfff0) },
	} {
		t.Run(what, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "model.ort")
			b := bytes.Clone(good)
			change(b)
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := align(name); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(read(t, name), b) {
				t.Error("the file changed")
			}
		})
	}
}

func FuzzAlign(f *testing.F) {
	b, err := os.ReadFile(small)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &rewriter{in: b}
		if !r.rewrite() {
			return
		}
		for _, w := range r.weights {
			if (w.to+4)%cacheLine != 0 || w.to < w.from || w.to+w.n > r.end || w.to < int64(len(r.out)) {
				t.Errorf("%+v, %d bytes before, %d in all", w, len(r.out), r.end)
			}
		}
	})
}
