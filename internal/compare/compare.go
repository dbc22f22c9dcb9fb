// Package compare measures servers as processes from outside, by what the system says
// of them and what they answer over HTTP, and shows what came of it: set-ups beside
// each other ([Compare]), and one server in a small budget over time ([Demonstrate]);
// as text, JSON, a picture and a page. Every number is measured where it runs.
//
// Memory is the resident memory (VmRSS) of a server and its children. It counts the
// weights of a mapped file in full while they are in memory, although the kernel could
// take them back: it errs against lazyolo. MB are 2^20 bytes.
package compare

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"time"

	"lazyolo/internal/load"
)

// Options says what is compared. Setups, Models and Picture are required.
type Options struct {
	Setups  []Setup
	Models  []int         // the numbers that the models have in every set-up; at least two
	Picture load.Picture  // that all are asked for
	About   string        // what the models are, for who reads the report
	Weights int64         // bytes of their files together
	Budget  int64         // bytes; of the set-up that has one
	LeftOut string        // which set-up is missing and why; "": none
	Rest    time.Duration // how long nobody asks, towards the end; 0: 3 s, longer than a server keeps what it does not need
	// Progress is told what is done next; nil: nobody is.
	Progress func(string)
}

// A Setup is one way to serve the same models.
type Setup struct {
	Name    string           // in a word
	Does    string           // in a sentence
	Command func() *exec.Cmd // a server that prints its address, and ends when its standard input does
}

// A Report is what was measured of all set-ups, in the order of Options.
type Report struct {
	About   string     `json:"about"`
	Models  int        `json:"models"`
	Weights float64    `json:"weights_mb"`
	Picture string     `json:"picture"`
	Memory  string     `json:"memory"` // what is counted
	Budget  float64    `json:"budget_mb"`
	LeftOut string     `json:"left_out,omitempty"` // as in Options
	Setups  []Measured `json:"setups"`
}

// A Measured is one set-up.
type Measured struct {
	Name string `json:"name"`
	Does string `json:"does"`
	// Steps are the same for all set-ups.
	Steps []Step `json:"steps"`
	// Walk is the memory before the first request and after each model's first answer.
	Walk    []float64 `json:"walk_mb"`
	Peak    float64   `json:"peak_mb"` // highest that was seen
	Samples []Sample  `json:"samples"`
}

// A Step is something done and the memory right after it.
type Step struct {
	What string  `json:"what"`
	Took float64 `json:"seconds"` // until the answer, the median of several; 0: nothing was waited for
	MB   float64 `json:"mb"`
	Anon float64 `json:"anonymous_mb"` // of it without a file behind it
}

// memoryIs is how a report says what its memory is.
const memoryIs = "resident memory (VmRSS) of the server and its children; MB are 2^20 bytes"

// How set-ups are asked.
const (
	again    = 5 // answers of which the median is taken
	restsFor = 3 * time.Second
)

// Compare measures the set-ups, one after the other. It fails when one of them cannot
// serve; ErrNoMemory says that this system does not tell.
func Compare(ctx context.Context, o Options) (*Report, error) {
	if len(o.Setups) == 0 || len(o.Models) < 2 || len(o.Picture.Data) == 0 {
		return nil, errors.New("compare: Setups, two Models and a Picture are required")
	}
	const mib = 1 << 20
	r := &Report{
		About: o.About, Models: len(o.Models), Weights: float64(o.Weights) / mib, Picture: o.Picture.Name,
		Memory: memoryIs, Budget: float64(o.Budget) / mib, LeftOut: o.LeftOut,
	}
	if o.Progress != nil && o.LeftOut != "" {
		o.Progress(o.LeftOut)
	}
	for _, s := range o.Setups {
		if o.Progress != nil {
			o.Progress(s.Name + ": " + s.Does)
		}
		m, err := measure(ctx, s, o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
		r.Setups = append(r.Setups, *m)
	}
	return r, nil
}

// A measurement is a set-up under way.
type measurement struct {
	*process
	o Options
	m *Measured
}

func measure(ctx context.Context, s Setup, o Options) (*Measured, error) {
	p, err := start(ctx, s.Command())
	if err != nil {
		return nil, err
	}
	defer p.stop()
	x := &measurement{p, o, &Measured{Name: s.Name, Does: s.Does}}
	if err := x.run(ctx); err != nil {
		return nil, err
	}
	x.m.Samples = p.seen()
	for _, s := range x.m.Samples {
		x.m.Peak = max(x.m.Peak, s.MB)
	}
	for _, s := range x.m.Steps { // between two samples
		x.m.Peak = max(x.m.Peak, s.MB)
	}
	return x.m, nil
}

// run goes through the steps.
func (x *measurement) run(ctx context.Context) error {
	if err := x.note("start", x.ready); err != nil {
		return err
	}
	first := x.o.Models[0]
	if err := x.ask(ctx, "model 0, first answer", first); err != nil {
		return err
	}
	if err := x.ask(ctx, "model 0 again", slices.Repeat([]int{first}, again)...); err != nil {
		return err
	}
	if err := x.ask(ctx, "model 1, first answer", x.o.Models[1]); err != nil {
		return err
	}
	if len(x.o.Models) > 2 {
		if err := x.ask(ctx, "every other model, first answer", x.o.Models[2:]...); err != nil {
			return err
		}
	}
	if err := x.ask(ctx, "every model again", x.o.Models...); err != nil {
		return err
	}
	select {
	case <-time.After(cmp.Or(x.o.Rest, restsFor)):
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := x.note("after a rest", 0); err != nil {
		return err
	}
	return x.ask(ctx, "model 0 then", first)
}

// ask asks models one after the other and notes the median of their answers' times.
func (x *measurement) ask(ctx context.Context, what string, models ...int) error {
	var took []time.Duration
	for _, m := range models {
		a, err := x.detect(ctx, m, x.o.Picture, "json")
		if err != nil {
			return err
		}
		took = append(took, a.took)
		if k := len(x.m.Walk); k <= len(x.o.Models) && m == x.o.Models[k-1] { // the first answer of each in turn
			s, ok := x.memory()
			if !ok {
				return x.gone()
			}
			x.m.Walk = append(x.m.Walk, s.MB)
		}
	}
	return x.note(what, median(took))
}

// note looks at the memory after a step.
func (x *measurement) note(what string, took time.Duration) error {
	s, ok := x.memory()
	if !ok {
		return x.gone()
	}
	if len(x.m.Walk) == 0 {
		x.m.Walk = append(x.m.Walk, s.MB)
	}
	x.m.Steps = append(x.m.Steps, Step{what, took.Seconds(), s.MB, s.Anon})
	return nil
}

// gone is the error of a process that ended.
func (p *process) gone() error { return fmt.Errorf("the server ended: %s", p.log.String()) }

func median(all []time.Duration) time.Duration {
	s := slices.Sorted(slices.Values(all))
	n := len(s)
	if n == 0 {
		return 0
	}
	return (s[(n-1)/2] + s[n/2]) / 2
}
