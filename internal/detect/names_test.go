package detect

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"lazyolo/yolo"
)

func TestParseNames(t *testing.T) {
	tests := map[string]yolo.Labels{
		"":                                     {},
		"{}":                                   {},
		"{0: 'person', 1: '明火'}":               {0: "person", 1: "明火"},
		`{0: "driver's cab", 3: 'a: b, {c}'}`:  {0: "driver's cab", 3: "a: b, {c}"},
		`{0: 'it\'s "x"', 1: 'back\\slash\n'}`: {0: `it's "x"`, 1: "back\\slash\n"},
		"{0: 'person', 1: unquoted}":           {0: "person"},
		"{0: 'open":                            {},
		"{-1: 'x'}":                            {},
		"['a', 'b']":                           {},
	}
	for in, want := range tests {
		if d := cmp.Diff(want, parseNames(in)); d != "" {
			t.Errorf("%s: %s", in, d)
		}
	}
}

func TestLabelsWinOverTheFilesNames(t *testing.T) {
	n := names{yolo.Labels{0: "fire"}, yolo.Labels{0: "x", 1: "smoke"}}
	for class, want := range map[int]string{0: "fire", 1: "smoke", 2: "2"} {
		if got := n.of(class); got != want {
			t.Errorf("class %d: got %q, want %q", class, got, want)
		}
	}
}

func TestParseNameLists(t *testing.T) {
	tests := map[string][][]string{
		"":                                      nil,
		"{0: ['nose', 'it\\'s'], 2: [\"a]b\"]}": {{"nose", "it's"}, nil, {"a]b"}},
		"{0: []}":                               {nil},
		"{0: 'nose'}":                           nil,
		"{0: ['nose', 'open":                    {{"nose"}},
		"{99999: ['x']}":                        nil,
	}
	for in, want := range tests {
		if d := cmp.Diff(want, parseNameLists(in)); d != "" {
			t.Errorf("%s: %s", in, d)
		}
	}
}

func FuzzParseNames(f *testing.F) {
	f.Add("{0: 'person', 1: \"driver's\"}")
	f.Add("{0: ['nose', 'tail']}")
	f.Fuzz(func(t *testing.T, s string) { parseNames(s); parseNameLists(s) })
}
