package detect

import (
	"sync"
	"time"

	"lazyolo/yolo"
)

// counts is what was asked of the models since the start.
type counts struct {
	mu sync.Mutex
	of map[string]*yolo.Counts // by model id
}

// Counts is how often m was called since the start, through whichever of its heads.
func (d *Detector) Counts(m *yolo.Model) yolo.Counts {
	d.counts.mu.Lock()
	defer d.counts.mu.Unlock()
	if c := d.counts.of[m.ID]; c != nil {
		return *c
	}
	return yolo.Counts{}
}

// A call is one request to a model. One goroutine uses it.
type call struct {
	counts *counts
	id     string
	began  time.Time
	at     time.Time // when there were outputs; zero: there were none
}

func (c *counts) begin(m *yolo.Model) *call { return &call{counts: c, id: m.ID, began: time.Now()} }

// ran notes that the outputs are there.
func (c *call) ran() { c.at = time.Now() }

// end counts the call, which took so long.
func (c *call) end(took yolo.Took, err error) {
	now := time.Now()
	c.counts.mu.Lock()
	defer c.counts.mu.Unlock()
	if c.counts.of == nil {
		c.counts.of = make(map[string]*yolo.Counts)
	}
	n := c.counts.of[c.id]
	if n == nil {
		n = new(yolo.Counts)
		c.counts.of[c.id] = n
	}
	if err != nil {
		n.Fail.Add(now.Sub(c.began))
		return
	}
	reading := now.Sub(c.at)
	n.Success.Add(now.Sub(c.began))
	n.Queue.Add(took.Load + took.Memory)
	n.Input.Add(took.Decode)
	n.Infer.Add(max(0, took.Run-reading))
	n.Output.Add(reading)
	n.Last = now
}
