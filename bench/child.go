package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lazyolo/internal/ort"
)

// child is the program in a process of its own.
func child(args []string) {
	var err error
	switch {
	case args[0] == "bare" && len(args) == 4:
		err = bareChild(args[1], args[2], args[3])
	case args[0] == "resident" && len(args) == 4:
		err = residentChild(args[1], args[2], args[3])
	default:
		err = fmt.Errorf("%q: the bench takes no arguments", args)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// bareChild runs the model of the nano set in the work folder dir, in loops beside
// one another, for as long as each line of its input says; it answers runs per second.
func bareChild(dir, threads, loops string) error {
	b := &work{dir: dir}
	var err error
	if b.library, err = ort.Locate(os.Getenv("ORT_LIBRARY")); err != nil {
		return err
	}
	if b.picture, err = os.ReadFile(pictureFile); err != nil {
		return err
	}
	if b.threads, err = strconv.Atoi(threads); err != nil {
		return err
	}
	n, err := strconv.Atoi(loops)
	if err != nil {
		return err
	}
	r, err := b.openBare(nano, b.picture)
	if err != nil {
		return err
	}
	for range 3 {
		if _, err := r.run(context.Background()); err != nil {
			return err
		}
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		d, err := time.ParseDuration(lines.Text())
		if err != nil {
			return err
		}
		fmt.Println(r.loops(n, d))
	}
	return nil
}

// loops runs n loops for d and returns the runs per second of all.
func (r *bare) loops(n int, d time.Duration) float64 {
	var runs atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for range n {
		all.Go(func() {
			for time.Since(began) < d {
				if _, err := r.run(context.Background()); err != nil {
					log.Fatal(err)
				}
				runs.Add(1)
			}
		})
	}
	all.Wait()
	return float64(runs.Load()) / time.Since(began).Seconds()
}

// A helper is a child running.
type helper struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	rate sample
}

// startChild runs this program with arguments.
func (b *work) startChild(ctx context.Context, name string, args ...string) (*helper, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	h := &helper{name: name, cmd: exec.CommandContext(ctx, exe, args...)}
	h.cmd.Env = append(os.Environ(), "ORT_LIBRARY="+b.library.Path)
	h.cmd.Stderr = os.Stderr
	if h.in, err = h.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	h.out = bufio.NewReader(out)
	return h, h.cmd.Start()
}

// loop has a bare child run for d and notes its rate.
func (h *helper) loop(d time.Duration) error {
	if _, err := fmt.Fprintln(h.in, d); err != nil {
		return err
	}
	line, err := h.out.ReadString('\n')
	if err != nil {
		return fmt.Errorf("%s: %w", h.name, err)
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(line), 64)
	h.rate = append(h.rate, v)
	return err
}

// stop ends the child.
func (h *helper) stop() {
	_ = h.in.Close()
	_ = h.cmd.Process.Kill()
	_ = h.cmd.Wait()
}
