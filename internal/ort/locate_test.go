package ort

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestCompareVersions(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"1.32.0", "1.29.0", true},
		{"1.29.0", "1.29.0", true},
		{"1.9.1", "1.29.0", false},
		{"2.0.0", "1.29.0", true},
		{"1.29", "1.29.0", false},
	} {
		if got := atLeast(tt.a, tt.b); got != tt.want {
			t.Errorf("atLeast(%s, %s) = %v", tt.a, tt.b, got)
		}
	}
}

func TestNewest(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("file names are Linux's")
	}
	dir := t.TempDir()
	if got := newest(dir); got != "" {
		t.Errorf("in an empty folder: %s", got)
	}
	for _, name := range []string{"libonnxruntime.so.1.9.0", "libonnxruntime.so.1.32.0", "libonnxruntime_providers_shared.so", "libother.so.9"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "libonnxruntime.so.2.0.0"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got := filepath.Base(newest(dir)); got != "libonnxruntime.so.1.32.0" {
		t.Errorf("got %s", got)
	}
}

func TestLocateRefuses(t *testing.T) {
	text := filepath.Join(t.TempDir(), "libonnxruntime.so")
	if err := os.WriteFile(text, []byte("no library"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, says := range map[string]string{
		filepath.Join(t.TempDir(), "missing.so"): "does not exist",
		t.TempDir():                              "is not a file",
		text:                                     "not a shared library",
	} {
		_, err := Locate(path)
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), Remedy) {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

func TestTooOldIsRefused(t *testing.T) {
	err := Library{Path: "/lib/libonnxruntime.so.1.20.0", Version: "1.20.0"}.check()
	if err == nil || !strings.Contains(err.Error(), MinVersion) || !strings.Contains(err.Error(), Remedy) {
		t.Errorf("got %v", err)
	}
	if _, err := Open(Library{Path: "x", Version: "1.20.0"}, Options{}); err == nil {
		t.Error("opened")
	}
}

func TestEveryPlatformHasPins(t *testing.T) {
	for platform, candidates := range pins {
		for _, p := range candidates {
			if len(p.sha256) != 64 || !atLeast(p.version, MinVersion) || !strings.Contains(p.file, p.version) {
				t.Errorf("%s: %+v", platform, p)
			}
		}
	}
}
