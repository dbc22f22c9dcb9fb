package pool

import (
	"cmp"
	"time"

	"lazyolo/yolo"
)

// A Resident is a model in memory, as a Policy sees it.
type Resident struct {
	Model    *yolo.Model
	LastUsed time.Time
	Interval time.Duration // from one use to the next, as expected now; see Uses
	Bytes    int64         // what giving it up gives back
	Cost     time.Duration // what bringing it back takes
}

// A Policy orders victims, first victim first: negative when a goes before b.
// It is a pure function: no clock, no locks, no logging.
type Policy func(a, b Resident) int

// LRU gives up what was used longest ago.
func LRU(a, b Resident) int { return a.LastUsed.Compare(b.LastUsed) }

// CostAware gives up first what is cheap to be without: the time that bringing
// it back is expected to cost (what a load takes, by how often the model is used)
// per byte it frees.
//
// Of equals the one used last goes, which is the right one when many models take
// turns: its next use is farthest away, and the others stay.
func CostAware(a, b Resident) int {
	return cmp.Or(cmp.Compare(a.value(), b.value()), b.LastUsed.Compare(a.LastUsed))
}

func (r Resident) value() float64 {
	return float64(max(r.Cost, time.Millisecond)) / float64(max(r.Bytes, 1)) / float64(max(r.Interval, time.Microsecond))
}
