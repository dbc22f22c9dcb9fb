package yolo

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Code says what kind of failure an Error is; each door maps it to its own
// status (see docs/en/architecture.md, "Errors at the doors").
type Code string

// The codes. Internal is also what any error without a code counts as.
const (
	Invalid     Code = "invalid"     // a bad field or tensor, an undecodable picture
	Unsupported Code = "unsupported" // a media type, task or element type lazyolo does not serve
	TooLarge    Code = "too_large"   // body or pixels over the limit
	NotFound    Code = "not_found"   // the id is not in the catalog
	Overloaded  Code = "overloaded"  // a queue is full: back off, same replica
	NoRoom      Code = "no_room"     // it would fit, but what is in memory may not give way
	TooBig      Code = "too_big"     // larger than the whole budget
	LoadFailed  Code = "load_failed" // the model cannot be opened
	Unavailable Code = "unavailable" // starting or stopping: try another replica
	Deadline    Code = "deadline"    // the time allowed ended
	Canceled    Code = "canceled"    // the caller left
	Conflict    Code = "conflict"    // the state of what is to be changed does not allow it
	Denied      Code = "denied"      // no key, or none that is known
	Forbidden   Code = "forbidden"   // the key, or who has none, may not do this
	Internal    Code = "internal"    // anything else; its text stays in the log
)

// An Error is what crosses a package boundary toward a client: Msg is safe to
// show, Err is for the log.
type Error struct {
	Code  Code
	Model string        // the model's id, if one was named
	Msg   string        // complete sentence fragment, lower case, no trailing stop
	Retry time.Duration // > 0: when to try again
	Final bool          // the same will not succeed until a file changes
	Err   error         // the cause; may be nil
}

// Error returns the message and the cause, for logs.
func (e *Error) Error() string {
	s := e.Msg
	if e.Model != "" {
		s = e.Model + ": " + s
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error whose message is safe to show to a client.
func Errorf(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Msg: fmt.Sprintf(format, args...)}
}

// CodeOf returns the code of the first Error in err's chain; a context's end is
// Deadline or Canceled, anything else Internal. It must not be given nil.
func CodeOf(err error) Code {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Code
	case errors.Is(err, context.DeadlineExceeded):
		return Deadline
	case errors.Is(err, context.Canceled):
		return Canceled
	}
	return Internal
}
