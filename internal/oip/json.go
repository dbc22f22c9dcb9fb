package oip

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf8"
	"unsafe"

	"lazyolo/yolo"
)

// A scanner walks over JSON where it lies: encoding/json would take many times the
// memory of a body that is made for it. Its methods must not be called after one failed.
type scanner struct {
	b     []byte
	at    int
	depth int
}

// Bounds of what a scanner reads.
const (
	maxDepth      = 32
	maxText       = 64 << 10 // bytes of a name, an id or a parameter
	maxParameters = 64       // of an object
)

// wrong is a refusal with where it stands.
func (s *scanner) wrong(format string, args ...any) error {
	e := yolo.Errorf(yolo.Invalid, format, args...)
	e.Msg += " (at byte " + strconv.Itoa(s.at) + " of the JSON)"
	return e
}

// next skips white space and returns the byte that follows; 0: none does.
func (s *scanner) next() byte {
	for s.at < len(s.b) {
		switch c := s.b[s.at]; c {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return c
		}
	}
	return 0
}

func (s *scanner) expect(c byte) error {
	if s.next() != c {
		return s.wrong("expected %q", string(c))
	}
	s.at++
	return nil
}

// end refuses what follows the value.
func (s *scanner) end() error {
	if s.next() != 0 || s.at < len(s.b) {
		return s.wrong("something follows the end of the request")
	}
	return nil
}

// list walks over an array or object between two brackets.
func (s *scanner) list(open, end byte, each func() error) error {
	if err := s.expect(open); err != nil {
		return err
	}
	if s.depth++; s.depth > maxDepth {
		return s.wrong("nested more than %d deep", maxDepth)
	}
	for first := true; ; first = false {
		switch c := s.next(); {
		case c == end && first:
		case !first && c == ',':
			s.at++
			fallthrough
		case first:
			if err := each(); err != nil {
				return err
			}
			continue
		case c != end:
			return s.wrong("expected %q or %q", ",", string(end))
		}
		s.at++
		s.depth--
		return nil
	}
}

// object walks over an object; each reads the value of a key.
func (s *scanner) object(each func(key string) error) error {
	return s.list('{', '}', func() error {
		key, err := s.text()
		if err == nil {
			err = s.expect(':')
		}
		if err != nil {
			return err
		}
		return each(key)
	})
}

func (s *scanner) array(each func() error) error { return s.list('[', ']', each) }

// raw steps over a string and returns it as it was written, without its quotes.
func (s *scanner) raw() (text []byte, escaped bool, err error) {
	if err := s.expect('"'); err != nil {
		return nil, false, err
	}
	for from := s.at; s.at < len(s.b); s.at++ {
		switch c := s.b[s.at]; {
		case c == '"':
			s.at++
			return s.b[from : s.at-1], escaped, nil
		case c == '\\':
			escaped = true
			s.at++
		case c < ' ':
			return nil, false, s.wrong("a control character in a string")
		}
	}
	s.at = len(s.b)
	return nil, false, s.wrong("a string does not end")
}

// text reads a short string.
func (s *scanner) text() (string, error) {
	from := s.at
	raw, escaped, err := s.raw()
	switch {
	case err != nil:
		return "", err
	case len(raw) > maxText:
		s.at = from
		return "", s.wrong("a string is longer than %d bytes", maxText)
	case !utf8.Valid(raw):
		s.at = from
		return "", s.wrong("a string is not UTF-8")
	case !escaped:
		return string(raw), nil
	}
	var out string
	if err := json.Unmarshal(s.b[s.at-len(raw)-2:s.at], &out); err != nil {
		s.at = from
		return "", s.wrong("a string has a wrong escape")
	}
	return out, nil
}

// number steps over a number and returns it as it was written. The result lies in the JSON.
func (s *scanner) number() (string, error) {
	s.next()
	from := s.at
	if s.at < len(s.b) && s.b[s.at] == '-' {
		s.at++
	}
	whole := s.digits()
	ok := whole == 1 || whole > 1 && s.b[s.at-whole] != '0'
	if ok && s.at < len(s.b) && s.b[s.at] == '.' {
		s.at++
		ok = s.digits() > 0
	}
	if ok && s.at < len(s.b) && (s.b[s.at] == 'e' || s.b[s.at] == 'E') {
		s.at++
		if s.at < len(s.b) && (s.b[s.at] == '+' || s.b[s.at] == '-') {
			s.at++
		}
		ok = s.digits() > 0
	}
	if !ok {
		s.at = from
		return "", s.wrong("expected a number")
	}
	return unsafe.String(&s.b[from], s.at-from), nil
}

// digits steps over digits and counts them.
func (s *scanner) digits() (n int) {
	for s.at < len(s.b) && '0' <= s.b[s.at] && s.b[s.at] <= '9' {
		s.at++
		n++
	}
	return n
}

// int64 reads a whole number.
func (s *scanner) int64() (int64, error) {
	s.next()
	from := s.at
	text, err := s.number()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		s.at = from
		return 0, s.wrong("expected a whole number below 2^63")
	}
	return n, nil
}

// word steps over true, false or null.
func (s *scanner) word(w string) error {
	if s.next(); len(s.b)-s.at < len(w) || string(s.b[s.at:s.at+len(w)]) != w {
		return s.wrong("expected a value")
	}
	s.at += len(w)
	return nil
}

// skip steps over any value.
func (s *scanner) skip() (err error) {
	switch c := s.next(); c {
	case '{':
		return s.object(func(string) error { return s.skip() })
	case '[':
		return s.array(s.skip)
	case '"':
		_, _, err = s.raw()
	case 't':
		err = s.word("true")
	case 'f':
		err = s.word("false")
	case 'n':
		err = s.word("null")
	default:
		_, err = s.number()
	}
	return err
}

// null reports whether a null follows, and steps over it.
func (s *scanner) null() bool { return s.next() == 'n' && s.word("null") == nil }

// scalar reads a parameter: a bool, int64, float64 or string. Of a list of class numbers
// it makes a text; nil: a null, or a list or object that nobody asks for.
func (s *scanner) scalar() (any, error) {
	switch c := s.next(); c {
	case '"':
		return s.text()
	case 't':
		return true, s.word("true")
	case 'f':
		return false, s.word("false")
	case '[':
		from := s.at
		if err := s.skip(); err != nil {
			return nil, err
		}
		if s.at-from > maxText {
			return nil, s.wrong("a parameter is longer than %d bytes", maxText)
		}
		return string(s.b[from:s.at]), nil
	case '{', 'n':
		return nil, s.skip()
	}
	from := s.at
	text, err := s.number()
	if err != nil {
		return nil, err
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(f, 0) {
		s.at = from
		return nil, s.wrong("a number is too large")
	}
	return f, nil
}

// parameters reads an object of scalars.
func (s *scanner) parameters() (map[string]any, error) {
	if s.null() {
		return nil, nil
	}
	out := make(map[string]any)
	return out, s.object(func(key string) error {
		if len(out) == maxParameters {
			return s.wrong("there are more than %d parameters", maxParameters)
		}
		v, err := s.scalar()
		if v != nil {
			out[key] = v
		}
		return err
	})
}

// floats reads numbers, flat or nested, into dst, which they must fill.
func (s *scanner) floats(dst []float32) error {
	n := 0
	var value func() error
	value = func() error {
		if s.next() == '[' {
			return s.array(value)
		}
		from := s.at
		text, err := s.number()
		if err != nil {
			return err
		}
		if n == len(dst) {
			s.at = from
			return s.wrong("data has more than the %d values that the shape takes", len(dst))
		}
		f, err := strconv.ParseFloat(text, 32)
		if err != nil {
			s.at = from
			return s.wrong("a number is too large for FP32")
		}
		dst[n] = float32(f)
		n++
		return nil
	}
	if err := s.array(value); err != nil {
		return err
	}
	if n < len(dst) {
		return s.wrong("data has %d values, the shape takes %d", n, len(dst))
	}
	return nil
}

// base64s reads texts of base64, flat or nested, decoding each in its place.
func (s *scanner) base64s(most int) (out [][]byte, err error) {
	var value func() error
	value = func() error {
		if s.next() == '[' {
			return s.array(value)
		}
		from := s.at
		raw, escaped, err := s.raw()
		if err != nil {
			return err
		}
		if len(out) == most {
			s.at = from
			return s.wrong("data has more than the %d values that the shape takes", most)
		}
		if escaped { // some encoders escape the slash
			kept := raw[:0]
			for i, c := range raw {
				if c != '\\' || i+1 < len(raw) && raw[i+1] != '/' {
					kept = append(kept, c)
				}
			}
			raw = kept
		}
		n, err := base64.StdEncoding.Decode(raw, raw)
		if err != nil {
			s.at = from
			return s.wrong("a picture in JSON must be base64; without, send it as binary data")
		}
		out = append(out, raw[:n])
		return nil
	}
	return out, s.array(value)
}
