package e2e

import (
	"bytes"
	"image"
	"image/draw"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// convert writes an ONNX file that inspect and the server read; a class that is
// not known is refused by name, and nothing is written.
func TestConvertAndInspect(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	testdata := "../../internal/convert/testdata/"
	out := filepath.Join(h.cwd, "new.onnx")
	checkpoint, err := filepath.Abs(testdata + "detect.pt")
	if err != nil {
		t.Fatal(err)
	}
	if code, stdout, log := h.run(t, "convert", checkpoint, "-o", out, "--dynamic"); code != 0 || !strings.Contains(stdout, out) {
		t.Fatalf("convert: %d %s %s", code, stdout, log)
	}
	for path, says := range map[string]string{checkpoint: "task       detect", out: "[batch, 3, height, width]"} {
		if code, stdout, log := h.run(t, "inspect", path); code != 0 || !strings.Contains(stdout, says) {
			t.Errorf("inspect %s: %d %s %s", path, code, stdout, log)
		}
	}
	custom, err := filepath.Abs(testdata + "custom.pt")
	if err != nil {
		t.Fatal(err)
	}
	never := filepath.Join(h.cwd, "never.onnx")
	for _, args := range [][]string{{"convert", custom, "-o", never}, {"inspect", custom}} {
		code, _, log := h.run(t, args[0], args[1:]...)
		if code != 1 {
			t.Errorf("%v: exit code %d", args, code)
		}
		contains(t, log, "mine.layers.Block", "export")
	}
	if _, err := os.Stat(never); err == nil {
		t.Error("a file was written for a model that cannot be converted")
	}
	if code, _, log := h.run(t, "convert"); code != 2 || !strings.Contains(log, "one file") {
		t.Errorf("no file: %d %s", code, log)
	}
}

// A request's nms chooses one of two heads: the answers are those of the exports with
// the one and the other.
func TestARequestChoosesTheHead(t *testing.T) {
	t.Parallel()
	needORT(t)
	for _, family := range []string{"v10-detect", "26-detect"} {
		from := needShared(t, "fixtures/families/"+family)
		h := newHome(t)
		for folder, weights := range map[string]string{"a": "model.pt", "b": "model.onnx", "c": "model_e2e.onnx", "d": "model.pt"} {
			name := "best" + filepath.Ext(weights)
			lines := []string{"model_path: ./" + name}
			if folder == "d" {
				lines = append(lines, "head: one2one")
			}
			writeFile(t, filepath.Join(h.models, folder, "labels.yaml"), labels(lines...))
			writeFile(t, filepath.Join(h.models, folder, name), readFile(t, filepath.Join(from, weights)))
		}
		s := start(t, h, "SAVE_ANNOTATED=off")
		photo := squareOf(t, filepath.Join(needShared(t, "fixtures/families/images"), "b.png"))
		ask := func(model, nms string) []prediction {
			t.Helper()
			u := picture(model, photo)
			u.fields["conf"], u.fields["imgsz"], u.fields["nms"] = "0.25", "320", nms
			a := s.post(t, u)
			if a.status != 200 || len(a.Predictions) == 0 {
				t.Fatalf("%s: model %s, nms=%s: %v", family, model, nms, a)
			}
			return a.Predictions
		}
		many, one := ask("1", ""), ask("2", "")
		tol := tolerance{iou: 0.9, conf: 0.01}
		same(t, ask("0", "false"), one, tol)
		same(t, ask("0", ""), many, tol)
		same(t, ask("0", "true"), many, tol)
		same(t, ask("3", "true"), many, tol)
		same(t, ask("3", ""), one, tol)
		same(t, ask("2", "true"), one, tol) // an export has the head it has
		if m := s.memory(t).Models; len(m) != 6 || m["0/one2one"].State != "ready" || m["3/one2many"].State != "ready" {
			t.Errorf("memory status: %+v", m)
		}
		s.unload(t, "a")
		if m := s.memory(t).Models; m["0"].State != "unloaded" || m["0/one2one"].State != "unloaded" {
			t.Errorf("after unload: %+v", m)
		}
	}
}

// squareOf cuts a square from the top left of a PNG: a static and a dynamic model of
// the same size see the same of it.
func squareOf(t *testing.T, path string) []byte {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(readFile(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	side := min(img.Bounds().Dx(), img.Bounds().Dy())
	out := image.NewRGBA(image.Rect(0, 0, side, side))
	draw.Draw(out, out.Bounds(), img, img.Bounds().Min, draw.Src)
	var b bytes.Buffer
	if err := png.Encode(&b, out); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A checkpoint and the ONNX file made of it answer alike.
func TestACheckpointAnswersAsItsExport(t *testing.T) {
	t.Parallel()
	needORT(t)
	compat := needShared(t, "fixtures/compat")
	h := newHome(t)
	from := filepath.Join(compat, "models", "model_0", "best.pt")
	out := filepath.Join(h.cwd, "new.onnx")
	if code, _, log := h.run(t, "convert", from, "-o", out); code != 0 {
		t.Fatalf("convert: %d %s", code, log)
	}
	square := readFile(t, filepath.Join(compat, "images", "landscape.png"))
	writeFile(t, filepath.Join(h.models, "a", "labels.yaml"), labels("model_path: ./best.pt"))
	writeFile(t, filepath.Join(h.models, "a", "best.pt"), readFile(t, from))
	writeFile(t, filepath.Join(h.models, "b", "labels.yaml"), labels("model_path: ./best.onnx"))
	writeFile(t, filepath.Join(h.models, "b", "best.onnx"), readFile(t, out))
	s := start(t, h, "SAVE_ANNOTATED=off")
	a, b := s.post(t, picture("0", square)), s.post(t, picture("1", square))
	if a.Error != "" || b.Error != "" || len(a.Predictions) != len(b.Predictions) || len(a.Predictions) == 0 {
		t.Errorf("checkpoint %+v\nexport %+v", a, b)
	}
}
