package pool_test

import (
	"testing"
	"time"

	"lazyolo/internal/pool"
)

// TestUses: how often a model is taken to be used, from when it was.
func TestUses(t *testing.T) {
	const s = time.Second
	for _, c := range []struct {
		name string
		gaps []time.Duration // before the second use and later ones
		idle time.Duration   // since the last use
		min  time.Duration
		max  time.Duration
	}{
		{"once", nil, 0, time.Hour - s, time.Hour + s},
		{"once, long ago", nil, 3 * time.Hour, 2 * time.Hour, 2 * time.Hour},
		{"steady", repeat(10*s, 200), 0, 10*s - s/10, 10*s + s/10},
		{"steady, not yet due", repeat(10*s, 200), 12 * s, 10*s - s/10, 10*s + s/10},
		{"steady, overdue", repeat(10*s, 200), 60 * s, 40 * s, 40 * s},
		{"faster now", append(repeat(100*s, 50), repeat(s, 50)...), 0, s, 6 * s},
		{"a burst, then quiet", append(repeat(time.Hour, 20), repeat(0, 100)...), time.Hour, 40 * time.Minute, 40 * time.Minute},
		{"a clock stepping back", append(repeat(10*s, 50), -time.Hour), 0, 0, 10 * s},
	} {
		t.Run(c.name, func(t *testing.T) {
			var u pool.Uses
			now := time.Unix(1e9, 0)
			u.Add(now)
			for _, g := range c.gaps {
				now = now.Add(g)
				u.Add(now)
			}
			if got := u.Interval(now.Add(c.idle)); got < c.min || got > c.max {
				t.Errorf("%v, want %v to %v", got, c.min, c.max)
			}
		})
	}
}

func repeat(d time.Duration, n int) []time.Duration {
	out := make([]time.Duration, n)
	for i := range out {
		out[i] = d
	}
	return out
}

func TestPolicies(t *testing.T) {
	at := time.Unix(1e9, 0)
	base := pool.Resident{LastUsed: at, Interval: time.Minute, Bytes: 100, Cost: time.Second}
	with := func(f func(r *pool.Resident)) pool.Resident { r := base; f(&r); return r }
	for _, c := range []struct {
		name   string
		policy pool.Policy
		first  pool.Resident // goes before base
	}{
		{"lru: longest ago", pool.LRU, with(func(r *pool.Resident) { r.LastUsed = at.Add(-1) })},
		{"cost: rarer", pool.CostAware, with(func(r *pool.Resident) { r.Interval *= 2 })},
		{"cost: larger", pool.CostAware, with(func(r *pool.Resident) { r.Bytes *= 2 })},
		{"cost: loads faster", pool.CostAware, with(func(r *pool.Resident) { r.Cost /= 2 })},
		{"cost: of equals the last used", pool.CostAware, with(func(r *pool.Resident) { r.LastUsed = at.Add(1) })},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.policy(c.first, base) >= 0 || c.policy(base, c.first) <= 0 || c.policy(base, base) != 0 {
				t.Error("wrong order")
			}
		})
	}
}
