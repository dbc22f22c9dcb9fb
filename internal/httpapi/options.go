package httpapi

import "strings"

// parseOptions splits a header such as `form-data; name="file"` into its lower-case
// value and its parameters, as python-multipart does: the last of two equal names
// wins, `name*=` (RFC 5987) is ignored as RFC 7578 wants, bytes stay as they are.
func parseOptions(header string) (string, map[string]string) {
	value, rest, found := cutParam(header)
	if !found {
		return lower(strings.Trim(value, " \t")), nil
	}
	params := make(map[string]string)
	for found {
		var p string
		p, rest, found = cutParam(rest)
		key, val, _ := strings.Cut(p, "=")
		key = lower(strings.Trim(key, " \t"))
		val = unquote(strings.Trim(val, " \t"))
		if strings.Contains(key, "*") {
			continue
		}
		if key == "filename" && (len(val) > 2 && val[1:3] == `:\` || strings.HasPrefix(val, `\\`)) {
			val = val[strings.LastIndexByte(val, '\\')+1:] // IE sent the whole path
		}
		params[key] = val
	}
	return lower(strings.Trim(value, " \t")), params
}

// cutParam cuts s at its first semicolon outside of quotes.
func cutParam(s string) (before, after string, found bool) {
	quoted := false
	for i := range len(s) {
		switch {
		case s[i] == '"' && (i == 0 || s[i-1] != '\\'):
			quoted = !quoted
		case s[i] == ';' && !quoted:
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// unquote takes the quotes off a parameter and the backslashes out.
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	return strings.ReplaceAll(strings.ReplaceAll(s[1:len(s)-1], `\\`, `\`), `\"`, `"`)
}

// lower lowers ASCII letters only: a parameter's bytes are not always UTF-8.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
