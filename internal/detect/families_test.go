package detect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"lazyolo/internal/imaging"
	"lazyolo/internal/ort"
	"lazyolo/yolo"
)

// openRuntime opens ONNX Runtime, of which a process has one.
var openRuntime = sync.OnceValues(func() (*ort.Runtime, error) {
	lib, err := ort.Locate(os.Getenv("ORT_LIBRARY"))
	if err != nil {
		return nil, err
	}
	return ort.Open(lib, ort.Options{})
})

// needRuntime skips where ONNX Runtime is missing.
func needRuntime(t *testing.T) *ort.Runtime {
	t.Helper()
	rt, err := openRuntime()
	if err != nil {
		if os.Getenv("REQUIRE_ORT") == "1" {
			t.Fatalf("REQUIRE_ORT=1: %v", err)
		}
		t.Skipf("no ONNX Runtime; REQUIRE_ORT=1 makes this a failure: %v", err)
	}
	return rt
}

// A prediction is one row of a ref.json: what Ultralytics answered.
type prediction struct {
	Cls       int
	Conf      float64
	XYXY      [4]float64
	MaskShape [2]int `json:"mask_shape"`
	MaskArea  int    `json:"mask_area"`
	MaskRLE   []int  `json:"mask_rle"`
	Polygon   [][2]float64
	Keypoints [][]float64
	XYWHR     [5]float64
	Poly      [8]float64
}

// A reference is one ref.json.
type reference struct {
	Task      string
	Conf, IoU float64
	MaxDet    int `json:"max_det"`
	Runs      []struct {
		Image, Mode string
		End2end     bool
		Input       struct{ Shape [4]int }
		Predictions json.RawMessage
	}
}

// families is where the team's fixtures lie, beside the repository.
func families(t *testing.T) (dir string, ok bool) {
	t.Helper()
	dir = filepath.Join("..", "..", "..", "shared", "fixtures", "families")
	if _, err := os.Stat(dir); err != nil {
		if os.Getenv("REQUIRE_SHARED") == "1" {
			t.Fatalf("REQUIRE_SHARED=1: %v", err)
		}
		return "", false
	}
	return dir, true
}

const noShared = "no ../shared beside the repository; REQUIRE_SHARED=1 makes this a failure"

// TestFamilies runs each family's own export on the exact network input that the
// reference had and compares the heads' answers with Ultralytics'. Further folders
// of the same layout are taken from LAZYOLO_PARITY_DIR.
func TestFamilies(t *testing.T) {
	var dirs []string
	if dir, ok := families(t); ok {
		dirs = append(dirs, dir)
	}
	if more := os.Getenv("LAZYOLO_PARITY_DIR"); more != "" {
		dirs = append(dirs, filepath.SplitList(more)...)
	}
	if len(dirs) == 0 {
		t.Skip(noShared)
	}
	rt := needRuntime(t)
	var table []string
	for _, dir := range dirs {
		models, err := filepath.Glob(filepath.Join(dir, "*", "model*.onnx"))
		if err != nil || len(models) == 0 {
			t.Fatalf("no models in %s: %v", dir, err)
		}
		for _, path := range models {
			name := filepath.Base(filepath.Dir(path)) + "/" + strings.TrimSuffix(filepath.Base(path), ".onnx")
			t.Run(name, func(t *testing.T) {
				var worst deviation
				testFamily(t, rt, dir, path, &worst)
				table = append(table, fmt.Sprintf("%-24s %v", name, &worst))
			})
		}
	}
	t.Log("worst deviations from the reference:\n" + strings.Join(table, "\n"))
}

// testFamily compares the runs of one export with its reference.
func testFamily(t *testing.T, rt *ort.Runtime, dir, path string, worst *deviation) {
	var ref reference
	data, err := os.ReadFile(filepath.Join(filepath.Dir(path), "ref.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &ref); err != nil {
		t.Fatal(err)
	}
	task, ok := yolo.ParseTask(ref.Task)
	if !ok {
		t.Skipf("task %s is not served", ref.Task)
	}
	session, plan := openModel(t, rt, path, task)
	end2end := strings.Contains(filepath.Base(path), "e2e")
	size := session.Inputs()[0].Shape
	compared := 0
	for _, run := range ref.Runs {
		if run.End2end != end2end || int(size[2]) > 0 && int(size[2]) != run.Input.Shape[2] || int(size[3]) > 0 && int(size[3]) != run.Input.Shape[3] {
			continue
		}
		compared++
		t.Run(run.Image+" "+run.Mode, func(t *testing.T) {
			srcW, srcH := pictureSize(t, filepath.Join(dir, "images", run.Image))
			fit, input := networkInput(t, filepath.Join(dir, "images"), run.Image, run.Mode, run.Input.Shape, srcW, srcH)
			q := query{conf: float32(ref.Conf), iou: ref.IoU, most: ref.MaxDet, fit: fit}
			var got yolo.Result
			err := session.Run(context.Background(), []yolo.Tensor{input}, func(out []yolo.Tensor) error {
				return plan.head.decode(out, q, &got)
			})
			if err != nil {
				t.Fatal(err)
			}
			compareRun(t, task, run.Predictions, &got, fit, worst)
		})
	}
	if compared == 0 {
		t.Error("no run of the reference fits this export")
	}
}

// TestInputsEqualTheReference: the input made of a picture is the reference's, bit
// for bit from a PNG; a JPEG's depends on the decoder, here Go's, by a few levels.
func TestInputsEqualTheReference(t *testing.T) {
	dir, ok := families(t)
	if !ok {
		t.Skip(noShared)
	}
	images := filepath.Join(dir, "images")
	how := map[string]fitting{"square": letterboxed, "stretch": stretched, "cls": cropped}
	for picture, levels := range map[string]float64{"a.jpg": 4, "b.png": 0} {
		data, err := os.ReadFile(filepath.Join(images, picture))
		if err != nil {
			t.Fatal(err)
		}
		img, err := new(imaging.Codec).Decode(data, nil)
		if err != nil {
			t.Fatal(err)
		}
		for mode, fitting := range how {
			for _, size := range []int{160, 320} {
				if size == 320 && mode != "square" {
					continue // not recorded
				}
				t.Run(fmt.Sprintf("%s %s %d", picture, mode, size), func(t *testing.T) {
					_, want := networkInput(t, images, picture, mode, [4]int{1, 3, size, size}, img.Width, img.Height)
					p := input{width: size, height: size, fitting: fitting}.place(img.Width, img.Height, 0)
					got := make([]float32, len(want.Data))
					p.fill(got, img, 0)
					worst := 0.0
					for i := range got {
						worst = max(worst, math.Abs(float64(got[i]-want.Data[i])))
					}
					if worst > levels/255+1e-6 {
						t.Errorf("differs by up to %v levels", worst*255)
					}
				})
			}
		}
	}
}

// openModel prepares an export as the server does and plans its heads.
func openModel(t *testing.T, rt *ort.Runtime, path string, task yolo.Task) (*ort.Session, *plan) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "model.ort")
	metadata, err := rt.Optimize(path, out)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	s, err := rt.OpenMapped(data, 1, func() error {
		runtime.KeepAlive(data) // the session reads its weights there
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	m := &yolo.Model{ID: "m", Task: task, TaskName: string(task)}
	p, err := newPlan(m, s.Inputs(), s.Outputs(), metadata)
	if err != nil {
		t.Fatal(err)
	}
	return s, p
}

func pictureSize(t *testing.T, path string) (w, h int) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	img, err := new(imaging.Codec).Decode(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	return img.Width, img.Height
}

// networkInput reads the recorded input of a run; a rect one is the square one with
// its surplus padding cropped.
func networkInput(t *testing.T, dir, image, mode string, shape [4]int, srcW, srcH int) (imaging.Fit, yolo.Tensor) {
	t.Helper()
	h, w := shape[2], shape[3]
	size, kind := max(w, h), mode
	if mode == "rect" {
		kind = "square"
	}
	stem := strings.TrimSuffix(image, filepath.Ext(image))
	f, err := os.Open(filepath.Join(dir, stem+".in"+strconv.Itoa(size)+"."+kind+".png"))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]float32, 3*w*h)
	left, top := (img.Bounds().Dx()-w)/2, (img.Bounds().Dy()-h)/2
	for y := range h {
		for x := range w {
			r, g, b, _ := img.At(left+x, top+y).RGBA()
			for c, v := range []uint32{r, g, b} {
				data[(c*h+y)*w+x] = float32(v>>8) / 255
			}
		}
	}
	fit := imaging.Letterbox(srcW, srcH, w, h)
	if mode == "stretch" || mode == "cls" {
		fit = imaging.Stretch(srcW, srcH, w, h)
	}
	return fit, yolo.Tensor{Shape: []int64{1, 3, int64(h), int64(w)}, Data: data}
}

// A deviation is the worst of each kind seen in the runs of one export.
type deviation struct {
	objects          int
	box, conf, point float64
	mask, polygon    float64 // 1 - IoU; pixels
}

func (d *deviation) String() string {
	return fmt.Sprintf("%3d objects  box %.4f px  conf %.6f  points %.4f px  mask 1-IoU %.5f  polygon %.2f px",
		d.objects, d.box, d.conf, d.point, d.mask, d.polygon)
}

// see keeps the larger of *worst and v and reports whether v is at most limit.
func see(worst *float64, v, limit float64) bool {
	if math.IsNaN(v) {
		v = math.Inf(1)
	}
	*worst = max(*worst, v)
	return v <= limit
}
