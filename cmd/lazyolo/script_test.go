package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"lazyolo/internal/ort"
)

// TestMain makes the test binary a lazyolo for the scripts.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"lazyolo": main})
}

// TestScripts runs every command as its users do. A script may say
//
//	[ort]                 // models can run here
//	[race]                // this is the race detector's build, which takes more memory
//	status N COMMAND...   // the command ends with exit code N
//	bmp N FILE            // makes a black picture of N by N pixels
func TestScripts(t *testing.T) {
	lib, gone := ort.Locate(os.Getenv("ORT_LIBRARY"))
	if gone != nil && os.Getenv("REQUIRE_ORT") == "1" {
		t.Fatal(gone)
	}
	demo, err := filepath.Abs("demo")
	if err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(t.TempDir(), "cache") // of all scripts: the demo model is prepared once
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("DEMO", demo)
			e.Setenv("CACHE_DIR", cache)
			e.Setenv("GORACE", "atexit_sleep_ms=0") // the detector would wait a second at each end
			if gone == nil {
				e.Setenv("ORT_LIBRARY", lib.Path)
			}
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond == "ort" {
				return gone == nil, nil
			}
			if cond == "race" {
				info, ok := debug.ReadBuildInfo()
				return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}), nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status, "bmp": bmp},
	})
}

// status runs a command that must end with an exit code.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	if err != nil {
		ts.Fatalf("%v", err)
	}
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// bmp makes a picture that takes no place on the disk.
func bmp(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: bmp N FILE")
	}
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	head := make([]byte, 54)
	size := uint32(len(head) + n*(3*n+3)/4*4)
	copy(head, "BM")
	for at, v := range map[int]uint32{2: size, 10: 54, 14: 40, 18: uint32(n), 22: uint32(n), 26: 1 | 24<<16} {
		binary.LittleEndian.PutUint32(head[at:], v)
	}
	file := ts.MkAbs(args[1])
	ts.Check(os.MkdirAll(filepath.Dir(file), 0o755))
	ts.Check(os.WriteFile(file, head, 0o600))
	ts.Check(os.Truncate(file, int64(size)))
}
