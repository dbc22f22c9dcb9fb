package convert_test

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lazyolo/internal/convert"
	"lazyolo/internal/onnx"
	"lazyolo/internal/torch"
	"lazyolo/yolo"
)

// side is the input size of our own checkpoints, SIDE of checkpoints.py.
const side = 32

// ramp is the input that checkpoints.py computes its results for.
func ramp(batch int) yolo.Tensor {
	in := yolo.Tensor{Name: "images", Shape: []int64{int64(batch), 3, side, side}}
	for i := range 3 * side * side * batch {
		in.Data = append(in.Data, float32((i%(3*side*side)*7919%256+i/(3*side*side)*50)%256)/255)
	}
	return in
}

// An expectation is what a checkpoint of ours gives for ramp.
type expectation struct {
	Shape  []int64
	Values []float64
}

// TestOwn compares our own checkpoints with checkpoints.py's forward pass.
func TestOwn(t *testing.T) {
	var all map[string]map[string]expectation
	readJSON(t, filepath.Join("testdata", "checkpoints.json"), &all)
	for name, branches := range all {
		for branch, want := range branches {
			for _, o := range []convert.Options{{}, {Dynamic: true}, {Dynamic: true, ImageSize: 640}, {Half: true}} {
				o.OneToOne = branch == "one"
				t.Run(fmt.Sprintf("%s/%s/%+v", name, branch, o), func(t *testing.T) {
					m := convertFile(t, filepath.Join("testdata", name+".pt"), o)
					out := open(t, m).run(t, ramp(1))[0]
					if fmt.Sprint(out.Shape) != fmt.Sprint(want.Shape) {
						t.Fatalf("got shape %v, want %v", out.Shape, want.Shape)
					}
					limit := 1e-5
					if o.Half {
						limit = 2e-2
					}
					if d := distance(out.Data, want.Values); d > limit {
						t.Errorf("difference %g, more than %g", d, limit)
					}
				})
			}
		}
	}
}

// distance is the largest difference relative to the scale.
func distance(got []float32, want []float64) float64 {
	d, scale := 0.0, 0.0
	for i, v := range want {
		d, scale = max(d, math.Abs(float64(got[i])-v)), max(scale, math.Abs(v))
	}
	return d / scale
}

// TestBatch runs three pictures at once and each alone.
func TestBatch(t *testing.T) {
	for _, tt := range []struct {
		file     string
		oneToOne bool
	}{{"detect", false}, {"two", false}, {"two", true}, {"classify", false}} {
		t.Run(fmt.Sprint(tt.file, tt.oneToOne), func(t *testing.T) {
			s := open(t, convertFile(t, filepath.Join("testdata", tt.file+".pt"), convert.Options{Dynamic: true, OneToOne: tt.oneToOne}))
			checkBatch(t, s, ramp(3))
		})
	}
}

// TestFamiliesBatch does so with pictures that are not square.
func TestFamiliesBatch(t *testing.T) {
	dir := families(t)
	files, err := filepath.Glob(filepath.Join(dir, "*", "model.pt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		t.Run(filepath.Base(filepath.Dir(f)), func(t *testing.T) {
			s := open(t, convertFile(t, f, convert.Options{Dynamic: true}))
			in := yolo.Tensor{Name: "images", Shape: []int64{3, 3, 96, 160}, Data: make([]float32, 9*96*160)}
			for i := range in.Data {
				in.Data[i] = float32(i*7919%1009) / 1009
			}
			checkBatch(t, s, in)
		})
	}
}

func checkBatch(t *testing.T, s session, in yolo.Tensor) {
	t.Helper()
	together := s.run(t, in)
	n := int(in.Shape[0])
	for i := range n {
		one := in
		one.Shape = append([]int64{1}, in.Shape[1:]...)
		one.Data = in.Data[i*len(in.Data)/n:][:len(in.Data)/n]
		for j, alone := range s.run(t, one) {
			part := together[j].Data[i*len(alone.Data):][:len(alone.Data)]
			if d := distance(part, wide(alone.Data)); d > 1e-5 {
				t.Errorf("picture %d, output %d: difference %g", i, j, d)
			}
			other := together[j].Data[(i+1)%n*len(alone.Data):][:len(alone.Data)]
			if d := distance(other, wide(alone.Data)); d < 1e-4 {
				t.Errorf("picture %d, output %d: another picture gives the same", i, j)
			}
		}
	}
}

func wide(v []float32) []float64 {
	out := make([]float64, len(v))
	for i, f := range v {
		out[i] = float64(f)
	}
	return out
}

func TestRefused(t *testing.T) {
	tests := []struct{ file, want string }{
		{"custom", "model.1 is a mine.layers.Block"},
		{"newer", "model.1.0 (ultralytics.nn.modules.block.C9z): lazyolo does not know this class"},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			checkRefused(t, filepath.Join("testdata", tt.file+".pt"), tt.want)
		})
	}
}

// checkRefused wants an error that names what is wrong and the way out.
func checkRefused(t *testing.T, path, want string) {
	t.Helper()
	ck, err := torch.Open(path)
	if err == nil {
		defer ck.Close()
		_, err = convert.Convert(ck, convert.Options{})
	}
	if err == nil {
		t.Fatal("it was converted")
	}
	for _, s := range []string{want, "export", "ONNX"} {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("got error %v, want one with %q", err, s)
		}
	}
}

// TestBadFiles goes through the corpus of bad files: none may be converted.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(families(t), "bad", "*.pt"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		ck, err := torch.Open(f)
		if err == nil {
			_, err = convert.Convert(ck, convert.Options{})
			_ = ck.Close()
		}
		if err == nil {
			t.Errorf("%s was converted", filepath.Base(f))
		}
		t.Logf("%s: %v", filepath.Base(f), err)
	}
}

// TestMetadata checks what other software reads.
func TestMetadata(t *testing.T) {
	tests := []struct {
		file string
		o    convert.Options
		want map[string]string
	}{
		{"detect", convert.Options{}, map[string]string{"names": `{0: 'person', 1: 'driver\'s "cab"'}`, "stride": "16", "task": "detect", "imgsz": "[32, 32]",
			"batch": "1", "channels": "3", "end2end": "False", "head": "Detect", "version": "8.0.0", "license": "none: random weights", "kpt_shape": "",
			"args": "{'batch': 1, 'half': False, 'dynamic': False, 'nms': None, 'opset': 17}"}},
		{"old", convert.Options{Dynamic: true, ImageSize: 50}, map[string]string{"names": `{0: 'person', 1: 'driver\'s "cab"'}`, "imgsz": "[64, 64]",
			"args": "{'batch': 1, 'half': False, 'dynamic': True, 'nms': None, 'opset': 17}"}},
		{"two", convert.Options{OneToOne: true, Half: true}, map[string]string{"end2end": "True",
			"args": "{'batch': 1, 'half': True, 'dynamic': False, 'nms': False, 'opset': 17}"}},
		{"classify", convert.Options{}, map[string]string{"task": "classify", "stride": "1", "head": "Classify", "names": "{0: 'a', 1: 'b', 2: 'c'}"}},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			m := convertFile(t, filepath.Join("testdata", tt.file+".pt"), tt.o)
			for key, want := range tt.want {
				if got := m.Property(key); got != want {
					t.Errorf("%s is %s, want %s", key, got, want)
				}
			}
		})
	}
}

// TestMetadataAsExported compares the metadata with those of the official export.
func TestMetadataAsExported(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(families(t), "*", "model*.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		t.Run(filepath.Base(filepath.Dir(f))+"/"+filepath.Base(f), func(t *testing.T) {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			want, err := onnx.Decode(b)
			if err != nil {
				t.Fatal(err)
			}
			got := convertFile(t, filepath.Join(filepath.Dir(f), "model.pt"), convert.Options{OneToOne: strings.Contains(f, "e2e")})
			for _, key := range []string{"version", "docs", "stride", "task", "head", "batch", "imgsz", "names", "channels", "end2end", "kpt_shape", "kpt_names"} {
				if got.Property(key) != want.Property(key) {
					t.Errorf("%s is %s, want %s", key, got.Property(key), want.Property(key))
				}
			}
			for i, o := range want.Graph.Outputs {
				if g := got.Graph.Outputs[i]; g.Name != o.Name || fmt.Sprint(g.Shape) != fmt.Sprint(o.Shape) && got.Property("head") != "RTDETRDecoder" {
					t.Errorf("output %d is %v, want %v", i, g, o)
				}
			}
		})
	}
}

func TestImageSize(t *testing.T) {
	ck, err := torch.Open(filepath.Join("testdata", "detect.pt"))
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	for _, n := range []int{-1, 8193} {
		if _, err := convert.Convert(ck, convert.Options{ImageSize: n}); err == nil {
			t.Errorf("a size of %d is no error", n)
		}
	}
}

// TestDamage changes one byte of a weight: the checksum tells, before anything
// is written.
func TestDamage(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("testdata", "detect.pt"))
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(b), "best/data/0") + len("best/data/0") + 4
	b[at] ^= 1
	ck, err := torch.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	_, err = convert.Convert(ck, convert.Options{})
	if err == nil || !strings.Contains(err.Error(), `"best/data/0" is damaged`) {
		t.Errorf("got %v", err)
	}
}

// TestCheckpointsAreReproducible makes our own checkpoints anew.
func TestCheckpointsAreReproducible(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3")
	}
	dir := t.TempDir()
	if out, err := exec.Command(python, filepath.Join("testdata", "checkpoints.py"), dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// The bytes depend on Python's zlib; what they hold does not.
	for _, name := range []string{"detect", "two", "classify", "custom", "newer"} {
		got, err := os.ReadFile(filepath.Join(dir, name+".pt"))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join("testdata", name+".pt"))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s.pt differs from what checkpoints.py writes", name)
		}
	}
}
