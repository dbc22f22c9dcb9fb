package oip

import (
	"errors"

	"lazyolo/yolo"
)

// Message is what a caller may be told of an error.
func Message(err error) string {
	var e *yolo.Error
	if errors.As(err, &e) && e.Msg != "" && e.Code != yolo.Internal {
		return e.Msg
	}
	switch yolo.CodeOf(err) {
	case yolo.Deadline:
		return "the time allowed ended"
	case yolo.Canceled:
		return "the caller left"
	}
	return "internal error"
}

// HasID reports whether answers about such an error carry an id.
func HasID(c yolo.Code) bool {
	switch c {
	case yolo.LoadFailed, yolo.Unavailable, yolo.NoRoom, yolo.TooBig, yolo.Deadline, yolo.Internal:
		return true
	}
	return false
}
