package prepare

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"lazyolo/internal/machine"
	"lazyolo/yolo"
)

// A request is what the child reads from its standard input, one line of JSON.
// The input then stays open: when it ends, the server is gone and so is the child.
type request struct {
	Stage       string        `json:"stage"`
	OneToOne    bool          `json:"one_to_one,omitempty"`
	Library     string        `json:"library"`
	MemoryLimit int64         `json:"memory_limit"` // bytes of data segment
	CPULimit    time.Duration `json:"cpu_limit"`
	Speculative bool          `json:"speculative"`
	Soon        bool          `json:"soon"`
}

// A reply is what the child writes to its standard output.
type reply struct {
	Info Info   `json:"info"`
	Err  string `json:"error,omitempty"`
	Kind string `json:"kind,omitempty"`
}

// What a child does in its life.
const (
	stageConvert  = "convert"  // a checkpoint to ONNX
	stageOptimize = "optimize" // ONNX to the prepared format, and measure it
)

// What a failed preparation is put down to.
const (
	kindModel   = "model"   // the weights file is wrong
	kindMemory  = "memory"  // over the memory limit
	kindTime    = "time"    // over the time limit
	kindKilled  = "killed"  // by a signal from outside, usually for memory
	kindCrashed = "crashed" // by itself
	kindOutput  = "output"  // the prepared file cannot be written: the disk is full
	kindMachine = "machine" // the machine or the installation
)

// A childError is a preparation that failed in the child.
type childError struct {
	kind string
	msg  string
}

func (e *childError) Error() string { return e.kind + ": " + e.msg }

// public is what a client may read: never the child's raw output after a crash.
func (e *childError) public() string {
	switch e.kind {
	case kindModel:
		return "is not a model lazyolo can use: " + e.msg
	case kindMemory:
		return "needs more memory to prepare than it may use: " + e.msg
	case kindTime:
		return "took too long to prepare: " + e.msg
	case kindKilled:
		return "could not be prepared: the process was killed, usually because the machine ran out of memory"
	case kindCrashed:
		return "could not be prepared: ONNX Runtime crashed on it"
	}
	return "could not be prepared: " + e.msg
}

// PredictPeak predicts the resident memory of the child that prepares m: measured
// 97 MB for 13 MB of weights and 341 MB for 104 MB, and 10 more since the program has the
// code of gRPC and OpenTelemetry. A checkpoint's weights become twice as large. It may prove
// too little for graphs of another kind.
func PredictPeak(m *yolo.Model) int64 {
	n := m.Bytes
	if m.IsCheckpoint() {
		n = 2*n + n/10
	}
	return 88<<20 + raceMemory + n*14/5
}

// virtualShare is what a child's data segment may exceed its resident memory by:
// Go and the threads' stacks map more than they use.
const virtualShare = 256 << 20

// watchEvery is how often a child's resident memory is looked at.
const watchEvery = 10 * time.Millisecond

// runChild starts a worker that reads from and writes to out, and waits for it.
func (c *Cache) runChild(ctx context.Context, stage string, out, from *os.File, j job) (Info, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.o.Timeout, errTimeout)
	defer cancel()
	w := c.o.Worker()
	cmd := exec.CommandContext(ctx, w.Path)
	cmd.Args = w.Args
	cmd.Env = append(w.Env, childEnv()...)
	cmd.ExtraFiles = []*os.File{out, from} // outputFD, weightsFD
	stdout, stderr := &limitedBuffer{most: maxInfo}, &limitedBuffer{most: 8 << 10}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.WaitDelay = 5 * time.Second
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return Info{}, err
	}
	if err := cmd.Start(); err != nil {
		return Info{}, &childError{kindMachine, "start the preparing process: " + err.Error()}
	}
	req := request{Stage: stage, OneToOne: j.model.OneToOne, Library: j.lib.Path,
		MemoryLimit: j.memory + virtualShare, CPULimit: c.o.Timeout, Speculative: j.speculative, Soon: j.soon}
	// A child that died already is told by Wait.
	_ = json.NewEncoder(stdin).Encode(req)
	watched := c.watch(ctx, cmd.Process, j.memory)
	err = cmd.Wait() // closes stdin
	over := watched()

	var r reply
	if err == nil {
		if err := json.Unmarshal(stdout.b, &r); err != nil {
			return Info{}, &childError{kindCrashed, "unreadable answer: " + err.Error()}
		}
		if r.Err != "" {
			return Info{}, &childError{r.Kind, r.Err}
		}
		return r.Info, nil
	}
	if errors.Is(context.Cause(ctx), errTimeout) {
		return Info{}, &childError{kindTime, fmt.Sprintf("more than %v (PREPARE_TIMEOUT)", c.o.Timeout)}
	}
	if over {
		return Info{}, &childError{kindMemory, fmt.Sprintf("limit %d MiB", j.memory>>20)}
	}
	return Info{}, diagnose(err, string(stderr.b), j.memory)
}

// watch kills a child whose resident memory passes most, which the limit on its
// data segment bounds only roughly. The function it returns is to be called when
// the child has ended and tells whether that was the reason.
func (c *Cache) watch(ctx context.Context, child *os.Process, most int64) (stop func() (over bool)) {
	c.mu.Lock()
	c.children[child.Pid] = struct{}{}
	c.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan bool, 1)
	go func() {
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				done <- false
				return
			case <-tick.C:
			}
			if machine.Resident(child.Pid) > most {
				_ = child.Kill() // it may have ended meanwhile
				done <- true
				return
			}
		}
	}()
	return func() bool {
		cancel()
		c.mu.Lock()
		delete(c.children, child.Pid)
		c.mu.Unlock()
		return <-done
	}
}

// Resident is the resident memory of all preparing processes, in bytes.
func (c *Cache) Resident() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	var n int64
	for pid := range c.children {
		n += machine.Resident(pid)
	}
	return n
}

var errTimeout = errors.New("time limit")

// diagnose tells why a child ended without an answer.
func diagnose(err error, stderr string, limit int64) error {
	const mib = 1 << 20
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return &childError{kindMachine, err.Error()}
	}
	detail := fmt.Sprintf("%v: %s", err, strings.TrimSpace(stderr))
	for _, sign := range []string{"bad_alloc", "cannot allocate memory", "out of memory", "Cannot allocate memory"} {
		if strings.Contains(stderr, sign) {
			return &childError{kindMemory, fmt.Sprintf("limit %d MiB", limit/mib)}
		}
	}
	ws, ok := exit.Sys().(syscall.WaitStatus)
	switch {
	case ok && ws.Signaled() && ws.Signal() == syscall.SIGXCPU:
		return &childError{kindTime, "processor time used up (PREPARE_TIMEOUT)"}
	case ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL:
		return &childError{kindKilled, detail}
	}
	return &childError{kindCrashed, detail}
}

// childEnv is the whole environment of the child: no keys of the server's, and
// an allocator that gives big blocks back (a third less at the peak).
func childEnv() []string {
	env := []string{"MALLOC_ARENA_MAX=1", "MALLOC_MMAP_THRESHOLD_=65536"}
	if raceEnabled { // the detector would wait a second at the end
		env = append(env, "GORACE=atexit_sleep_ms=0")
	}
	if p, ok := os.LookupEnv("LD_LIBRARY_PATH"); ok {
		env = append(env, "LD_LIBRARY_PATH="+p)
	}
	return env
}
