// Package simulate replays a trace of model uses against a cache of models: how
// many loads, and how many seconds of loading, a policy of internal/pool would
// have cost within a budget, beside what no policy can beat.
//
// It is a model of the pool, not the pool: a model is in memory whole or not at
// all, requests come one after the other, and nothing closes by itself
// (KEEP_ALIVE=-1). Policies, the memory of past uses and the choice of victims
// are the pool's own code.
package simulate

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// A Model is a model of a trace.
type Model struct {
	ID     string  `json:"id"`
	Bytes  int64   `json:"bytes"`   // in memory
	LoadMS float64 `json:"load_ms"` // what loading it takes, in milliseconds
}

// Load is what loading the model takes.
func (m Model) Load() time.Duration { return time.Duration(m.LoadMS * float64(time.Millisecond)) }

// An Access is one use of a model.
type Access struct {
	At    time.Duration // since the trace began; never decreases
	Model int           // index in Trace.Models
}

// A Trace is what was asked for, in order.
type Trace struct {
	Models   []Model
	Accesses []Access
}

// Bytes is the size of all models together.
func (t *Trace) Bytes() int64 {
	var sum int64
	for _, m := range t.Models {
		sum += m.Bytes
	}
	return sum
}

// Largest is the size of the largest model: the least budget that serves all.
func (t *Trace) Largest() int64 {
	var most int64
	for _, m := range t.Models {
		most = max(most, m.Bytes)
	}
	return most
}

// line is a line of a trace: a header with models, or one use.
type line struct {
	Models []Model  `json:"models,omitempty"`
	T      *float64 `json:"t,omitempty"` // seconds
	Model  string   `json:"model,omitempty"`
}

// Limits of a trace: beyond them it is refused rather than read.
const (
	maxLine  = 16 << 20
	maxBytes = 1 << 50 // of one model
	maxLoad  = 1e9     // milliseconds
	maxTime  = 4e9     // seconds, more than a century
)

// Read reads a trace: JSON objects, one a line. A header names models,
//
//	{"models": [{"id": "yolov8n", "bytes": 13000000, "load_ms": 18}]}
//
// and stands before their uses: {"t": 12.5, "model": "yolov8n"}, t in seconds
// from any origin. More headers may follow, with more models or newer figures of
// known ones; what a recorder adds after a restart begins with one, and only
// there t may step back. An error names the line.
func Read(r io.Reader) (*Trace, error) {
	p := parser{index: make(map[string]int)}
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 64<<10), maxLine)
	n := 1
	for ; in.Scan(); n++ {
		if len(bytes.TrimSpace(in.Bytes())) == 0 {
			continue
		}
		if err := p.line(in.Bytes()); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", n, err)
	}
	if len(p.Accesses) == 0 {
		return nil, fmt.Errorf("line %d: the trace ends without a use of a model", n)
	}
	return &p.Trace, nil
}

// A parser holds what was read so far.
type parser struct {
	Trace
	index  map[string]int
	begun  bool
	fresh  bool    // the line before was a header
	origin float64 // t of the trace's beginning
	last   float64 // t of the last use
}

func (p *parser) line(text []byte) error {
	var l line
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return fmt.Errorf("not a JSON object of a trace: %w", err)
	}
	if dec.More() {
		return errors.New("more than one JSON object")
	}
	if l.Models != nil {
		if l.T != nil || l.Model != "" {
			return errors.New("a header has models and nothing else")
		}
		p.fresh = true
		return p.header(l.Models)
	}
	return p.use(l)
}

func (p *parser) header(models []Model) error {
	for _, m := range models {
		switch {
		case m.ID == "":
			return errors.New("a model has no id")
		case m.Bytes <= 0 || m.Bytes > maxBytes:
			return fmt.Errorf("model %q: bytes %d is no size", m.ID, m.Bytes)
		case !(m.LoadMS >= 0) || m.LoadMS > maxLoad:
			return fmt.Errorf("model %q: load_ms %g is no load time", m.ID, m.LoadMS)
		}
		i, known := p.index[m.ID]
		if !known {
			p.index[m.ID] = len(p.Models)
			p.Models = append(p.Models, m)
			continue
		}
		p.Models[i] = m
	}
	return nil
}

func (p *parser) use(l line) error {
	if l.T == nil {
		return errors.New("a use has no t")
	}
	t := *l.T
	if math.Abs(t) > maxTime {
		return fmt.Errorf("t %g is no time", t)
	}
	i, known := p.index[l.Model]
	if !known {
		return fmt.Errorf("model %q is in no header before", l.Model)
	}
	switch {
	case !p.begun:
		p.begun, p.origin = true, t
	case t < p.last && !p.fresh:
		return fmt.Errorf("t %g is before the %g of the use before", t, p.last)
	case t < p.last: // another run of the server, its clock set back
		p.origin -= p.last - t
	}
	if t-p.origin > maxTime {
		return fmt.Errorf("t %g is more than a century after the first use", t)
	}
	p.fresh, p.last = false, t
	p.Accesses = append(p.Accesses, Access{At: time.Duration((t - p.origin) * float64(time.Second)), Model: i})
	return nil
}

// Write writes a trace as Read reads it.
func Write(w io.Writer, t *Trace) error {
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	if err := enc.Encode(line{Models: t.Models}); err != nil {
		return fmt.Errorf("write trace: %w", err)
	}
	for _, a := range t.Accesses {
		at := a.At.Seconds()
		if err := enc.Encode(line{T: &at, Model: t.Models[a.Model].ID}); err != nil {
			return fmt.Errorf("write trace: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write trace: %w", err)
	}
	return nil
}
