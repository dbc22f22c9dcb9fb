package httpapi

import (
	"bytes"
	"strings"
)

// parseURLEncoded gives add each field of an urlencoded body. It can hold no
// file, so detection always refuses it; what it holds shapes the answer.
func parseURLEncoded(body []byte, add func(field)) error {
	count := 0
	for pair := range bytes.SplitSeq(body, []byte("&")) {
		if len(pair) == 0 {
			continue
		}
		name, value, _ := bytes.Cut(pair, []byte("="))
		if len(name)+len(value) > maxFieldSize {
			return badForm("Field exceeded maximum size of 1024KB.")
		}
		if count++; count > maxFields {
			return badForm("Too many fields. Maximum number of fields is 1000.")
		}
		add(field{name: unquotePlus(name), data: []byte(unquotePlus(value))})
	}
	return nil
}

// unquotePlus is Python's urllib.parse.unquote_plus over Latin-1: a plus is a
// space, %XX are bytes of UTF-8, a wrong %XX stays, and a raw byte beyond ASCII
// is the character with that number.
func unquotePlus(b []byte) string {
	var out strings.Builder
	var run []byte // decoded ASCII and %XX, not yet read as UTF-8
	flush := func() {
		for _, r := range string(run) { // a wrong byte becomes U+FFFD
			out.WriteRune(r)
		}
		run = run[:0]
	}
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c >= 0x80:
			flush()
			out.WriteRune(rune(c))
		case c == '+':
			run = append(run, ' ')
		case c == '%' && i+2 < len(b) && hexDigit(b[i+1]) >= 0 && hexDigit(b[i+2]) >= 0:
			run = append(run, byte(hexDigit(b[i+1])<<4|hexDigit(b[i+2])))
			i += 2
		default:
			run = append(run, c)
		}
	}
	flush()
	return out.String()
}

// hexDigit returns the value of a hexadecimal digit, or -1.
func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
