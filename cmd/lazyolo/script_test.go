package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
//	status N COMMAND...   // the command ends with exit code N
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
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status},
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
