package docs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// What TestMain finds out once.
var (
	built    string // the lazyolo that readers use
	repo     string // the repository's folder
	prepared string // the cache folder that all readers share
	ortGone  string // why models cannot run here; "" when they can
)

// patience is how long a block may take, and a server to start.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	if stand, ok := stands[filepath.Base(os.Args[0])]; ok {
		os.Exit(stand(os.Args[1:]))
	}
	code, err := build(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "docs:", err)
		code = 1
	}
	os.Exit(code)
}

func build(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "lazyolo-docs-*")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if repo, err = filepath.Abs(root); err != nil {
		return 1, err
	}
	built, prepared = filepath.Join(dir, "lazyolo"), filepath.Join(dir, "cache")
	if out, err := exec.Command("go", "build", "-o", built, "lazyolo/cmd/lazyolo").CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build lazyolo: %w\n%s", err, out)
	}
	// Preparing the demo model here also tells whether models can run.
	var out bytes.Buffer
	cmd := exec.Command(built, "prepare", "--models-path", filepath.Join(repo, demoDir, "models"), "--cache-dir", prepared)
	cmd.Env, cmd.Stdout, cmd.Stderr = surroundings(), &out, &out
	var exit *exec.ExitError
	switch err := cmd.Run(); {
	case errors.As(err, &exit):
		ortGone = "models cannot run here:\n" + out.String()
	case err != nil:
		return 1, err
	}
	return m.Run(), nil
}

// surroundings is the test's environment without settings of lazyolo.
func surroundings() []string {
	env := []string{"GORACE=atexit_sleep_ms=0"} // the detector would wait a second at the end of each stand
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "XDG_CACHE_HOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "ORT_LIBRARY",
		"GOPATH", "GOCACHE", "GOMODCACHE", "GOPROXY", "GOFLAGS", "GOTOOLCHAIN"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

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
