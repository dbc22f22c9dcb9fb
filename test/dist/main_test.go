package dist

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// root is the repository's folder, seen from here.
const root = "../.."

// patience is how long a test waits for anything a server does.
const patience = 60 * time.Second

// released is the folder of the one release that the tests look at.
var released string

// archs are the architectures in it: this one, and those with a compiler here.
var archs = []string{runtime.GOARCH}

func TestMain(m *testing.M) {
	if os.Getenv("REQUIRE_DIST") != "1" {
		fmt.Println("releases are built and installed with REQUIRE_DIST=1 only: run make test-dist")
		os.Exit(0)
	}
	code, err := release(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "dist:", err)
		code = 1
	}
	os.Exit(code)
}

// release builds one and runs the tests.
func release(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "lazyolo-dist-*")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if runtime.GOOS != "linux" {
		return 1, errors.New("releases are for Linux and tested there")
	}
	for arch, cc := range map[string]string{"amd64": "x86_64-linux-gnu-gcc", "arm64": "aarch64-linux-gnu-gcc"} {
		if _, err := exec.LookPath(cc); err == nil && arch != runtime.GOARCH {
			archs = append(archs, arch)
		}
	}
	if len(archs) == 1 {
		fmt.Println("no cross compiler: only", runtime.GOARCH, "is tested")
	}
	released = filepath.Join(dir, "dist")
	if err := makeRelease(root, released, strings.Join(archs, " ")); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// makeRelease runs tools/dist in a checkout, with more environment.
func makeRelease(checkout, out, archs string, env ...string) error {
	cmd := exec.Command("go", "run", "./tools/dist", "-out", out, "-arch", archs)
	cmd.Dir, cmd.Env = checkout, append(os.Environ(), env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make a release: %w\n%s", err, text)
	}
	return nil
}

// result is the one file of the release that a pattern finds.
func result(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(released, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v %v", pattern, found, err)
	}
	return found[0]
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t *testing.T, path string, text string, mode os.FileMode) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), mode)); err != nil {
		t.Fatal(err)
	}
}

// unpack unpacks an archive into an empty folder and returns what it holds: one folder.
func unpack(t *testing.T, arch string) string {
	t.Helper()
	path := result(t, "lazyolo-*-linux-"+arch+".tar.gz")
	z, err := gzip.NewReader(bytes.NewReader(readFile(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, filepath.FromSlash(h.Name)), string(b), h.FileInfo().Mode())
	}
	return filepath.Join(dir, strings.TrimSuffix(filepath.Base(path), ".tar.gz"))
}

// run runs a command with no more of an environment than what is given.
func run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, env
	if env == nil {
		cmd.Env = os.Environ()
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
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
