package browser

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"testing"

	"lazyolo/test/binary"
)

// built is the lazyolo under test.
var built string

// Folders outside this package.
const (
	sharedDir = "../../../shared"
	demoDir   = "../../cmd/lazyolo/demo"
	pictures  = "../e2e/testdata/pictures"
)

// patience is how long a test waits for anything.
const patience = binary.Patience

func TestMain(m *testing.M) {
	if os.Getenv("REQUIRE_CHROMIUM") != "1" {
		fmt.Println("the dashboard's tests in Chromium take minutes of an idle machine: run make test-browser")
		os.Exit(0)
	}
	os.Exit(binary.Run("browser", func(dir string) (code int, err error) {
		if built, err = binary.Build(dir); err != nil {
			return 1, err
		}
		if err := binary.Ask(binary.Doctor(built, filepath.Join(demoDir, "models"), dir)); err != nil {
			return 1, err
		}
		return m.Run(), nil
	}))
}

// What tests of the built program share, by the names they have here.
var (
	needORT  = binary.NeedORT
	waitFor  = binary.WaitFor
	contains = binary.Contains
)

// An output is what a process has written so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// A server is a running lazyolo.
type server struct {
	t   *testing.T
	dir string // its models
	url string
	cmd *exec.Cmd
	log *output
}

// A model is one folder of a server.
type model struct{ folder, name, task, weights string }

// demo is the demo model under a name.
func demo(folder, name string) model {
	return model{folder, name, "detection", filepath.Join(demoDir, "models/model_0/best.onnx")}
}

// put makes the model's folder.
func (m model) put(t *testing.T, dir string) {
	t.Helper()
	weights, err := os.ReadFile(m.weights)
	if err != nil {
		t.Fatal(err)
	}
	file := "best" + filepath.Ext(m.weights)
	labels := fmt.Sprintf("model_name: %s\nversion: 1.0.0\nmodel_path: ./%s\ntask: %s\ndescription: A model of the browser tests.\n", m.name, file, m.task)
	if m.task == "detection" {
		labels += "names: {0: circle, 1: square, 2: triangle, 3: star, 4: cross}\n"
	} else {
		labels += "names: {0: thing}\n"
	}
	folder := filepath.Join(dir, m.folder)
	err = errors.Join(os.MkdirAll(folder, 0o755), os.WriteFile(filepath.Join(folder, file), weights, 0o644), os.WriteFile(filepath.Join(folder, "labels.yaml"), []byte(labels), 0o644))
	if err != nil {
		t.Fatal(err)
	}
}

// startServer serves models with settings NAME=VALUE until the test ends.
func startServer(t *testing.T, models []model, settings ...string) *server {
	t.Helper()
	home := t.TempDir()
	s := &server{t: t, dir: filepath.Join(home, "models"), log: new(output)}
	for _, m := range models {
		m.put(t, s.dir)
	}
	stdout := new(output)
	s.cmd = exec.Command(built, "serve", "--port", "0")
	s.cmd.Dir = home
	s.cmd.Env = append(append(binary.Environment(), "MODELS_PATH="+s.dir, "CACHE_DIR="+filepath.Join(home, "cache"), "STATE_DIR="+filepath.Join(home, "state"),
		"SAVE_ANNOTATED=off", "PREPARE=lazy", "PREHEAT=off", "HOST=127.0.0.1", "GRPC_PORT=0"), settings...)
	s.cmd.Stdout, s.cmd.Stderr = stdout, s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		if err := s.cmd.Wait(); err != nil {
			t.Errorf("the server ended with %v:\n%s", err, s.log)
		}
	})
	address := regexp.MustCompile(`http://127\.0\.0\.1:\d+`)
	waitFor(t, "the server's address", func() bool {
		s.url = address.FindString(stdout.String())
		return s.url != ""
	})
	return s
}

// act loads, unloads, pins or unpins a model.
func (s *server) act(folder, what string) {
	s.t.Helper()
	r, err := http.Post(s.url+"/api/v2/models/"+folder+"/"+what, "", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Body.Close()
	if b, _ := io.ReadAll(r.Body); r.StatusCode != http.StatusOK {
		s.t.Fatalf("%s %s: %d %s", what, folder, r.StatusCode, b)
	}
}

// fails checks that a model cannot be loaded.
func (s *server) fails(folder string) {
	s.t.Helper()
	r, err := http.Post(s.url+"/api/v2/models/"+folder+"/load", "", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode < 500 {
		s.t.Errorf("%s: %s", folder, r.Status)
	}
}

// detect has a model look at a picture and returns how many objects it found.
func (s *server) detect(folder, picture string) int {
	s.t.Helper()
	image, err := os.ReadFile(picture)
	if err != nil {
		s.t.Fatal(err)
	}
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	_ = w.WriteField("model", folder) // a bytes.Buffer never fails, here and below
	part, _ := w.CreateFormFile("file", "picture.jpg")
	_, _ = part.Write(image)
	_ = w.Close()
	r, err := http.Post(s.url+"/api/v2/detect", w.FormDataContentType(), &b)
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Body.Close()
	var a struct {
		Predictions []json.RawMessage
		Error       string
	}
	if err := json.NewDecoder(r.Body).Decode(&a); err != nil || a.Error != "" {
		s.t.Fatalf("%s: %v %s", folder, err, a.Error)
	}
	return len(a.Predictions)
}
