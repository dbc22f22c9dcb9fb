package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
)

// setUpPython makes the Python environment and with it the YOLOv8 models. What
// cannot be made is noted, and the tables do without it.
func (b *work) setUpPython(ctx context.Context) {
	venv := os.Getenv("BENCH_VENV")
	if venv == "" {
		venv = b.path("venv")
		progress("Python environment %s (the first time: several GB to fetch)", venv)
		if err := b.tool(ctx, "sh", "bench/peers/setup.sh", venv); err != nil {
			b.note("No Python environment (%v): the tables of the YOLOv8 models and the peers are left out, and starts are measured with the demo model.", err)
			return
		}
	}
	b.python = filepath.Join(venv, "bin", "python")
	progress("models of random weights")
	if err := b.tool(ctx, b.python, "bench/peers/models.py", b.path("weights")); err != nil {
		b.note("No YOLOv8 models (%s bench/peers/models.py: %v): their tables and the peers are left out, and starts are measured with the demo model.", b.python, err)
		return
	}
	b.yolo = true
	b.note("YOLOv8 models have Ultralytics' shapes (640x640, opset 17, static) and random weights, so an answer holds no objects.")
	if os.Getenv("BENCH_PEERS") == "0" {
		b.note("BENCH_PEERS=0: the Python server was not measured.")
		return
	}
	server, err := filepath.Abs("bench/peers/server.py")
	if err != nil {
		b.note("No peers: %v.", err)
		return
	}
	peer := func(loading, format string) contender {
		return contender{
			name: loading + " ." + format, format: format, eager: loading == "eager",
			command: []string{b.python, server}, env: append(b.pythonEnv(), "PEER_LOADING="+loading),
		}
	}
	b.peers = []contender{peer("eager", "pt"), peer("lazy", "pt"), peer("eager", "onnx"), peer("lazy", "onnx")}
}

// pythonEnv keeps Ultralytics in the work folder and off the net.
func (b *work) pythonEnv() []string {
	return []string{"YOLO_CONFIG_DIR=" + b.dir, "YOLO_AUTOINSTALL=false", "YOLO_OFFLINE=true", "PYTHONDONTWRITEBYTECODE=1"}
}

// tool runs a command of the set-up, its output going to the person who waits.
func (b *work) tool(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), b.pythonEnv()...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}
