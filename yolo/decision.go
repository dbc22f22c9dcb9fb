package yolo

import "time"

// A DecisionKind says what was decided about a model's place in memory.
type DecisionKind string

// The kinds of decisions.
const (
	Loaded  DecisionKind = "loaded"
	Cooled  DecisionKind = "cooled" // its pages are given back, the session stays open
	Closed  DecisionKind = "closed"
	Refused DecisionKind = "refused" // it cannot be loaded, or a request for it not be served
)

// A Cause says in a word why a Decision was made, for metrics; its Reason says it for
// people. Of Refused it is the error's Code.
type Cause string

// The causes of cooled and closed.
const (
	ForRoom    Cause = "room"        // another model is loaded or run
	OverBudget Cause = "over_budget" // more is held than the budget allows
	Unused     Cause = "unused"      // its keep-alive is over, or nothing at all is used
	Asked      Cause = "asked"       // somebody asked to unload it
	Replaced   Cause = "replaced"    // its files changed
	Removed    Cause = "removed"     // its folder is gone
)

// A Decision is one choice about a model's place in memory, and why it was made.
type Decision struct {
	Kind   DecisionKind
	Model  *Model
	Cause  Cause     // of loaded: empty
	Reason string    // a sentence fragment, safe to show
	Bytes  int64     // loaded: taken; cooled and closed: given back; refused: missing or needed, 0 where memory was not why
	Chosen Candidate // of cooled and closed: the model as the policy saw it
	Spared []Candidate
}

// A Candidate is a model in memory as the eviction policy weighs it.
type Candidate struct {
	Model  *Model
	Idle   time.Duration // since its last use
	Rate   float64       // uses a minute, as expected from the last ones
	Bytes  int64         // what closing it gives back
	Reload time.Duration // what its last load took
	Value  float64       // what being without it is expected to cost: milliseconds of loading, per MiB
	Why    string        // why it was spared or must be waited for; empty: for its value
}

// An Action changes a model's place in memory.
type Action string

// The actions, as the API names them.
const (
	Load   Action = "load"
	Unload Action = "unload"
	Pin    Action = "pin" // load and keep
	Unpin  Action = "unpin"
)

// A Plan is what an action would do, found out without doing it.
type Plan struct {
	Model    *Model
	State    State
	Prepared bool          // if not, Need is for preparing it, and what it keeps is not known
	Need     int64         // bytes while it is loaded
	Keep     int64         // bytes it holds afterwards
	Free     int64         // bytes of the budget that are free now
	Arena    int64         // bytes of arena, buffers and second sessions, which would go back before models
	Cool     []Candidate   // models whose pages would be given back
	Close    []Candidate   // models that would be closed
	Spared   []Candidate   // models that would stay
	Time     time.Duration // expected; 0: not known
	Err      error         // why it would be refused; nil: it would not
}
