package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"lazyolo/test/binary"
)

// built is the lazyolo under test.
var built string

// Folders outside this package.
const (
	sharedDir = "../../../shared"
	demoDir   = "../../cmd/lazyolo/demo"
)

func TestMain(m *testing.M) {
	os.Exit(binary.Run("e2e", func(dir string) (code int, err error) {
		if built, err = binary.Build(dir, "-race"); err != nil {
			return 1, err
		}
		if err := binary.Ask(binary.Doctor(built, filepath.Join(demoDir, "models"), dir)); err != nil {
			return 1, err
		}
		return m.Run(), nil
	}))
}

// baseEnv is the environment of every lazyolo.
func baseEnv() []string { return binary.Environment("GOCOVERDIR") }

// What tests of the built program share, by the names they have here.
var (
	needORT  = binary.NeedORT
	waitFor  = binary.WaitFor
	contains = binary.Contains
)

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

// patience is how long a test waits for anything.
const patience = binary.Patience

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
