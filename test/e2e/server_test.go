package e2e

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A home is the folders of one installation; servers started with the same one
// share them, one after the other or at once.
type home struct {
	models, cache, state, output string
	cwd                          string // the working folder, empty
	binary                       string // of its own, so that its processes can be told from others'
}

// newHome makes an installation that serves the demo model.
func newHome(t *testing.T) *home {
	t.Helper()
	dir := t.TempDir()
	h := &home{
		models: filepath.Join(dir, "models"), cache: filepath.Join(dir, "cache"), state: filepath.Join(dir, "state"),
		output: filepath.Join(dir, "output"), cwd: filepath.Join(dir, "cwd"), binary: filepath.Join(dir, "lazyolo"),
	}
	if err := errors.Join(os.Link(built, h.binary), os.Mkdir(h.cwd, 0o755)); err != nil {
		t.Fatal(err)
	}
	h.addModel(t, "model_0", demoModel(t))
	t.Cleanup(func() { h.noLeftovers(t) }) // after the servers' own
	return h
}

// addModel puts a folder with these weights and complete labels into the models.
func (h *home) addModel(t *testing.T, folder string, weights []byte) {
	t.Helper()
	writeFile(t, filepath.Join(h.models, folder, "best.onnx"), weights)
	writeFile(t, filepath.Join(h.models, folder, "labels.yaml"), readFile(t, filepath.Join(demoDir, "models/model_0/labels.yaml")))
}

// demoModel is the weights embedded in lazyolo.
func demoModel(t *testing.T) []byte {
	t.Helper()
	return readFile(t, filepath.Join(demoDir, "models/model_0/best.onnx"))
}

// smallPicture is a picture the demo model finds something in, quickly.
func smallPicture(t *testing.T) []byte {
	t.Helper()
	return readFile(t, "testdata/pictures/444.jpg")
}

// command makes a lazyolo command in this installation. Settings are NAME=VALUE
// and win over the installation's own; NAME= removes one. Words that start with
// a letter in lower case or a dash are arguments.
func (h *home) command(name string, more ...string) *exec.Cmd {
	env := append(baseEnv(), "MODELS_PATH="+h.models, "CACHE_DIR="+h.cache, "STATE_DIR="+h.state,
		"OUTPUT_IMG_BASE_PATH="+h.output, "GRPC_PORT=0", "PREPARE=lazy", "LOG_LEVEL=DEBUG", "HOST=127.0.0.1")
	args := []string{name}
	for _, m := range more {
		if setting.MatchString(m) {
			env = append(env, m)
		} else {
			args = append(args, m)
		}
	}
	cmd := exec.Command(h.binary, args...)
	cmd.Dir, cmd.Env = h.cwd, env
	return cmd
}

var setting = regexp.MustCompile(`^[A-Z_]+=`)

// run runs a command to its end and returns its exit code and output.
func (h *home) run(t *testing.T, name string, more ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, log strings.Builder
	cmd := h.command(name, more...)
	cmd.Stdout, cmd.Stderr = &out, &log
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	noRace(t, log.String())
	return cmd.ProcessState.ExitCode(), out.String(), log.String()
}

// A server is a running lazyolo serve.
type server struct {
	*home
	shared bool // others run in this home: what they have in work is no leftover
	cmd    *exec.Cmd
	url    string // http://127.0.0.1:PORT
	stdout output
	log    output
	ended  chan struct{} // closed when the process is gone
	client *http.Client
}

// start starts a server and waits until it is healthy. When the test ends it is
// stopped as stop does.
func start(t *testing.T, h *home, more ...string) *server {
	t.Helper()
	s := launch(t, h, more...)
	s.healthy(t)
	return s
}

// healthy waits until the server answers.
func (s *server) healthy(t *testing.T) {
	t.Helper()
	waitFor(t, "the server's address", func() bool {
		s.url = address.FindString(s.stdout.String())
		return s.url != "" || s.gone()
	})
	if s.gone() {
		t.Fatalf("the server ended at its start (%v):\n%s", s.cmd.ProcessState, s.log.String())
	}
	waitFor(t, "health", func() bool {
		r, err := s.client.Get(s.url + "/api/v1/health")
		if err == nil {
			r.Body.Close()
		}
		return err == nil && r.StatusCode == http.StatusOK
	})
}

var address = regexp.MustCompile(`http://127\.0\.0\.1:\d+`)

// launch starts a server without waiting for anything.
func launch(t *testing.T, h *home, more ...string) *server {
	t.Helper()
	s := &server{
		home: h, stdout: newOutput(t), log: newOutput(t), ended: make(chan struct{}),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}},
	}
	s.cmd = h.command("serve", append([]string{"--port", "0"}, more...)...)
	s.cmd.Stdout, s.cmd.Stderr = s.stdout.File, s.log.File
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = s.cmd.Wait() // the code is in ProcessState
		close(s.ended)
	}()
	t.Cleanup(func() { s.stop(t) })
	return s
}

func (s *server) gone() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// stop ends the server with SIGTERM, unless the test ended it already, and checks
// that all is well: exit code 0, no process or half-written file left behind, no
// data race in the log.
func (s *server) stop(t *testing.T) {
	t.Helper()
	s.client.CloseIdleConnections()
	if !s.gone() {
		if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		s.wait(t)
		if code := s.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("the server ended with %v:\n%s", s.cmd.ProcessState, s.log.String())
		}
		if !s.shared {
			s.noLeftovers(t)
		}
	}
	noRace(t, s.log.String())
}

// wait waits for the end of the process.
func (s *server) wait(t *testing.T) {
	t.Helper()
	select {
	case <-s.ended:
	case <-time.After(patience):
		_ = s.cmd.Process.Kill()
		t.Fatalf("the server did not end:\n%s", s.log.String())
	}
}

// noLeftovers checks for processes and half-written files.
func (h *home) noLeftovers(t *testing.T) {
	t.Helper()
	if left := h.pids(); len(left) > 0 {
		t.Errorf("processes left behind: %v", left)
	}
	for _, pattern := range []string{h.cache + "/tmp-*", h.cache + "/*/tmp-*", h.output + "/.lazyolo*", h.state + "/*.tmp*"} {
		if left, _ := filepath.Glob(pattern); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	}
}

func noRace(t *testing.T, log string) {
	t.Helper()
	if strings.Contains(log, "DATA RACE") || strings.Contains(log, "goroutine 1 [") {
		t.Errorf("race or panic:\n%s", log)
	}
}

// entries lists the prepared models in the cache folder.
func (h *home) entries(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(h.cache, "*", "model.ort"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// get fetches a path and decodes the JSON answer into to, unless that is nil.
func (s *server) get(t *testing.T, path string, to any) *http.Response {
	t.Helper()
	r, err := s.client.Get(s.url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	if to != nil {
		if err := json.Unmarshal(b, to); err != nil {
			t.Fatalf("GET %s: %v in %s", path, err, b)
		}
	}
	return r
}

// An output is a file that a process writes to: unlike through a pipe, what was
// written before an answer was sent is there when the answer is.
type output struct {
	*os.File
}

func newOutput(t *testing.T) output {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "output-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return output{f}
}

func (o output) String() string {
	b, err := os.ReadFile(o.Name())
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// count tells how often s stands in the output.
func (o output) count(s string) int { return strings.Count(o.String(), s) }
