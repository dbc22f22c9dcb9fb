// Command lazyolo serves any number of YOLO models from one small process.
//
// This package is the only place where the parts are wired together; a file per
// command.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"lazyolo/internal/config"
)

// sys is what a command may use of its surroundings, so that a test can run one.
type sys struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	readFile       func(string) ([]byte, error)
}

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], sys{os.Stdin, os.Stdout, os.Stderr, os.Getenv, os.ReadFile}))
}

// A command is one word after lazyolo.
type command struct {
	name, args, does string   // does: "": it is for lazyolo itself, and not listed
	more             string   // what else its help says; "": nothing
	examples         []string // of use, as they are typed
	settings         []string // the groups of settings that matter to it; nil: all
	run              func(ctx context.Context, c *config.Config, s sys) error
	flags            func(fs *flag.FlagSet) // its own, beside the settings; nil: none
}

func commands() []command {
	return []command{
		serveCommand(),
		detectCommand(),
		modelsCommand(),
		demoCommand(),
		prepareCommand(),
		convertCommand(),
		inspectCommand(),
		simulateCommand(),
		benchCommand(),
		eagerCommand(),
		lazyCommand(),
		keyCommand(),
		doctorCommand(),
		versionCommand(),
	}
}

// run runs one command and returns its exit code.
func run(ctx context.Context, args []string, s sys) int {
	if len(args) == 0 {
		printUsage(s.stderr)
		return exitUsage
	}
	name, rest := args[0], args[1:]
	switch name {
	case "help", "-h", "--help":
		return report(s.stderr, help(s.stdout, rest))
	case "--version", "-v":
		name = "version"
	}
	c, err := find(name)
	if err != nil {
		return report(s.stderr, err)
	}
	own := flag.NewFlagSet(c.name, flag.ContinueOnError)
	if c.flags != nil {
		c.flags(own)
	}
	cfg, err := config.LoadFlags(own, rest, s.getenv, s.readFile)
	if errors.Is(err, flag.ErrHelp) {
		return report(s.stderr, printHelp(s.stdout, c))
	}
	if err == nil {
		err = c.run(ctx, cfg, s)
	}
	return report(s.stderr, err)
}

// find finds a command by its name.
func find(name string) (command, error) {
	var names []string
	for _, c := range commands() {
		if c.name == name {
			return c, nil
		}
		if c.does != "" {
			names = append(names, c.name)
		}
	}
	e := &config.UsageError{Setting: name, Msg: fmt.Sprintf("unknown command %q", name), Hint: "run: lazyolo help"}
	if near := config.Nearest(name, names); near != "" {
		e.Hint = fmt.Sprintf("did you mean %s? lazyolo help lists the commands", near)
	}
	return command{}, e
}

// A hinted error tells what to do about it.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

// errReported ends a command whose output has said everything.
var errReported = errors.New("reported")

// report prints an error as lazyolo's commands do and returns the exit code.
func report(w io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	if errors.Is(err, errReported) || errors.Is(err, syscall.EPIPE) { // whoever read the output has gone
		return exitError
	}
	fmt.Fprintln(w, "lazyolo: error:", err)
	var h hinted
	var usage *config.UsageError
	switch {
	case errors.As(err, &usage):
		if usage.Hint != "" {
			fmt.Fprintln(w, "lazyolo: hint:", usage.Hint)
		}
		return exitUsage
	case errors.As(err, &h):
		fmt.Fprintln(w, "lazyolo: hint:", h.hint)
	}
	return exitError
}

// isMissing reports whether err is about a file that does not exist.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
