package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A thousand folders are nothing.
func TestThousandFolders(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	weights := filepath.Join(h.models, "model_0", "best.onnx")
	names := "names:\n"
	for i := range 80 {
		names += fmt.Sprintf("  %d: class %d\n", i, i)
	}
	for i := 1; i < 1000; i++ {
		dir := filepath.Join(h.models, fmt.Sprintf("model_%d", i))
		writeFile(t, filepath.Join(dir, "labels.yaml"), labels("version: 1."+fmt.Sprint(i), names))
		if err := os.Link(weights, filepath.Join(dir, "best.onnx")); err != nil {
			t.Fatal(err)
		}
	}
	s := start(t, h)
	contains(t, s.log.String(), "Setting up lazy loading for up to 1000 inference sessions", "Lazy loading configured - models will be loaded on first use")
	var list map[string]struct{ Version string }
	s.get(t, "/api/v2/models", &list)
	if len(list) != 1000 || list["999"].Version != "1.999" {
		t.Errorf("%d models, the last has version %q", len(list), list["999"].Version)
	}
	s.serves(t, "999")
}

// The old server's first layout: one model, its labels beside the weights.
func TestSingleModelLayout(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	h.models = filepath.Join(h.cwd, "config")
	writeFile(t, filepath.Join(h.models, "best.onnx"), demoModel(t))
	writeFile(t, filepath.Join(h.models, "labels.yaml"), []byte("names:\n  4: 十字\n"))
	a := start(t, h).serves(t, "0")
	if !strings.Contains(a.body, `"class_name":"十字"`) {
		t.Errorf("the name of labels.yaml is not used: %v", a)
	}
}

// MODEL_PATH is what the old Dockerfile exports.
func TestModelPathIsAnAlias(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	start(t, h, "MODELS_PATH=", "MODEL_PATH="+h.models).serves(t, "0")
}

// A new folder that sorts before the others moves their ids: the next start
// warns, and so does doctor; a pinned id stays.
func TestMovedIDsAreToldAtTheNextStart(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.addModel(t, "model_10", demoModel(t))
	s := start(t, h)
	if s.log.count("model id changed") > 0 {
		t.Errorf("a first start has nothing to compare with:\n%s", s.log.String())
	}
	s.stop(t)
	h.addModel(t, "model_2", demoModel(t))
	_, out, _ := h.run(t, "doctor", "ORT_LIBRARY=/nonexistent")
	contains(t, out, "model_10: id 1 in the last run, 2 now")
	s = start(t, h)
	contains(t, line(s.log.String(), "model id changed since the last run"), "level=WARN", "folder=model_10", "from=1", "to=2")
	s.stop(t)

	writeFile(t, filepath.Join(h.models, "model_10", "labels.yaml"), labels("id: 1"))
	s = start(t, h)
	var list map[string]struct{ Folder string }
	s.get(t, "/api/v2/models", &list)
	if list["1"].Folder != "model_10" || list["2"].Folder != "model_2" {
		t.Errorf("models %v", list)
	}
	s.stop(t)
	if s = start(t, h); s.log.count("model id changed") > 0 {
		t.Errorf("warned though nothing changed:\n%s", s.log.String())
	}
}

// With no models at all the demo model serves, and the line printed works as it
// stands.
func TestDemoModelServesWhereThereIsNone(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	s := start(t, h, "MODELS_PATH=", "OUTPUT_IMG_BASE_PATH=")
	contains(t, s.stdout.String(), "demo model", s.url)
	try := regexp.MustCompile(`curl -F file=@(\S+) (\S+)`).FindStringSubmatch(s.stdout.String())
	if try == nil {
		t.Fatalf("no curl line:\n%s", s.stdout.String())
	}
	if want := s.url + "/api/v2/detect"; try[2] != want {
		t.Errorf("the line asks %s, want %s", try[2], want)
	}
	image := readFile(t, try[1])
	a := s.post(t, upload{field: "file", filename: filepath.Base(try[1]), image: image})
	if len(a.Predictions) == 0 {
		t.Errorf("nothing found in %s: %v", try[1], a)
	}
	saved := filepath.Join(h.cwd, "output_img", filepath.Base(try[1]))
	waitFor(t, "the annotated picture", func() bool {
		_, err := os.Stat(saved)
		return err == nil
	})
	var health struct{ Status string }
	if s.get(t, "/api/v1/health", &health); health.Status != "ok" {
		t.Errorf("status %q, want ok", health.Status)
	}
}
