package convert_test

import (
	"context"
	"encoding/json"
	"fmt"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"lazyolo/internal/convert"
	"lazyolo/internal/onnx"
	"lazyolo/internal/ort"
	"lazyolo/internal/torch"
	"lazyolo/yolo"
)

// engine is ONNX Runtime, which a process opens once; why says why there is none.
var engine struct {
	*ort.Runtime
	why error
}

func TestMain(m *testing.M) {
	lib, err := ort.Locate("")
	if err == nil {
		engine.Runtime, err = ort.Open(lib, ort.Options{})
	}
	engine.why = err
	os.Exit(m.Run())
}

// families returns the folder of the fixtures that lie beside the repository.
func families(t testing.TB) string {
	t.Helper()
	dir := filepath.Join("..", "..", "..", "shared", "fixtures", "families")
	if _, err := os.Stat(dir); err != nil {
		if os.Getenv("REQUIRE_SHARED") == "1" {
			t.Fatal(err)
		}
		t.Skipf("%s is not here; REQUIRE_SHARED=1 makes this a failure", dir)
	}
	return dir
}

// A session is a converted model ready to run.
type session struct{ *ort.Session }

// open writes a model to a file and prepares and opens it as internal/prepare does.
func open(t *testing.T, m *onnx.Model) session {
	t.Helper()
	if engine.why != nil {
		if os.Getenv("REQUIRE_ORT") == "1" {
			t.Fatal(engine.why)
		}
		t.Skipf("no ONNX Runtime: %v; REQUIRE_ORT=1 makes this a failure", engine.why)
	}
	path := filepath.Join(t.TempDir(), "model.onnx")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.WriteTo(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return openFile(t, path)
}

func openFile(t *testing.T, path string) session {
	t.Helper()
	prepared := filepath.Join(t.TempDir(), "model.ort")
	if _, err := engine.Optimize(path, prepared); err != nil {
		t.Fatal(err)
	}
	p, err := os.Open(prepared)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	st, err := p.Stat()
	if err != nil {
		t.Fatal(err)
	}
	data, err := syscall.Mmap(int(p.Fd()), 0, int(st.Size()), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	s, err := engine.OpenMapped(data, runtime.NumCPU(), func() error { return syscall.Munmap(data) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return session{s}
}

// run returns copies of the outputs.
func (s session) run(t *testing.T, in yolo.Tensor) []yolo.Tensor {
	t.Helper()
	var out []yolo.Tensor
	err := s.Run(context.Background(), []yolo.Tensor{in}, func(got []yolo.Tensor) error {
		for _, o := range got {
			out = append(out, yolo.Tensor{Name: o.Name, Shape: o.Shape, Data: append([]float32(nil), o.Data...)})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A reference is what Ultralytics gave, ref.json of the fixtures.
type reference struct {
	Task  string            `json:"task"`
	Names map[string]string `json:"names"`
	Size  int               `json:"imgsz"`
	Runs  []struct {
		Image    string   `json:"image"`
		Mode     string   `json:"mode"`
		EndToEnd bool     `json:"end2end"`
		Input    sample   `json:"input"`
		Outputs  []sample `json:"outputs"`
	} `json:"runs"`
}

// A sample is some elements of a tensor.
type sample struct {
	Shape  []int64   `json:"shape"`
	Min    float64   `json:"min"`
	Max    float64   `json:"max"`
	Index  []int     `json:"idx"`
	Values []float64 `json:"val"`
}

func readJSON(t *testing.T, path string, to any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, to); err != nil {
		t.Fatal(err)
	}
}

// picture reads an exact network input; a rectangular one is the middle of the
// square one.
func picture(t *testing.T, dir, image, mode string, size int, shape []int64) yolo.Tensor {
	t.Helper()
	file := mode
	if mode == "rect" {
		file = "square"
	}
	name := strings.TrimSuffix(image, filepath.Ext(image))
	f, err := os.Open(filepath.Join(dir, "images", fmt.Sprintf("%s.in%d.%s.png", name, size, file)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	h, w := int(shape[2]), int(shape[3])
	top, left := (img.Bounds().Dy()-h)/2, (img.Bounds().Dx()-w)/2
	in := yolo.Tensor{Name: "images", Shape: shape, Data: make([]float32, 3*h*w)}
	for y := range h {
		for x := range w {
			r, g, b, _ := img.At(left+x, top+y).RGBA()
			for c, v := range []uint32{r, g, b} {
				in.Data[(c*h+y)*w+x] = float32(v>>8) / 255
			}
		}
	}
	return in
}

// difference returns the largest difference of the sampled elements, and the
// same relative to the tensor's scale.
func (s sample) difference(got []float32) (absolute, relative float64) {
	for i, at := range s.Index {
		absolute = max(absolute, math.Abs(float64(got[at])-s.Values[i]))
	}
	return absolute, absolute / max(math.Abs(s.Min), math.Abs(s.Max))
}

// tolerance is how far raw outputs may be from Ultralytics', relative to their scale.
const tolerance = 1e-3

func convertFile(t *testing.T, path string, o convert.Options) *onnx.Model {
	t.Helper()
	ck, err := torch.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ck.Close() })
	m, err := convert.Convert(ck, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// compare runs all reference runs of one checkpoint.
func compare(t *testing.T, dir, path string, ref *reference, dynamic bool) {
	sessions := make(map[string]session)
	for _, run := range ref.Runs {
		if run.Mode == "rect" && !dynamic {
			continue
		}
		key := fmt.Sprint(run.EndToEnd)
		s, ok := sessions[key]
		if !ok {
			s = open(t, convertFile(t, path, convert.Options{OneToOne: run.EndToEnd, Dynamic: dynamic}))
			sessions[key] = s
		}
		in := picture(t, dir, run.Image, run.Mode, ref.Size, run.Input.Shape)
		if d, _ := run.Input.difference(in.Data); d > 1e-6 {
			t.Fatalf("%s %s: the input differs by %g", run.Image, run.Mode, d)
		}
		out := s.run(t, in)
		if len(out) < len(run.Outputs) {
			t.Fatalf("got %d outputs, want %d", len(out), len(run.Outputs))
		}
		for i, want := range run.Outputs {
			if fmt.Sprint(out[i].Shape) != fmt.Sprint(want.Shape) {
				t.Errorf("%s %s: output %d has shape %v, want %v", run.Image, run.Mode, i, out[i].Shape, want.Shape)
				continue
			}
			absolute, relative := want.difference(out[i].Data)
			report := t.Logf
			if !(relative <= tolerance) {
				report = t.Errorf
			}
			report("%s %s end2end=%v output%d: difference %.2g, relative %.2g", run.Image, run.Mode, run.EndToEnd, i, absolute, relative)
		}
	}
}

func TestFamilies(t *testing.T) {
	dir := families(t)
	refs, err := filepath.Glob(filepath.Join(dir, "*", "model.pt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range refs {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			var ref reference
			readJSON(t, filepath.Join(filepath.Dir(path), "ref.json"), &ref)
			for _, dynamic := range []bool{true, false} {
				t.Run(fmt.Sprintf("dynamic=%v", dynamic), func(t *testing.T) { compare(t, dir, path, &ref, dynamic) })
			}
		})
	}
}

func TestEdge(t *testing.T) {
	dir := families(t)
	var refs struct {
		Size  int                  `json:"imgsz"`
		Files map[string]reference `json:"files"`
	}
	readJSON(t, filepath.Join(dir, "edge", "ref.json"), &refs)
	for name, ref := range refs.Files {
		t.Run(name, func(t *testing.T) {
			if ref.Size == 0 {
				ref.Size = refs.Size
			}
			compare(t, dir, filepath.Join(dir, "edge", name), &ref, true)
		})
	}
}
