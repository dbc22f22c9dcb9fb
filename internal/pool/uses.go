package pool

import (
	"math"
	"time"
)

// Uses is what the pool remembers of when a model was used, in memory or not.
// The zero value is a model that was never used.
//
// The memory is of the last uses, not of the last minutes: it needs no guess of
// how busy the server is. Gaps between uses are averaged by their cube roots, so
// that a model used in bursts counts by the gaps within a burst; the quiet after
// one is found by the time since the last use.
type Uses struct {
	n    int
	last time.Time
	root float64 // mean of the cube roots of the gaps, in seconds
}

const (
	// usesKept is how many of the last uses the mean is over, about.
	usesKept = 16
	// firstGap stands for the gap before a model's first use: who was asked for
	// once is expected back late.
	firstGap = time.Hour
	// overdue is after how many of its usual gaps a model counts as used less.
	overdue = 1.5
)

// Add notes a use now.
func (u *Uses) Add(now time.Time) {
	gap := firstGap
	if u.n > 0 {
		gap = max(0, now.Sub(u.last)) // a clock may step back
	}
	u.n = min(u.n+1, usesKept)
	u.root += (math.Cbrt(gap.Seconds()) - u.root) / float64(u.n)
	u.last = now
}

// Interval is the time expected, now, between two uses: the mean so far, and more
// for a model that is overdue.
func (u *Uses) Interval(now time.Time) time.Duration {
	mean := u.root * u.root * u.root * float64(time.Second)
	return time.Duration(max(mean, float64(now.Sub(u.last))/overdue))
}
