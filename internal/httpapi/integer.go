package httpapi

import (
	"strings"
	"unicode"
)

// maxDigits is where CPython, and so pydantic, stops reading an integer.
const maxDigits = 4300

// An intProblem says why a text is no integer.
type intProblem int

const (
	intOK     intProblem = iota
	intSyntax            // not a whole number
	intSize              // too many digits
)

// parseInt reads a whole number as pydantic reads one from a text: space around
// it, a sign, leading zeros, single underscores between digits and a fraction of
// zeros are all right. It returns the shortest decimal form, of any size.
func parseInt(s string) (string, intProblem) {
	s = strings.TrimFunc(s, unicode.IsSpace)
	minus := strings.HasPrefix(s, "-")
	if minus || strings.HasPrefix(s, "+") {
		s = s[1:]
	}
	if whole, zeros, ok := strings.Cut(s, "."); ok {
		if zeros == "" || strings.Trim(zeros, "0") != "" {
			return "", intSyntax
		}
		s = whole
	}
	digits := make([]byte, 0, len(s))
	for group := range strings.SplitSeq(s, "_") {
		if group == "" || strings.Trim(group, "0123456789") != "" {
			return "", intSyntax
		}
		digits = append(digits, group...)
	}
	n := strings.TrimLeft(string(digits), "0")
	switch {
	case len(n) > maxDigits:
		return "", intSize
	case n == "":
		return "0", intOK
	case minus:
		return "-" + n, intOK
	}
	return n, intOK
}
