package main

import (
	"log/slog"
	"os"
	"os/exec"
	"runtime"

	"lazyolo/internal/config"
	"lazyolo/internal/detect"
	"lazyolo/internal/engine"
)

// workerCommand is how lazyolo starts itself to prepare a model.
const workerCommand = "prepare-worker"

// engineOptions are what the settings say of the engine.
func engineOptions(c *config.Config, log *slog.Logger) engine.Options {
	return engine.Options{
		Log: log, Library: c.ORTLibrary, Threads: threads(c),
		CacheDir: c.CacheDir, CacheMax: c.CacheMax, Timeout: c.PrepareTimeout, Worker: worker, Check: detect.Check,
	}
}

// worker makes the command of a preparing child: this binary, whatever happened
// to its file meanwhile.
func worker() *exec.Cmd {
	exe := "/proc/self/exe"
	if runtime.GOOS != "linux" {
		exe = os.Args[0]
		if path, err := os.Executable(); err == nil {
			exe = path
		}
	}
	return exec.Command(exe, workerCommand)
}
