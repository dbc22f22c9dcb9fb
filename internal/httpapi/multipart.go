package httpapi

import (
	"bytes"
	"strings"
)

// The limits are python-multipart's; a header's size counts its name, colon,
// leading spaces and value.
const (
	maxBoundary   = 256
	maxHeaders    = 8
	maxHeaderSize = 4096 + 128
)

// A stop ends the walk over a body without refusing it.
type stop string

func (s stop) Error() string { return string(s) }

// errEnded: the body stops in the middle of a part. It is no error to
// python-multipart: what was complete before counts.
const errEnded stop = "the multipart body ended early"

// parseMultipart gives add each complete part of a multipart body, in order,
// accepting and refusing what python-multipart 0.0.34 does under Starlette. The
// standard mime/multipart answers otherwise in a dozen cases and copies each part.
func parseMultipart(body []byte, boundary string, add func(field)) error {
	if len(boundary) > maxBoundary {
		return malformed()
	}
	m := &multipartParser{rest: body, delim: []byte("\r\n--" + boundary)}
	more, err := m.opening()
	for err == nil && more {
		var f field
		if f, err = m.header(); err != nil {
			break
		}
		if f.data, more, err = m.content(f.file); err == nil {
			add(f)
		}
	}
	if err == errEnded {
		return nil
	}
	return err
}

// malformed refuses a body as python-multipart's parse errors do.
func malformed() error { return badForm("Invalid multipart data.") }

// A multipartParser walks over a body held in memory.
type multipartParser struct {
	rest          []byte // not read yet
	delim         []byte // line break, dashes and boundary
	files, fields int
}

// opening reads the first boundary and reports whether a part follows. Before
// it may stand line breaks and then anything up to the first dash.
func (m *multipartParser) opening() (more bool, err error) {
	if len(m.rest) > 0 && (m.rest[0] == '\r' || m.rest[0] == '\n') {
		m.rest = m.rest[max(0, bytes.IndexByte(m.rest, '-')):]
	}
	first := m.delim[2:]
	switch {
	case len(m.rest) == 0 || m.rest[0] == '\r' || m.rest[0] == '\n':
		return false, errEnded
	case len(m.rest) < len(first):
		if bytes.HasPrefix(first, m.rest) {
			return false, errEnded
		}
		return false, malformed()
	case !bytes.HasPrefix(m.rest, first):
		return false, malformed()
	}
	m.rest = m.rest[len(first):]
	switch kind, n := boundaryEnd(m.rest); kind {
	case partFollows:
		m.rest = m.rest[n:]
		return true, nil
	case formEnds:
		return false, nil
	case undecided:
		return false, errEnded
	}
	return false, malformed()
}

// header reads the headers of a part: its names. Only Content-Disposition counts.
func (m *multipartParser) header() (field, error) {
	var disposition string
	for count := 0; ; count++ {
		name, value, last, err := m.headerLine(count)
		if err != nil {
			return field{}, err
		}
		if last {
			break
		}
		if lower(name) == "content-disposition" {
			disposition = value
		}
	}
	_, params := parseOptions(disposition)
	name, ok := params["name"]
	if !ok {
		return field{}, badForm(`The Content-Disposition header field "name" must be provided.`)
	}
	filename, file := params["filename"]
	if file {
		m.files++
	} else {
		m.fields++
	}
	switch {
	case m.files > maxFiles:
		return field{}, badForm("Too many files. Maximum number of files is 1000.")
	case m.fields > maxFields:
		return field{}, badForm("Too many fields. Maximum number of fields is 1000.")
	}
	return field{name: decodeText([]byte(name)), file: file, filename: decodeText([]byte(filename))}, nil
}

// headerLine reads the header with that number, or the empty line after the last.
func (m *multipartParser) headerLine(number int) (name, value string, last bool, err error) {
	if len(m.rest) == 0 {
		return "", "", false, errEnded
	}
	if m.rest[0] == '\r' {
		return "", "", true, m.lineBreak()
	}
	if number >= maxHeaders {
		return "", "", false, malformed()
	}
	colon := bytes.IndexByte(m.rest, ':')
	span := m.rest
	if colon >= 0 {
		span = m.rest[:colon]
	}
	if colon == 0 || len(span) >= maxHeaderSize || !isToken(span) {
		return "", "", false, malformed()
	}
	if colon < 0 {
		return "", "", false, errEnded
	}
	m.rest = m.rest[colon+1:]
	line := m.rest
	cr := bytes.IndexByte(line, '\r')
	if cr >= 0 {
		line = line[:cr]
	}
	if colon+1+len(line) > maxHeaderSize {
		return "", "", false, malformed()
	}
	if cr < 0 {
		return "", "", false, errEnded
	}
	m.rest = m.rest[cr:]
	return string(span), string(bytes.TrimLeft(line, " ")), false, m.lineBreak()
}

// lineBreak reads CR and LF, of which the CR is known to be there.
func (m *multipartParser) lineBreak() error {
	switch {
	case len(m.rest) < 2:
		return errEnded
	case m.rest[1] != '\n':
		return malformed()
	}
	m.rest = m.rest[2:]
	return nil
}

// content reads a part up to the next boundary and reports whether another follows.
func (m *multipartParser) content(file bool) (data []byte, more bool, err error) {
	from := 0
	for {
		i := bytes.Index(m.rest[from:], m.delim)
		if i < 0 {
			i = len(m.rest) - from
		}
		end := from + i
		after := min(end+len(m.delim), len(m.rest))
		kind, n := boundaryEnd(m.rest[after:])
		if kind == noBoundary {
			from = after + n
			continue
		}
		if !file && end > maxFieldSize {
			return nil, false, badForm("Part exceeded maximum size of 1024KB.")
		}
		data = m.rest[:end]
		m.rest = m.rest[after:]
		switch kind {
		case partFollows:
			m.rest = m.rest[n:]
			return data, true, nil
		case formEnds:
			return data, false, nil
		case padded:
			err = m.padding()
			return data, err == nil, err
		}
		return nil, false, errEnded
	}
}

// padding reads blanks up to the end of a boundary's line.
func (m *multipartParser) padding() error {
	m.rest = bytes.TrimLeft(m.rest, " \t")
	switch {
	case len(m.rest) == 0:
		return errEnded
	case m.rest[0] != '\r':
		return malformed()
	}
	return m.lineBreak()
}

// A boundaryKind says what bytes after a boundary make of it.
type boundaryKind int

const (
	noBoundary  boundaryKind = iota // data that looked like one
	partFollows                     // its line ends
	formEnds                        // two dashes
	padded                          // blanks; the line should end then
	undecided                       // the body ends first
)

// boundaryEnd judges what follows a boundary, and how many bytes of it were needed.
func boundaryEnd(b []byte) (boundaryKind, int) {
	if len(b) == 0 {
		return undecided, 0
	}
	switch b[0] {
	case ' ', '\t':
		return padded, 1
	case '\r', '-':
	default:
		return noBoundary, 0
	}
	if len(b) == 1 {
		return undecided, 1
	}
	switch string(b[:2]) {
	case "\r\n":
		return partFollows, 2
	case "--":
		return formEnds, 2
	}
	return noBoundary, 1
}

// isToken reports whether b has only characters that RFC 9110 lets a header name have.
func isToken(b []byte) bool {
	for _, c := range b {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return true
}
