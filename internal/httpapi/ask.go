package httpapi

import (
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"lazyolo/yolo"
)

// An asker reads the options of a detection, from the form or, where it has none
// of the name, from the URL's query, and gathers complaints. Values are read and
// refused as FastAPI and pydantic do; an empty one counts as not given.
type asker struct {
	form *form
	bad  []fieldError
	to   *asker // gets the complaints; nil: this one
}

func (a *asker) complain(e fieldError) {
	if a.to != nil {
		a = a.to
	}
	a.bad = append(a.bad, e)
}

// shadowed reads the options of the query that the form has, too, and complains to a.
func (a *asker) shadowed() *asker {
	q := make(url.Values)
	for name := range a.form.fields {
		if texts := a.form.query[name]; len(texts) > 0 && !a.form.last(name).absent() {
			q[name] = texts
		}
	}
	return &asker{form: &form{query: q}, to: a}
}

// text returns an option as it was written, and where. A file in its place is
// refused with kind and msg.
func (a *asker) text(name, kind, msg string) (text string, loc []any, ok bool) {
	if p := a.form.last(name); !p.absent() {
		if p.file {
			a.complain(*p.notText(kind, msg))
			return "", nil, false
		}
		return decodeText(p.data), at(name), true
	}
	if all := a.form.query[name]; len(all) > 0 && all[len(all)-1] != "" {
		return all[len(all)-1], []any{"query", name}, true
	}
	return "", nil, false
}

// float reads a number in from..to; nil: not given.
func (a *asker) float(name string, from, to float64) *float64 {
	text, loc, ok := a.text(name, "float_type", "Input should be a valid number")
	if !ok {
		return nil
	}
	v, err := strconv.ParseFloat(strings.TrimFunc(text, unicode.IsSpace), 64)
	if err != nil && !math.IsInf(v, 0) || strings.ContainsAny(text, "xX_") {
		a.complain(fieldError{
			Type: "float_parsing", Loc: loc, Input: text,
			Msg: "Input should be a valid number, unable to parse string as a number",
		})
		return nil
	}
	if !a.within(v, from, to, text, loc) {
		return nil
	}
	return &v
}

// within complains about a value outside from..to.
func (a *asker) within(v, from, to float64, text string, loc []any) bool {
	e := fieldError{Loc: loc, Input: text}
	switch {
	case v < from:
		e.Type, e.Ctx = "greater_than_equal", map[string]float64{"ge": from}
		e.Msg = "Input should be greater than or equal to " + decimal(from)
	case !(v <= to): // NaN too
		e.Type, e.Ctx = "less_than_equal", map[string]float64{"le": to}
		e.Msg = "Input should be less than or equal to " + decimal(to)
	default:
		return true
	}
	a.complain(e)
	return false
}

// decimal writes a number without an exponent.
func decimal(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// int reads a whole number in from..to; 0: not given.
func (a *asker) int(name string, from, to int) int {
	text, loc, ok := a.text(name, "int_type", "Input should be a valid integer")
	if !ok {
		return 0
	}
	return a.whole(text, loc, from, to)
}

// whole reads one whole number in from..to; 0: it was refused.
func (a *asker) whole(text string, loc []any, from, to int) int {
	digits, bad := wholeNumber(text, loc)
	if bad != nil {
		a.complain(*bad)
		return 0
	}
	v, _ := strconv.ParseFloat(digits, 64) // infinite where it is too long for a float
	if !a.within(v, float64(from), float64(to), text, loc) {
		return 0
	}
	return int(v)
}

// maxClass bounds a class number; no model has so many.
const maxClass = 1 << 20

// ints reads whole numbers, separated by commas or given one by one; nil: none.
func (a *asker) ints(name string) []int {
	place, texts := "query", a.form.query[name]
	if fields := a.form.fields[name]; len(fields) > 0 {
		place, texts = "body", nil
		for _, p := range fields {
			if p.file {
				a.complain(*p.notText("int_type", "Input should be a valid integer"))
				continue
			}
			texts = append(texts, decodeText(p.data))
		}
	}
	var out []int
	i := 0
	for _, text := range texts {
		text = strings.TrimFunc(text, unicode.IsSpace)
		if inner, ok := bracketed(text); ok { // a JSON or Python list
			text = inner
		}
		if text == "" {
			continue
		}
		for part := range strings.SplitSeq(text, ",") {
			out = append(out, a.whole(part, []any{place, name, i}, 0, maxClass))
			i++
		}
	}
	return out
}

// bracketed takes a pair of square brackets off; false: there is none.
func bracketed(text string) (string, bool) {
	inner, opened := strings.CutPrefix(text, "[")
	inner, closed := strings.CutSuffix(inner, "]")
	return inner, opened && closed
}

// yes is bool where nothing means no.
func (a *asker) yes(name string) bool {
	b := a.bool(name)
	return b != nil && *b
}

// bool reads yes or no as pydantic does; nil: not given.
func (a *asker) bool(name string) *bool {
	text, loc, ok := a.text(name, "bool_type", "Input should be a valid boolean")
	if !ok {
		return nil
	}
	switch strings.ToLower(text) {
	case "1", "true", "t", "yes", "y", "on":
		return new(true)
	case "0", "false", "f", "no", "n", "off":
		return new(false)
	}
	a.complain(fieldError{
		Type: "bool_parsing", Loc: loc, Input: text,
		Msg: "Input should be a valid boolean, unable to interpret input",
	})
	return nil
}

// keepAlive reads how long the model may stay in memory unused; nil: not given.
func (a *asker) keepAlive(name string) *time.Duration {
	const msg = "Input should be " + yolo.KeepAliveAccepts
	text, loc, ok := a.text(name, "time_delta_type", msg)
	if !ok {
		return nil
	}
	d, ok := yolo.ParseKeepAlive(text)
	if !ok {
		a.complain(fieldError{Type: "time_delta_parsing", Loc: loc, Input: text, Msg: msg})
		return nil
	}
	return &d
}

// choice reads one of several words, and where it stands; not given: the first.
func (a *asker) choice(name string, words ...string) (word string, loc []any) {
	text, loc, ok := a.text(name, "literal_error", "Input should be "+oneOf(words))
	if !ok {
		return words[0], nil
	}
	if !slices.Contains(words, text) {
		a.complain(fieldError{
			Type: "literal_error", Loc: loc, Input: text, Msg: "Input should be " + oneOf(words),
			Ctx: map[string]string{"expected": oneOf(words)},
		})
	}
	return text, loc
}

// oneOf lists words as pydantic does: 'a', 'b' or 'c'.
func oneOf(words []string) string {
	s := "'" + strings.Join(words, "', '") + "'"
	if len(words) < 2 {
		return s
	}
	at := strings.LastIndex(s, ", ")
	return s[:at] + " or " + s[at+2:]
}
