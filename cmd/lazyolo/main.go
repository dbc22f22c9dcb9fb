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
	"runtime/debug"
	"strings"

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
	name, args, does string
	run              func(ctx context.Context, c *config.Config, s sys) error
	flags            func(fs *flag.FlagSet) // its own, beside the settings
}

func commands() []command {
	return []command{
		{name: "serve", does: "serve the models over HTTP", run: serve},
		{name: "prepare", args: "[models...]", does: "prepare all or some models ahead of their first use", run: prepareModels},
		convertCommand(),
		simulateCommand(),
		modelsCommand(),
		benchCommand(),
		eagerCommand(),
		{name: "inspect", args: "best.pt|best.onnx", does: "print what is in a model file and whether it can be used", run: inspect},
		keyCommand(),
		doctorCommand(),
		{name: "version", does: "print the version", run: version},
	}
}

// run runs one command and returns its exit code.
func run(ctx context.Context, args []string, s sys) int {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		printUsage(s.stdout)
		if len(args) == 0 {
			return exitUsage
		}
		return exitOK
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		own := flag.NewFlagSet(c.name, flag.ContinueOnError)
		if c.flags != nil {
			c.flags(own)
		}
		cfg, err := config.LoadFlags(own, args[1:], s.getenv, s.readFile)
		if errors.Is(err, flag.ErrHelp) {
			printHelp(s.stdout, c)
			return exitOK
		}
		if err == nil {
			err = c.run(ctx, cfg, s)
		}
		return report(s.stderr, err)
	}
	return report(s.stderr, &config.UsageError{
		Setting: args[0], Msg: fmt.Sprintf("unknown command %q", args[0]), Hint: "run: lazyolo help"})
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
	if errors.Is(err, errReported) {
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

func printUsage(w io.Writer) {
	fmt.Fprint(w, "lazyolo serves any number of YOLO models from one small process.\n\nusage: lazyolo <command> [--setting value ...]\n\n")
	for _, c := range commands() {
		if c.does == "" {
			continue // it is for lazyolo itself
		}
		fmt.Fprintf(w, "  %-28s %s\n", strings.TrimSpace(c.name+" "+c.args), c.does)
	}
	fmt.Fprint(w, "\nrun: lazyolo <command> --help for the settings\n")
}

// printHelp lists a command's own flags and every setting.
func printHelp(w io.Writer, c command) {
	fmt.Fprintf(w, "lazyolo %s: %s\n\nusage: lazyolo %s [--setting value ...]\n", c.name, c.does, strings.TrimSpace(c.name+" "+c.args))
	if c.flags != nil {
		own := flag.NewFlagSet(c.name, flag.ContinueOnError)
		c.flags(own)
		fmt.Fprintln(w)
		own.VisitAll(func(f *flag.Flag) { fmt.Fprintf(w, "  --%-22s %s\n", f.Name, f.Usage) })
	}
	fmt.Fprint(w, "\nsettings, by default < lazyolo.yaml (--config FILE) < environment < flag:\n")
	group := ""
	for _, s := range config.Settings() {
		if s.Group != group {
			group = s.Group
			fmt.Fprintf(w, "\n%s\n", group)
		}
		fmt.Fprintf(w, "  --%s (%s)  %s\n", s.Flag(), s.Name, s.Help)
		if s.Default != "" {
			fmt.Fprintf(w, "      default: %s\n", s.Default)
		}
	}
}

// buildVersion and buildCommit are set by the Makefile through -ldflags.
var buildVersion, buildCommit = "dev", ""

func versionString() string {
	s := buildVersion
	if buildCommit != "" {
		s += " (" + buildCommit + ")"
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		s += " " + info.GoVersion
	}
	return s
}

func version(_ context.Context, _ *config.Config, s sys) error {
	_, err := fmt.Fprintln(s.stdout, "lazyolo", versionString())
	return err
}

// isMissing reports whether err is about a file that does not exist.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
