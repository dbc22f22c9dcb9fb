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
	"maps"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"golang.org/x/sys/unix"

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

	exitInterrupted = 130 // as a shell has it of a command that SIGINT ended
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], sys{os.Stdin, os.Stdout, os.Stderr, os.Getenv, os.ReadFile}))
}

// A command is one word after lazyolo.
type command struct {
	name, args, does string            // does: "": it is for lazyolo itself, and not listed
	more             string            // what else its help says; "": nothing
	examples         []string          // of use, as they are typed
	settings         []string          // those that act on it, by name; nil: all
	needs            map[string]string // flags of its own that do nothing without another one
	interruptible    bool              // run ends soon after its context: the first signal is for that
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
		err = c.refuseIdle(own, cfg)
	}
	if err != nil {
		return report(s.stderr, err)
	}
	if c.interruptible {
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer stop()
		defer context.AfterFunc(ctx, stop)() // a second signal ends the process at once
	}
	err = c.run(ctx, cfg, s)
	if err != nil && ctx.Err() != nil {
		err = errInterrupted
	}
	return report(s.stderr, err)
}

// refuseIdle refuses flags that do nothing as they are given. Settings of the environment
// and the settings file may be meant for other commands.
func (c command) refuseIdle(own *flag.FlagSet, cfg *config.Config) error {
	given := make(map[string]bool)
	own.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for _, name := range slices.Sorted(maps.Keys(c.needs)) {
		if other := c.needs[name]; given[name] && !given[other] {
			return &config.UsageError{Setting: "--" + name, Msg: fmt.Sprintf("--%s does nothing without --%s", name, other), Hint: "leave it out, or give both"}
		}
	}
	for _, s := range config.Settings() {
		if !c.acts(s.Name) && cfg.Origin(s.Name).Source == config.Flag {
			return &config.UsageError{Setting: "--" + s.Flag(), Msg: fmt.Sprintf("--%s does nothing for %s", s.Flag(), c.name),
				Hint: "leave it out; lazyolo help " + c.name + " lists what acts"}
		}
	}
	return nil
}

// acts reports whether a setting acts on the command.
func (c command) acts(setting string) bool {
	return c.settings == nil || slices.Contains(c.settings, setting)
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

// noArguments refuses arguments of a command that takes none.
func noArguments(command string, c *config.Config) error {
	if len(c.Args) == 0 {
		return nil
	}
	return &config.UsageError{Setting: command, Msg: fmt.Sprintf("%s takes no arguments, got %q", command, c.Args[0]), Hint: "lazyolo help " + command}
}

// A hinted error tells what to do about it.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

// errReported ends a command whose output has said everything.
var errReported = errors.New("reported")

// plain is text for a terminal, with what is not to be printed, such as the control
// characters that names of files may have, as Go writes it.
func plain(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsGraphic(r) && r != '\n' || r == unicode.ReplacementChar }) {
		return text
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		quoted := strconv.QuoteToGraphic(line)
		lines[i] = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(quoted[1 : len(quoted)-1])
	}
	return strings.Join(lines, "\n")
}

// report prints an error as lazyolo's commands do and returns the exit code.
func report(w io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	if errors.Is(err, errReported) || errors.Is(err, syscall.EPIPE) { // whoever read the output has gone
		return exitError
	}
	fmt.Fprintln(w, "lazyolo: error:", plain(err.Error()))
	if errors.Is(err, errInterrupted) {
		return exitInterrupted
	}
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

// terminal reports whether f is a terminal, which has a size.
func terminal(f any) bool {
	file := fileOf(f)
	if file == nil {
		return false
	}
	_, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	return err == nil
}

// fileOf is the file that f reads or writes; nil: there is none.
func fileOf(f any) *os.File {
	if h, ok := f.(heard); ok {
		f = h.Writer
	}
	file, _ := f.(*os.File)
	return file
}

// isMissing reports whether err is about a file that does not exist.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
