package detect

import (
	"strconv"
	"strings"

	"lazyolo/yolo"
)

// names are a model's class names: labels.yaml's, then the file's own.
type names struct{ labels, own yolo.Labels }

// of names a class; one that nobody names is its number.
func (n names) of(class int) string {
	if s, ok := n.labels[class]; ok {
		return s
	}
	if s, ok := n.own[class]; ok {
		return s
	}
	return strconv.Itoa(class)
}

// parseNames reads the names in Ultralytics' metadata: the text of a Python dict
// of int to str, such as {0: 'person', 1: "driver's cab"}. What is not of that
// form is skipped.
func parseNames(s string) yolo.Labels {
	out := make(yolo.Labels)
	for s != "" {
		class, rest, ok := pythonKey(s)
		if !ok {
			break
		}
		name, after, ok := pythonString(rest)
		if !ok {
			break
		}
		out[class] = name
		s = after
	}
	return out
}

// parseNameLists reads keypoint names: the text of a dict of int to list of str,
// such as {0: ['nose', 'tail']}, by class.
func parseNameLists(s string) [][]string {
	var out [][]string
	for s != "" {
		class, rest, ok := pythonKey(s)
		if !ok || class > 1<<12 || !strings.HasPrefix(rest, "[") {
			break
		}
		var list []string
		for {
			name, after, ok := pythonString(strings.TrimLeft(rest, "[, \t\n"))
			if !ok {
				break
			}
			list, rest = append(list, name), after
		}
		for len(out) <= class {
			out = append(out, nil)
		}
		out[class] = list
		_, s, _ = strings.Cut(rest, "]")
	}
	return out
}

// pythonKey reads the int key that s begins with, after a dict's punctuation, and
// returns what follows its colon.
func pythonKey(s string) (key int, rest string, ok bool) {
	text, rest, ok := strings.Cut(s, ":")
	key, err := strconv.Atoi(strings.Trim(text, "{, \t\n"))
	return key, strings.TrimLeft(rest, " \t\n"), ok && err == nil && key >= 0
}

// pythonString reads the string literal that s begins with, as repr writes it.
func pythonString(s string) (value, rest string, ok bool) {
	if s == "" || s[0] != '\'' && s[0] != '"' {
		return "", s, false
	}
	quote := s[0]
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == quote:
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s):
			i++
			if c, known := map[byte]byte{'n': '\n', 't': '\t', 'r': '\r'}[s[i]]; known {
				b.WriteByte(c)
			} else {
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(s[i])
		}
	}
	return "", s, false
}
