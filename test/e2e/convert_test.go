package e2e

import (
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
