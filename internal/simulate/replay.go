package simulate

import (
	"cmp"
	"slices"
	"time"

	"lazyolo/internal/pool"
	"lazyolo/yolo"
)

// A Result is what a policy made of a trace.
type Result struct {
	Uses    int
	Hits    int     // uses of a model that was in memory
	Refused int     // uses of a model larger than the budget; neither hit nor load
	Seconds float64 // of loading
}

// HitRatio is the share of uses, of those that can be served, that found their
// model in memory.
func (r Result) HitRatio() float64 {
	if r.Uses == r.Refused {
		return 0
	}
	return float64(r.Hits) / float64(r.Uses-r.Refused)
}

// Replay runs a trace through a cache of budget bytes with a policy.
func Replay(t *Trace, budget int64, policy pool.Policy) Result {
	c := newCache(t, budget, policy)
	for _, a := range t.Accesses {
		c.use(a)
	}
	return c.r
}

// A cache is the models in memory at one moment of a replay.
type cache struct {
	policy pool.Policy
	start  time.Time
	models []cached
	in     []int // the models in memory
	free   int64
	row    []resident // scratch
	r      Result
}

type cached struct {
	bytes int64
	load  time.Duration
	model *yolo.Model
	in    bool
	last  time.Time
	uses  pool.Uses
}

func newCache(t *Trace, budget int64, policy pool.Policy) *cache {
	// Any moment will do, policies see only how long ago things were.
	c := &cache{policy: policy, start: time.Unix(0, 0), free: budget}
	for _, m := range t.Models {
		c.models = append(c.models, cached{bytes: m.Bytes, load: m.Load(), model: &yolo.Model{ID: m.ID, Bytes: m.Bytes}})
	}
	return c
}

func (c *cache) use(a Access) {
	now, m := c.start.Add(a.At), &c.models[a.Model]
	c.r.Uses++
	switch {
	case m.in:
		c.r.Hits++
	case !c.makeRoom(m.bytes, now):
		c.r.Refused++
		return
	default:
		m.in = true
		c.free -= m.bytes
		c.in = append(c.in, a.Model)
		c.r.Seconds += m.load.Seconds()
	}
	m.uses.Add(now)
	m.last = now
}

// makeRoom closes models until need bytes are free; false: the budget is smaller.
func (c *cache) makeRoom(need int64, now time.Time) bool {
	if need <= c.free {
		return true
	}
	c.row = c.row[:0]
	have := c.free
	for _, i := range c.in {
		m := &c.models[i]
		have += m.bytes
		c.row = append(c.row, resident{i, pool.Resident{
			Model: m.model, LastUsed: m.last, Interval: m.uses.Interval(now), Bytes: m.bytes, Cost: m.load,
		}})
	}
	if need > have {
		return false
	}
	for _, v := range pick(c.row, need-c.free, c.policy) {
		c.models[v.index].in = false
		c.free += v.Bytes
	}
	c.in = slices.DeleteFunc(c.in, func(i int) bool { return !c.models[i].in })
	return true
}

// A resident is a model in memory with its place in the trace.
type resident struct {
	index int
	pool.Resident
}

// pick chooses victims that free n bytes as the pool does: in the policy's order,
// ties aside, and none that the others make superfluous. Few
// are needed of many, so it looks for the next one instead of sorting; row is
// disturbed.
func pick(row []resident, n int64, policy pool.Policy) []resident {
	sum, k := int64(0), 0
	for ; sum < n; k++ {
		first := slices.MinFunc(row[k:], func(a, b resident) int { return cmp.Or(policy(a.Resident, b.Resident), a.index-b.index) })
		at := k + slices.IndexFunc(row[k:], func(r resident) bool { return r.index == first.index })
		row[k], row[at] = row[at], row[k]
		sum += first.Bytes
	}
	return slices.DeleteFunc(row[:k], func(v resident) bool {
		if sum-v.Bytes < n {
			return false
		}
		sum -= v.Bytes
		return true
	})
}
