package roboflow

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"lazyolo/yolo"
)

// Requests are read without copying them: most of a request is one string, the
// picture. What follows walks over JSON that json.Valid has passed, which also
// bounds how deep it is nested.

// members gives do each member of an object, its value as it stands there.
func members(object []byte, do func(key string, value []byte) error) error {
	rest := space(object[1:])
	for rest[0] != '}' {
		key := rest[:length(rest)]
		rest = space(space(rest[len(key):])[1:]) // the colon
		value := rest[:length(rest)]
		if err := do(text(key), value); err != nil {
			return err
		}
		if rest = space(rest[len(value):]); rest[0] == ',' {
			rest = space(rest[1:])
		}
	}
	return nil
}

// elements gives do each element of an array.
func elements(array []byte, do func(value []byte) error) error {
	rest := space(array[1:])
	for rest[0] != ']' {
		value := rest[:length(rest)]
		if err := do(value); err != nil {
			return err
		}
		if rest = space(rest[len(value):]); rest[0] == ',' {
			rest = space(rest[1:])
		}
	}
	return nil
}

// space skips white space.
func space(b []byte) []byte { return bytes.TrimLeft(b, " \t\r\n") }

// length is how many bytes the value at the beginning of b takes.
func length(b []byte) int {
	switch b[0] {
	case '"':
		return stringLength(b)
	case '{', '[':
	default: // a number or a word ends at the next mark
		if n := bytes.IndexAny(b, ",]} \t\r\n"); n >= 0 {
			return n
		}
		return len(b)
	}
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i += stringLength(b[i:]) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(b)
}

// stringLength is how many bytes the string at the beginning of b takes.
func stringLength(b []byte) int {
	at := 1
	for {
		n := bytes.IndexByte(b[at:], '"')
		if n < 0 {
			return len(b)
		}
		slashes := 0
		for end := at + n; b[end-1-slashes] == '\\'; slashes++ {
		}
		at += n + 1
		if slashes%2 == 0 {
			return at
		}
	}
}

// text is the content of a string.
func text(value []byte) string { return string(inside(value)) }

// inside is the content of a string: a part of value, unless it has escapes.
func inside(value []byte) []byte {
	if bytes.IndexByte(value, '\\') < 0 {
		return value[1 : len(value)-1]
	}
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		return nil
	}
	return []byte(s)
}

func isNull(value []byte) bool   { return value[0] == 'n' }
func isString(value []byte) bool { return value[0] == '"' }

// wrong complains about a field.
func wrong(field, format string, args ...any) error {
	return yolo.Errorf(yolo.Invalid, "%s %s", field, fmt.Sprintf(format, args...))
}

// number reads a number in from..to; nil: null.
func number(field string, value []byte, from, to float64) (*float64, error) {
	if isNull(value) {
		return nil, nil
	}
	v, err := strconv.ParseFloat(string(value[:min(len(value), maxNumber)]), 64)
	if err != nil || len(value) > maxNumber || !(v >= from && v <= to) {
		return nil, wrong(field, "must be a number from %v to %v", from, to)
	}
	return &v, nil
}

// maxNumber is how many characters a number may have.
const maxNumber = 64

// whole reads a whole number in from..to; 0: null.
func whole(field string, value []byte, from, to int) (int, error) {
	v, err := number(field, value, float64(from), float64(to))
	if err != nil || v != nil && *v != math.Trunc(*v) {
		return 0, wrong(field, "must be a whole number from %d to %d", from, to)
	}
	if v == nil {
		return 0, nil
	}
	return int(*v), nil
}

// truth reads true or false; null is false.
func truth(field string, value []byte) (bool, error) {
	switch string(value[:min(len(value), 5)]) {
	case "true":
		return true, nil
	case "false", "null":
		return false, nil
	}
	return false, wrong(field, "must be true or false")
}

// word reads a string of at most maxWord bytes; "": null.
func word(field string, value []byte) (string, error) {
	switch {
	case isNull(value):
		return "", nil
	case !isString(value) || len(value) > maxWord:
		return "", wrong(field, "must be a text of at most %d bytes", maxWord)
	}
	return text(value), nil
}

// maxWord is how long a name in a request may be.
const maxWord = 1024
