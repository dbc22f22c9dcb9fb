package yolo

import "time"

// A State is a point in a model's life; the zero value is Unloaded.
type State uint8

// The states. Only a Ready model is lent out; a Draining one still serves the
// leases it has.
const (
	Unloaded State = iota
	Queued         // waits for memory or for its turn to be loaded
	Loading        // being prepared or opened
	Ready
	Draining
	Failed // the last load failed; not tried again before its backoff is over
)

// String returns the state's name in answers, metrics and logs.
func (s State) String() string {
	return [...]string{"unloaded", "queued", "loading", "ready", "draining", "failed"}[s]
}

// A Transition reports one change of State. Transitions are reported in order,
// never concurrently.
type Transition struct {
	Model    *Model
	From, To State
	Used     int64 // bytes charged to the budget at that moment
	Err      error // why, for Failed
}

// A Status is what a server knows of one model at one moment. Sizes are bytes.
type Status struct {
	Model           *Model
	State           State
	Warm            bool  // its weights are in memory; false for an open model means cooled
	Pinned          bool  // neither cooled nor closed to make room
	Speculative     bool  // loaded ahead of a use that has not come yet; closed first when room is needed
	Mapped, Private int64 // what it holds now
	Leases          int   // requests that use it
	Waiting         int   // callers that wait for it
	Hits            int64 // uses since the start
	Loads           int64
	Evictions       int64 // times it was closed to make room
	LastUsed        time.Time
	Expires         time.Time     // when its keep-alive ends; zero: not running
	LoadTook        time.Duration // of the last load
	RunTook         time.Duration // of the last run; 0: none yet
	// Ran is what runs took of the memory that all share, in bytes, by the pixels of
	// their input, as far as known. It must not be changed.
	Ran map[int64]int64
	Err error // of the last failed load
}
