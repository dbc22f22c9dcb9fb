package docs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// stands are this test's own program under other names: what a block calls when
// it calls these commands. They do what the commands do, but a server ends
// with its block's section, and nothing lasts for ever.
var stands = map[string]func(args []string) int{
	"lazyolo": standLazyolo,
	"curl":    standCurl,
	"make":    standMake,
	"pgrep":   standPgrep,
}

// Variables through which a stand knows its stage.
const (
	stageURL  = "DOCS_STAGE"  // where it asks for servers
	stageReal = "DOCS_BINARY" // the real lazyolo
	stageKey  = "DOCS_KEY"    // file of the key that was made last
	stagePath = "DOCS_PATH"   // PATH without the stands
)

// A launch is a command that serves, as the stage is asked to start it.
type launch struct {
	Args []string
	Env  []string
	Dir  string
}

// A launched server, or why it is none: its exit code and what it said.
type launched struct {
	Code int
	Log  string
}

func standLazyolo(args []string) int {
	switch {
	case len(args) > 0 && args[0] == "serve":
		return askStage(append([]string{os.Getenv(stageReal)}, args...))
	case len(args) > 0 && args[0] == "key":
		return makeKey(args)
	case slices.Contains(args, "--watch"):
		code, _ := runReal(os.Getenv(stageReal), args, time.Second)
		return code
	}
	code, _ := runReal(os.Getenv(stageReal), args, 0)
	return code
}

// standMake runs the README's command, and refuses what a test must not run.
func standMake(args []string) int {
	if len(args) != 1 || args[0] != "run" {
		fmt.Fprintf(os.Stderr, "make %s: mark this block as not run\n", strings.Join(args, " "))
		return 1
	}
	return askStage([]string{"make", "-s", "-C", "REPOSITORY", "run"})
}

// standPgrep finds the stage's own server, not that of another test.
func standPgrep([]string) int {
	r, err := http.Get(os.Getenv(stageURL))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer r.Body.Close()
	if _, err := io.Copy(os.Stdout, r.Body); err != nil || r.StatusCode != http.StatusOK {
		return 1
	}
	return 0
}

// standCurl is curl that fails where the server refuses, and ends streams.
func standCurl(args []string) int {
	real, err := lookPath("curl")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	key, _ := os.ReadFile(os.Getenv(stageKey)) // none was made: KEY stays
	for i, a := range args {
		args[i] = aKey.ReplaceAllString(a, "${1}"+strings.TrimSpace(string(key)))
	}
	limit := time.Duration(0)
	if slices.Contains(args, "-N") {
		limit = time.Second
	}
	code, said := runReal(real, append([]string{"-sS", "--fail-with-body", "--insecure"}, args...), limit)
	if code == 0 && bytes.HasPrefix(said, []byte(`{"error":`)) { // with status 200, as the old API has it
		fmt.Fprintf(os.Stderr, "%s\n", said)
		code = 1
	}
	return code
}

var aKey = regexp.MustCompile(`^(Authorization: Bearer |X-API-Key: )KEY$`)

// lookPath finds the program that a stand stands for.
func lookPath(name string) (string, error) {
	if err := os.Setenv("PATH", os.Getenv(stagePath)); err != nil {
		return "", err
	}
	return exec.LookPath(name)
}

// runReal runs a program; with a limit it is interrupted then, and that is its
// usual end, provided that it has said something.
func runReal(path string, args []string, limit time.Duration) (code int, said []byte) {
	var out bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, io.MultiWriter(os.Stdout, &out), os.Stderr
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, nil
	}
	if limit > 0 {
		timer := time.AfterFunc(limit, func() { _ = cmd.Process.Signal(os.Interrupt) })
		signal.Ignore(os.Interrupt)
		defer timer.Stop()
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	switch {
	case limit > 0 && out.Len() > 0, err == nil:
		return 0, out.Bytes()
	case errors.As(err, &exit):
		return max(exit.ExitCode(), 1), nil
	}
	return 1, nil
}

var madeKey = regexp.MustCompile(`(?m)^  (\S+)$`)

// makeKey makes a key, and keeps it for the calls that say KEY.
func makeKey(args []string) int {
	var said bytes.Buffer
	cmd := exec.Command(os.Getenv(stageReal), args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, io.MultiWriter(os.Stderr, &said)
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	m := madeKey.FindSubmatch(said.Bytes())
	if m == nil {
		fmt.Fprintln(os.Stderr, "lazyolo key said no key")
		return 1
	}
	if err := os.WriteFile(os.Getenv(stageKey), m[1], 0o600); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// askStage asks the test for a server.
func askStage(args []string) int {
	dir, err := os.Getwd()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	body, err := json.Marshal(launch{Args: args, Env: os.Environ(), Dir: dir})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	r, err := http.Post(os.Getenv(stageURL), "application/json", bytes.NewReader(body))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer r.Body.Close()
	var l launched
	if err := json.NewDecoder(r.Body).Decode(&l); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if l.Code != 0 {
		fmt.Fprint(os.Stderr, l.Log)
	}
	return l.Code
}

// stopGroup ends a process and those it started.
func stopGroup(p *os.Process, sig syscall.Signal) error { return syscall.Kill(-p.Pid, sig) }
