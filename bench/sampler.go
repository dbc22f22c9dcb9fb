package main

import (
	"context"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"lazyolo/internal/machine"
)

// How often the process tree's memory is read, and what the server says of it.
const (
	sampleEvery = 5 * time.Millisecond
	statusEvery = 100 * time.Millisecond
)

// A sampler watches a process and its children from outside.
type sampler struct {
	highest     float64       // bytes, of all samples
	samples     int           // how many
	gap         time.Duration // the longest between two
	unexplained float64       // the highest of |unexplained_mb|, in bytes
	said        int           // how often the server said it

	workers map[int]bool // children seen to be preparing
	stop    context.CancelFunc
	done    chan struct{}
}

// watchTree starts a sampler.
func (p *process) watchTree(ctx context.Context) *sampler {
	s := &sampler{workers: make(map[int]bool), done: make(chan struct{})}
	ctx, s.stop = context.WithCancel(ctx)
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		s.ask(ctx, p)
	}()
	go func() {
		defer close(s.done)
		s.read(ctx, p.cmd.Process.Pid)
		<-asked
	}()
	return s
}

// end stops it; its figures may be read then.
func (s *sampler) end() {
	s.stop()
	<-s.done
}

// ask keeps the largest that the server cannot explain.
func (s *sampler) ask(ctx context.Context, p *process) {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for {
		if state, err := p.budget(ctx); err == nil {
			s.said++
			s.unexplained = max(s.unexplained, math.Abs(state.Unexplained)*mb)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *sampler) read(ctx context.Context, pid int) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	last := time.Now()
	for {
		s.highest = max(s.highest, s.resident(pid))
		s.samples++
		now := time.Now()
		s.gap, last = max(s.gap, now.Sub(last)), now
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// resident is the VmRSS of the process and its preparing children. Between vfork
// and exec a new child still runs in its parent's memory, and /proc shows that
// twice; the child has the parent's binary, so only its command line tells: it
// counts once that says prepare-worker.
func (s *sampler) resident(pid int) float64 {
	sum := machine.Resident(pid)
	for _, child := range machine.Children(pid) {
		if s.workers[child] || isWorker(child) {
			s.workers[child] = true
			sum += machine.Resident(child)
		}
	}
	return float64(sum)
}

func isWorker(pid int) bool {
	line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	return err == nil && strings.Contains(string(line), "prepare-worker")
}

// join takes over what another saw; nil saw nothing.
func (s *sampler) join(o *sampler) *sampler {
	if o != nil {
		s.highest, s.unexplained = max(s.highest, o.highest), max(s.unexplained, o.unexplained)
		s.samples, s.said, s.gap = s.samples+o.samples, s.said+o.said, max(s.gap, o.gap)
	}
	return s
}
