package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Settings that cannot be used end the start with code 2 and are named, with
// where they came from.
func TestWrongSettingsAreNamed(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	config := filepath.Join(h.cwd, "other.yaml")
	writeFile(t, config, []byte("prot: 8000\n"))
	for _, c := range []struct {
		more []string
		says []string
	}{
		{[]string{"CONF_THRES=1.5"}, []string{"CONF_THRES", "1.5"}},
		{[]string{"IOU_THRES=-0.1"}, []string{"IOU_THRES", "-0.1"}},
		{[]string{"IOU_THRES=nan"}, []string{"IOU_THRES"}},
		{[]string{"INPUT_SIZE=0"}, []string{"INPUT_SIZE"}},
		{[]string{"INPUT_SIZE=big"}, []string{"INPUT_SIZE", "big"}},
		{[]string{"PORT=65536"}, []string{"PORT", "65536"}},
		{[]string{"PORT=0"}, []string{"PORT", "--port 0"}},
		{[]string{"LOG_LEVEL=LOUD"}, []string{"LOG_LEVEL", "LOUD"}},
		{[]string{"MAX_MEMORY_MB=-1"}, []string{"MAX_MEMORY_MB"}},
		{[]string{"UPLOAD_TIMEOUT=soon"}, []string{"UPLOAD_TIMEOUT"}},
		{[]string{"--max-body-mb", "0"}, []string{"MAX_BODY_MB", "--max-body-mb"}},
		{[]string{"--prot", "1"}, []string{"--prot", "--port"}},
		{[]string{"--config", config}, []string{"prot", "line 1", "port"}},
		{[]string{"--config", "/nonexistent.yaml"}, []string{"/nonexistent.yaml"}},
		{[]string{"extra"}, []string{"extra"}},
	} {
		more := c.more
		if !strings.HasPrefix(more[0], "PORT=") {
			more = append([]string{"--port", "0"}, more...)
		}
		code, _, log := h.run(t, "serve", more...)
		if code != 2 {
			t.Errorf("%v: exit code %d, want 2", c.more, code)
		}
		contains(t, log, append(c.says, "lazyolo: error:")...)
	}
	if code, _, log := h.run(t, "swerve"); code != 2 || !strings.Contains(log, "swerve") {
		t.Errorf("unknown command: %d %s", code, log)
	}
}

// The settings file in the working folder counts, the environment wins over it
// and a flag over both.
func TestSettingsByOrigin(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	writeFile(t, filepath.Join(h.cwd, "lazyolo.yaml"), []byte("model_version: from-file\nmax_memory_mb: 1011\nlog_format: json\n"))
	s := start(t, h, "MAX_MEMORY_MB=1022", "--max-memory-mb", "1033")
	var health struct{ Version string }
	s.get(t, "/api/v1/health", &health)
	var stats struct {
		Max float64 `json:"max_memory_mb"`
	}
	s.get(t, "/api/v2/cache/stats", &stats)
	if health.Version != "from-file" || stats.Max != 1033 {
		t.Errorf("version %q, max memory %v", health.Version, stats.Max)
	}
	for l := range strings.Lines(s.log.String()) {
		if !json.Valid([]byte(l)) {
			t.Errorf("no JSON: %s", l)
		}
	}
}

func TestPortInUseIsToldWithAHint(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	code, _, log := newHome(t).run(t, "serve", fmt.Sprintf("PORT=%d", port))
	if code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	contains(t, log, "lazyolo: error:", fmt.Sprint(port), "lazyolo: hint:", "PORT")
}

func TestMissingModelsFolderIsToldWithAHint(t *testing.T) {
	t.Parallel()
	code, _, log := newHome(t).run(t, "serve", "--port", "0", "MODELS_PATH=/nonexistent/models")
	if code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	contains(t, log, "lazyolo: error:", "/nonexistent/models", "lazyolo: hint:", "MODELS_PATH")
}

func TestVersionAndHelp(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	if code, out, _ := h.run(t, "version"); code != 0 || !regexp.MustCompile(`^lazyolo \S+ .*go1\.\d+`).MatchString(out) {
		t.Errorf("version: %d %q", code, out)
	}
	code, out, _ := h.run(t, "serve", "--help")
	if code != 0 {
		t.Errorf("help: exit code %d", code)
	}
	contains(t, out, "--models-path", "MODELS_PATH", "--conf-thres")
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.addModel(t, "model_10", demoModel(t))
	h.addModel(t, "broken", demoModel(t))
	writeFile(t, filepath.Join(h.models, "broken", "labels.yaml"), []byte("task: detection\n"))
	code, out, _ := h.run(t, "doctor", "ORT_LIBRARY=/nonexistent/libonnxruntime.so")
	if code != 1 {
		t.Errorf("without a library: exit code %d, want 1", code)
	}
	contains(t, out, "MISSING", "/nonexistent/libonnxruntime.so", "lazyolo doctor --fix",
		"2 served, 1 refused", "model_10", "broken: model_name, version, model_path, names")
	if code, out, _ := h.run(t, "doctor", "MODELS_PATH=/nonexistent/models"); code != 1 || !strings.Contains(out, "/nonexistent/models") {
		t.Errorf("without models: %d\n%s", code, out)
	}
	needORT(t)
	code, out, _ = h.run(t, "doctor")
	if code != 0 {
		t.Errorf("exit code %d, want 0:\n%s", code, out)
	}
	contains(t, out, "onnx runtime", "cores", "memory", h.cache, h.models)
}

func TestPrepare(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	for i := range 3 {
		h.addModel(t, fmt.Sprintf("model_%d", i), append(demoModel(t), 0x7a, 1, byte('a'+i)))
	}
	if code, _, log := h.run(t, "prepare", "model_9"); code != 1 || !strings.Contains(log, "model_9") {
		t.Errorf("unknown model: %d %s", code, log)
	}
	code, out, _ := h.run(t, "prepare", "model_1", "2")
	if code != 0 || len(h.entries(t)) != 2 {
		t.Errorf("some: %d, %d entries, want 2\n%s", code, len(h.entries(t)), out)
	}
	contains(t, out, "[1/2] model_1 prepared in", "[2/2] model_2 prepared in")
	code, out, _ = h.run(t, "prepare")
	if code != 0 || len(h.entries(t)) != 3 {
		t.Errorf("all: %d, %d entries, want 3\n%s", code, len(h.entries(t)), out)
	}
	contains(t, out, "[1/3] model_0 prepared in", "[2/3] model_1 is prepared")
	h.addModel(t, "model_3", []byte("no model"))
	code, out, log := h.run(t, "prepare")
	if code != 1 {
		t.Errorf("with a wrong one: exit code %d, want 1", code)
	}
	contains(t, out, "[4/4] model_3 failed")
	contains(t, log, "error: model_3: ", "is not a model", "1 of 4")
	writeFile(t, filepath.Join(h.models, "model_2", "labels.yaml"), labels("task: segment"))
	_, out, _ = h.run(t, "doctor")
	contains(t, out, "not prepared   1,", "cannot serve   model model_2: task: labels.yaml says segment, the model file says detect")
	code, out, log = h.run(t, "prepare", "model_1", "model_2")
	if code != 1 {
		t.Errorf("with a contradiction: exit code %d, want 1", code)
	}
	contains(t, out, "[2/2] model_2 failed")
	contains(t, log, "error: model_2: model model_2: task: labels.yaml says segment, the model file says detect", "1 of 2")
	h.noLeftovers(t)
}

// library is where doctor finds ONNX Runtime's.
func (h *home) library(t *testing.T) string {
	t.Helper()
	_, out, _ := h.run(t, "doctor")
	found := regexp.MustCompile(`(\S+libonnxruntime\S+) \(from`).FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("doctor does not say where the library is:\n%s", out)
	}
	return found[1]
}

// The official builds of ONNX Runtime tell Microsoft of their use and keep what is not
// sent yet, with an id of the machine, in the user's cache folder. Ours do not: neither
// the preparing child nor the server leaves anything there.
func TestONNXRuntimeTellsNobody(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	lib, empty := "ORT_LIBRARY="+h.library(t), t.TempDir()
	s := start(t, h, lib, "HOME="+empty, "XDG_CACHE_HOME=", "ORT_DISABLE_TELEMETRY=0")
	s.serves(t, "0")
	s.stop(t)
	var left []string
	err := filepath.WalkDir(empty, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			left = append(left, path)
		}
		return err
	})
	if err != nil || len(left) > 0 {
		t.Errorf("left in the home folder: %v, %v", left, err)
	}
}

// Without ONNX Runtime the server starts, says so everywhere and serves what
// needs no model; once the library is there it serves, without a restart.
func TestWithoutTheLibraryTheServerStaysUp(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	lib := filepath.Join(h.cwd, "libonnxruntime.so")
	s := start(t, h, "ORT_LIBRARY="+lib, "PREPARE=background")
	var health struct {
		OK     bool   `json:"inference_ok"`
		Status string `json:"status"`
	}
	if s.get(t, "/api/v1/health", &health); health.OK || health.Status != "degraded" {
		t.Errorf("health %+v", health)
	}
	contains(t, s.log.String(), "inference is not possible", lib)
	a := s.post(t, picture("0", smallPicture(t)))
	if a.status != http.StatusServiceUnavailable {
		t.Errorf("got %v, want 503", a)
	}
	contains(t, a.Error, lib, "lazyolo doctor --fix")
	var list map[string]any
	if s.get(t, "/api/v2/models", &list); len(list) != 1 {
		t.Errorf("models %v", list)
	}

	needORT(t)
	if err := os.Symlink(h.library(t), lib); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the first answer", func() bool { return len(s.post(t, picture("0", smallPicture(t))).Predictions) > 0 })
	if s.get(t, "/api/v1/health", &health); !health.OK || health.Status != "ok" {
		t.Errorf("health %+v", health)
	}
}
