package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// age makes a file or folder look two hours old.
func age(t *testing.T, path string) {
	t.Helper()
	old := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
}

// inMemory checks that a server whose cache folder is of no use serves two
// models all the same and warns once, with what to do.
func inMemory(t *testing.T, s *server) {
	t.Helper()
	s.addModel(t, "model_1", append(demoModel(t), 0x7a, 0))
	s.serves(t, "0")
	s.serves(t, "1")
	if n := s.log.count("cannot write the cache folder"); n != 1 {
		t.Errorf("warned %d times, want once:\n%s", n, s.log.String())
	}
	contains(t, s.log.String(), "CACHE_DIR")
	if n := s.log.count("prepared model "); n > 2 {
		t.Errorf("prepared %d times, want twice", n)
	}
}

// A folder that cannot be made: not even root writes below a file.
func TestUnusableCacheFolderServesFromMemory(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	h.addModel(t, "model_1", append(demoModel(t), 0x7a, 0))
	file := filepath.Join(h.cwd, "file")
	writeFile(t, file, nil)
	h.cache = filepath.Join(file, "cache")
	inMemory(t, start(t, h))
}

// mountCache makes the cache folder a small file system of its own, which takes
// root and a kernel that lets it.
func mountCache(t *testing.T, h *home, size string) {
	t.Helper()
	if err := os.Mkdir(h.cache, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := mount("tmpfs", h.cache, "mode=0700,size="+size); err != nil {
		t.Skipf("a full or read-only folder cannot be had here: mount tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(h.cache, 0); err != nil {
			t.Error(err)
		}
	})
}

// The disk is full before the prepared file is written whole.
func TestFullCacheFolderServesFromMemory(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	h.addModel(t, "model_1", append(demoModel(t), 0x7a, 0))
	mountCache(t, h, "1m")
	inMemory(t, start(t, h))
}

// The folder is on a read-only file system.
func TestReadOnlyCacheFolderServesFromMemory(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	h.addModel(t, "model_1", append(demoModel(t), 0x7a, 0))
	mountCache(t, h, "64m")
	readOnly(t, h.cache)
	inMemory(t, start(t, h))
}

// A read-only folder that somebody has filled serves what is in it.
func TestReadOnlyCacheFolderServesWhatIsInIt(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	mountCache(t, h, "64m")
	if code, out, log := h.run(t, "prepare"); code != 0 {
		t.Fatalf("prepare: %d\n%s%s", code, out, log)
	}
	readOnly(t, h.cache)
	s := start(t, h)
	s.serves(t, "0")
	if s.log.count("prepared model") > 0 {
		t.Errorf("prepared again:\n%s", s.log.String())
	}
}

// Whoever can write to the cache folder decides what runs: others must not.
func TestCacheFolderOpenToOthersIsRefused(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	if err := os.Mkdir(h.cache, 0o755); err != nil {
		t.Fatal(err)
	}
	code, _, log := h.run(t, "serve", "--port", "0")
	if code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	contains(t, log, "lazyolo: error:", h.cache, "chmod 700 "+h.cache)
}

// A bit flips in a prepared file: the checksum of the first map finds it and the
// model is made anew, once.
func TestDamagedEntryIsMadeAnew(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	first := start(t, h)
	want := first.serves(t, "0")
	first.stop(t)
	entry := h.entries(t)[0]
	flip(t, entry)

	s := start(t, h)
	if got := s.serves(t, "0"); got.body != want.body {
		t.Errorf("the answer changed:\n%s\n%s", want.body, got.body)
	}
	contains(t, s.log.String(), "cache entry cannot be used", "CRC-32C", filepath.Base(filepath.Dir(entry)))
	if n := s.log.count("prepared model"); n != 1 {
		t.Errorf("prepared %d times, want once:\n%s", n, s.log.String())
	}
}

// flip changes a byte in the middle of a file that is never written otherwise.
func flip(t *testing.T, path string) {
	t.Helper()
	b := readFile(t, path)
	b[len(b)/2] ^= 0x40
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o400); err != nil {
		t.Fatal(err)
	}
}

// A file of an entry was cut off, or its sidecar is no JSON.
func TestBrokenEntryIsMadeAnew(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	s := start(t, h)
	want := s.serves(t, "0")
	s.stop(t)
	for name, content := range map[string]string{"model.ort": "cut", "info.json": "{\"bytes\":", "digests": ""} {
		path := filepath.Join(filepath.Dir(h.entries(t)[0]), name)
		if name == "digests" {
			memos, _ := filepath.Glob(h.cache + "/digests/*")
			path = memos[0]
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		writeFile(t, path, []byte(content))
		s := start(t, h)
		if got := s.serves(t, "0"); got.body != want.body {
			t.Errorf("%s: the answer changed:\n%s\n%s", name, want.body, got.body)
		}
		if n := len(h.entries(t)); n != 1 || strings.Contains(s.log.String(), "cannot write the cache folder") {
			t.Errorf("%s: %d entries, want the mended one:\n%s", name, n, s.log.String())
		}
		s.stop(t)
	}
}

// An entry that is a link leads out of the private folder: it is not followed.
func TestLinkedEntryIsNotFollowed(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	s := start(t, h)
	want := s.serves(t, "0")
	s.stop(t)
	model := h.entries(t)[0]
	elsewhere := filepath.Join(h.cwd, "model.ort")
	if err := os.Rename(model, elsewhere); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, model); err != nil {
		t.Fatal(err)
	}
	s = start(t, h)
	if got := s.serves(t, "0"); got.body != want.body {
		t.Errorf("the answer changed:\n%s\n%s", want.body, got.body)
	}
	if st, err := os.Lstat(model); err != nil || !st.Mode().IsRegular() {
		t.Errorf("the link is still in use: %v %v", st, err)
	}
}

// The folder does not outgrow its bound: what was used longest ago goes, what is
// needed stays.
func TestCacheFolderKeepsItsBound(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	for i, more := range []string{"a", "b", "c"} {
		h.addModel(t, "model_"+string(rune('1'+i)), append(demoModel(t), 0x7a, 1, more[0]))
	}
	code, out, log := h.run(t, "prepare", "CACHE_MAX_MB=6") // two entries
	if code != 0 {
		t.Fatalf("prepare: %d\n%s%s", code, out, log)
	}
	if n := len(h.entries(t)); n != 2 {
		t.Errorf("%d entries, want the 2 that fit:\n%s", n, log)
	}
	contains(t, log, "CACHE_MAX_MB")
	s := start(t, h, "CACHE_MAX_MB=6")
	for _, m := range []string{"0", "1", "2", "3", "0"} {
		s.serves(t, m)
	}
}
