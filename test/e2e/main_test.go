package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What TestMain finds out once.
var (
	built   string // the lazyolo under test
	ortGone string // why models cannot run here; "" when they can
)

// Folders outside this package.
const (
	sharedDir = "../../../shared"
	demoDir   = "../../cmd/lazyolo/demo"
)

func TestMain(m *testing.M) {
	code, err := build(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

// build makes the binary, asks it whether models can run here and runs the tests.
func build(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "lazyolo-e2e-*")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	built = filepath.Join(dir, "lazyolo")
	if out, err := exec.Command("go", "build", "-race", "-o", built, "lazyolo/cmd/lazyolo").CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build lazyolo: %w\n%s", err, out)
	}
	var out bytes.Buffer
	doctor := exec.Command(built, "doctor", "--models-path", filepath.Join(demoDir, "models"),
		"--cache-dir", filepath.Join(dir, "cache"), "--state-dir", filepath.Join(dir, "state"))
	doctor.Env, doctor.Stdout, doctor.Stderr = baseEnv(), &out, &out
	var exit *exec.ExitError
	switch err := doctor.Run(); {
	case errors.As(err, &exit):
		ortGone = "lazyolo doctor says that models cannot run here:\n" + out.String()
	case err != nil:
		return 1, err
	}
	return m.Run(), nil
}

// baseEnv is the test's environment without settings of lazyolo: only what
// finding ONNX Runtime takes.
func baseEnv() []string {
	env := []string{"GORACE=atexit_sleep_ms=0"} // the detector would wait a second at each end
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "XDG_CACHE_HOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "ORT_LIBRARY", "GOCOVERDIR"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// needORT skips a test that runs models where that is not possible.
func needORT(t *testing.T) {
	t.Helper()
	switch {
	case ortGone == "":
	case os.Getenv("REQUIRE_ORT") == "1":
		t.Fatal(ortGone)
	default:
		t.Skip(ortGone)
	}
}

// needShared returns a path in the team's shared folder, which a clone of the
// repository does not have.
func needShared(t *testing.T, path string) string {
	t.Helper()
	path = filepath.Join(sharedDir, path)
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("REQUIRE_SHARED") == "1" {
			t.Fatal(err)
		}
		t.Skipf("the recording is not here: %v", err)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// patience is how long a test waits for anything; the slowest machine in CI
// needs a tenth of it.
const patience = 60 * time.Second

// waitFor waits until done reports true.
func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline:
			t.Fatalf("waited %v for %s", patience, what)
		case <-tick.C:
		}
	}
}

// contains fails the test unless text has every part in it.
func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q is not in:\n%s", p, text)
		}
	}
}

// readFile returns a file's content.
func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// writeFile writes a file and the folders it lies in.
func writeFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}
