// Package binary is what the tests of the built program have in common, whoever they
// meet it as: how it is made, whether models can run here, the environment it gets.
// It is imported by tests only.
package binary

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Patience is how long a test waits for anything; the slowest machine in CI needs a
// tenth of it.
const Patience = 60 * time.Second

// gone is why models cannot run here; "" when they can, or nobody asked.
var gone string

// Run is for a TestMain: it runs the tests beside a folder that is removed afterwards, and
// returns their code. What goes wrong it tells under the tests' name.
func Run(name string, tests func(dir string) (code int, err error)) (code int) {
	code, err := within("lazyolo-"+name+"-*", tests)
	if err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		code = 1
	}
	return code
}

func within(pattern string, tests func(dir string) (int, error)) (int, error) {
	dir, err := os.MkdirTemp("", pattern)
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	return tests(dir)
}

// Build makes the program in dir, with more flags of go build, and returns its path.
func Build(dir string, flags ...string) (string, error) {
	path := filepath.Join(dir, "lazyolo")
	args := append(append([]string{"build"}, flags...), "-o", path, "lazyolo/cmd/lazyolo")
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build lazyolo: %w\n%s", err, out)
	}
	return path, nil
}

// Ask runs a command that fails where models cannot run, and remembers what it said. It
// is an error only that it cannot be run.
func Ask(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		gone = fmt.Sprintf("lazyolo %s says that models cannot run here:\n%s", cmd.Args[1], out)
		return nil
	}
	return err
}

// Doctor is the command to Ask: of a built program, about the models in a folder, with a
// cache and a state in dir.
func Doctor(built, models, dir string) *exec.Cmd {
	cmd := exec.Command(built, "doctor", "--models-path", models, "--cache-dir", filepath.Join(dir, "cache"), "--state-dir", filepath.Join(dir, "state"))
	cmd.Env = Environment()
	return cmd
}

// NeedORT skips a test that runs models where that is not possible.
func NeedORT(t *testing.T) {
	t.Helper()
	switch {
	case gone == "":
	case os.Getenv("REQUIRE_ORT") == "1":
		t.Fatal(gone)
	default:
		t.Skip(gone)
	}
}

// Environment is the test's environment without settings of lazyolo: what finding ONNX
// Runtime takes, and the variables of more names.
func Environment(more ...string) []string {
	env := []string{"GORACE=atexit_sleep_ms=0"} // the detector would wait a second at each end
	for _, name := range append([]string{"PATH", "HOME", "TMPDIR", "XDG_CACHE_HOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "ORT_LIBRARY"}, more...) {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// WaitFor waits until done reports true.
func WaitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(Patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline:
			t.Fatalf("waited %v for %s", Patience, what)
		case <-tick.C:
		}
	}
}

// Contains fails the test unless text has every part in it.
func Contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q is not in:\n%s", p, text)
		}
	}
}
