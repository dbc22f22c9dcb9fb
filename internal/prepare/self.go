package prepare

import (
	"os"
	"os/exec"
	"runtime"
)

// workerName is what a preparing process is called, by which it knows what it is.
const workerName = "lazyolo-prepare-worker"

// init makes a process that Self started do its work before anything else of the
// program has a say: that program may be any that imports lazyolo, or its tests. In
// every other process it looks at one word and does nothing. A program that runs with
// the rights of another user than its caller's does not do that caller's work.
func init() {
	if len(os.Args) == 1 && os.Args[0] == workerName && os.Getuid() == os.Geteuid() && os.Getgid() == os.Getegid() {
		os.Exit(Work(os.Stdin, os.Stdout))
	}
}

// Self makes the command of a preparing process: this executable, whatever happened to
// its file meanwhile, under a name that has it call Work and end.
func Self() *exec.Cmd {
	exe := "/proc/self/exe"
	if runtime.GOOS != "linux" {
		exe = os.Args[0]
		if path, err := os.Executable(); err == nil {
			exe = path
		}
	}
	return &exec.Cmd{Path: exe, Args: []string{workerName}}
}
