package convert

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"lazyolo/internal/torch"
)

// maxNested and maxText bound what is put into the metadata.
const (
	maxNested = 8
	maxText   = 1 << 16
)

// python writes a value as Python's repr does. What it cannot write is None.
func python(v any) string {
	var b strings.Builder
	repr(&b, v, 0)
	return b.String()
}

func repr(b *strings.Builder, v any, depth int) {
	if depth > maxNested || b.Len() > maxText {
		b.WriteString("None")
		return
	}
	sequence := func(open, end string, list []any) {
		b.WriteString(open)
		for i, item := range list {
			if i > 0 {
				b.WriteString(", ")
			}
			repr(b, item, depth+1)
		}
		b.WriteString(end)
	}
	switch v := v.(type) {
	case bool:
		b.WriteString(map[bool]string{true: "True", false: "False"}[v])
	case int64:
		b.WriteString(strconv.FormatInt(v, 10))
	case float64:
		b.WriteString(float(v))
	case string:
		b.WriteString(quote(v))
	case *torch.List:
		sequence("[", "]", v.Items)
	case torch.Tuple:
		end := ")"
		if len(v) == 1 {
			end = ",)"
		}
		sequence("(", end, v)
	case *torch.Dict:
		b.WriteString("{")
		for i := range v.Len() {
			if i > 0 {
				b.WriteString(", ")
			}
			key, value := v.At(i)
			repr(b, key, depth+1)
			b.WriteString(": ")
			repr(b, value, depth+1)
		}
		b.WriteString("}")
	default:
		b.WriteString("None")
	}
}

func float(f float64) string {
	s := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(s, ".eIN") {
		s += ".0"
	}
	return s
}

// quote writes a string literal: in single quotes unless that would need a
// backslash and double quotes would not.
func quote(s string) string {
	mark := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		mark = '"'
	}
	var b strings.Builder
	b.WriteByte(mark)
	for _, r := range s {
		switch {
		case r == rune(mark) || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(r) && r != utf8.RuneError:
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteByte(mark)
	return b.String()
}

// describeInts writes a list of ints.
func describeInts(v []int64) string {
	items := make([]any, len(v))
	for i, n := range v {
		items[i] = n
	}
	return python(&torch.List{Items: items})
}
