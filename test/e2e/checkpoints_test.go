package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// A recording is what Ultralytics gave for a checkpoint, ref.json of the fixtures.
type recording struct {
	Task  string
	Names map[string]string
	Runs  []recordedRun
}

// A recordedRun is one picture. Modes: rect, as Ultralytics predicts a .pt; stretch
// (RT-DETR); cls; square, as it predicts a static export.
type recordedRun struct {
	Image       string
	Mode        string
	End2end     bool
	Predictions json.RawMessage // a list of recordedObject, or recordedProbs
}

type recordedObject struct {
	Cls       int
	Conf      float64
	XYXY      [4]float64
	MaskShape *[2]int `json:"mask_shape"` // of the network's input
	MaskArea  int     `json:"mask_area"`
	Keypoints [][]float64
	XYWHR     []float64
}

type recordedProbs struct {
	Top5     []int
	Top5Conf []float64
}

// A found is a prediction with what the tasks add to it.
type found struct {
	prediction
	Mask *struct {
		Size   [2]int
		Counts []int
	}
	Keypoints *struct{ X, Y, Visible []float64 }
	OBB       *struct{ XYWHR []float64 }
}

// Every recorded checkpoint is served from its .pt as Ultralytics predicts it: each
// task, each head, pictures in their own proportions.
func TestEveryCheckpointAnswersAsUltralytics(t *testing.T) {
	t.Parallel()
	needORT(t)
	dir := needShared(t, "fixtures/families")
	files, err := filepath.Glob(filepath.Join(dir, "*", "model.pt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no checkpoints: %v", err)
	}
	h := newHome(t)
	recorded := make([]recording, len(files))
	for i, f := range files {
		if err := json.Unmarshal(readFile(t, filepath.Join(filepath.Dir(f), "ref.json")), &recorded[i]); err != nil {
			t.Fatal(err)
		}
		folder := filepath.Join(h.models, fmt.Sprintf("m%02d", i))
		writeFile(t, filepath.Join(folder, "best.pt"), readFile(t, f))
		writeFile(t, filepath.Join(folder, "labels.yaml"), labels("model_path: ./best.pt", "task: "+recorded[i].Task))
	}
	s := start(t, h, "SAVE_ANNOTATED=off")
	for i, f := range files {
		for _, run := range recorded[i].Runs {
			if run.Mode == "square" {
				continue
			}
			name := fmt.Sprintf("%s %s one-to-one %v", filepath.Base(filepath.Dir(f)), run.Image, run.End2end)
			t.Run(name, func(t *testing.T) {
				u := picture(fmt.Sprint(i), readFile(t, filepath.Join(dir, "images", run.Image)))
				u.fields["conf"], u.fields["iou"], u.fields["masks"] = "0.25", "0.45", "rle"
				u.fields["nms"] = fmt.Sprint(!run.End2end)
				a := s.post(t, u)
				if a.status != http.StatusOK {
					t.Fatal(a)
				}
				tol := lossless
				if strings.HasSuffix(run.Image, ".jpg") {
					tol = lossy
				}
				run.compare(t, a, tol)
			})
		}
	}
}

// compare checks an answer against the recorded one.
func (r recordedRun) compare(t *testing.T, a answer, tol tolerance) {
	t.Helper()
	var got struct {
		Predictions []found
		Probs       *recordedProbs
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil {
		t.Fatal(err)
	}
	if got.Probs != nil {
		var want recordedProbs
		if err := json.Unmarshal(r.Predictions, &want); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got.Probs.Top5) != fmt.Sprint(want.Top5) || apart(got.Probs.Top5Conf, want.Top5Conf) > tol.conf {
			t.Errorf("top5 %v, want %v", got.Probs, want)
		}
		return
	}
	var want []recordedObject
	if err := json.Unmarshal(r.Predictions, &want); err != nil {
		t.Fatal(err)
	}
	if len(got.Predictions) != len(want) {
		t.Fatalf("%d objects, want %d", len(got.Predictions), len(want))
	}
	left := got.Predictions
	for i, w := range want {
		best := 0
		for j, g := range left {
			if w.distance(g) < w.distance(left[best]) {
				best = j
			}
		}
		w.compare(t, i, left[best], tol)
		left = append(left[:best:best], left[best+1:]...)
	}
}

// distance is 0 for the same object: scores that tie may come in another order.
func (w recordedObject) distance(g found) float64 {
	d := apart([]float64{g.X1, g.Y1, g.X2, g.Y2}, w.XYXY[:]) + 100*math.Abs(g.Confidence-w.Conf)
	if g.ClassID != w.Cls {
		d += 1e6
	}
	return d
}

func (w recordedObject) compare(t *testing.T, i int, g found, tol tolerance) {
	t.Helper()
	// The API cuts corners to whole pixels.
	if g.ClassID != w.Cls || math.Abs(g.Confidence-w.Conf) > tol.conf || apart([]float64{g.X1, g.Y1, g.X2, g.Y2}, w.XYXY[:]) > 1.2 {
		t.Errorf("object %d: %+v, want %+v", i, g.prediction, w)
	}
	if (g.Mask != nil) != (w.MaskShape != nil) || (g.Keypoints != nil) != (w.Keypoints != nil) || (g.OBB != nil) != (w.XYWHR != nil) {
		t.Fatalf("object %d: %+v, want %+v", i, g, w)
	}
	if g.Mask != nil {
		// The recorded mask has the input's size and may lie on its padding; internal/detect
		// compares such masks pixel by pixel.
		area := 0
		for k := 1; k < len(g.Mask.Counts); k += 2 {
			area += g.Mask.Counts[k]
		}
		gain := min(float64(w.MaskShape[0])/float64(g.Mask.Size[0]), float64(w.MaskShape[1])/float64(g.Mask.Size[1]))
		if want := float64(w.MaskArea) / gain / gain; float64(area) > 1.1*want+20 {
			t.Errorf("object %d: a mask of %d pixels, want %.0f", i, area, want)
		}
	}
	if g.Keypoints != nil {
		if len(g.Keypoints.X) != len(w.Keypoints) {
			t.Fatalf("object %d: %d keypoints, want %d", i, len(g.Keypoints.X), len(w.Keypoints))
		}
		for k, p := range w.Keypoints {
			if apart([]float64{g.Keypoints.X[k], g.Keypoints.Y[k]}, p[:2]) > 0.5 {
				t.Errorf("object %d: keypoint %d at %v,%v, want %v", i, k, g.Keypoints.X[k], g.Keypoints.Y[k], p)
			}
		}
	}
	if g.OBB != nil && (apart(g.OBB.XYWHR[:4], w.XYWHR[:4]) > 0.5 || math.Abs(g.OBB.XYWHR[4]-w.XYWHR[4]) > 0.01) {
		t.Errorf("object %d: rotated box %v, want %v", i, g.OBB.XYWHR, w.XYWHR)
	}
}

// apart is the largest difference of two lists of numbers.
func apart(a, b []float64) float64 {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	d := 0.0
	for i := range a {
		d = max(d, math.Abs(a[i]-b[i]))
	}
	return d
}

// A semantic checkpoint of our own finds the class of each pixel that its script
// computed, as checkpoints.json of internal/convert has it.
func TestASemanticCheckpointServes(t *testing.T) {
	t.Parallel()
	needORT(t)
	const side = 32
	dir := filepath.Join("..", "..", "internal", "convert", "testdata")
	var all map[string]map[string]struct{ Values []float64 }
	if err := json.Unmarshal(readFile(t, filepath.Join(dir, "checkpoints.json")), &all); err != nil {
		t.Fatal(err)
	}
	img := image.NewRGBA(image.Rect(0, 0, side, side))
	for i := range side * side {
		c := func(plane int) uint8 { return uint8((plane*side*side + i) * 7919 % 256) }
		img.SetRGBA(i%side, i/side, color.RGBA{c(0), c(1), c(2), 255})
	}
	var photo bytes.Buffer
	if err := png.Encode(&photo, img); err != nil {
		t.Fatal(err)
	}
	h := newHome(t)
	names := []string{"semantic1", "semantic3"}
	for _, name := range names {
		writeFile(t, filepath.Join(h.models, name, "best.pt"), readFile(t, filepath.Join(dir, name+".pt")))
		writeFile(t, filepath.Join(h.models, name, "labels.yaml"), labels("model_path: ./best.pt", "task: semantic"))
	}
	s := start(t, h, "SAVE_ANNOTATED=off")
	for _, name := range names {
		u := picture("", photo.Bytes())
		u.fields["model"], u.fields["masks"] = name, "rle"
		a := s.post(t, u)
		var got struct{ Predictions []found }
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != http.StatusOK {
			t.Fatal(a, err)
		}
		on, want := make([]int, side*side), make([]int, side*side) // class + 1
		for _, p := range got.Predictions {
			at := 0
			for k, n := range p.Mask.Counts {
				for range n {
					if k%2 == 1 {
						on[at%side*side+at/side] = p.ClassID + 1 // the runs go down the columns
					}
					at++
				}
			}
		}
		for k, v := range all[name]["many"].Values {
			want[k] = int(v) + 1
			if name == "semantic1" { // 1 is its class, 0 none
				want[k] = int(v)
			}
		}
		if fmt.Sprint(on) != fmt.Sprint(want) {
			t.Errorf("%s: got %v\nwant %v", name, on, want)
		}
	}
}
