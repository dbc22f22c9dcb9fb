package yolo

// A Scope is what somebody must be allowed to do for a call to be taken.
type Scope uint8

// From little to much; none includes another.
const (
	Open  Scope = iota // nothing: whether the server lives, and how it is used
	Read               // see what is served and how it does
	Infer              // have a model run
	Admin              // change what is in memory
)

// String returns the name that settings use.
func (s Scope) String() string { return [...]string{"open", "read", "infer", "admin"}[s] }
