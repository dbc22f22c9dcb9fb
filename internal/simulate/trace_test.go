package simulate_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lazyolo/internal/simulate"
)

const small = `{"models": [{"id": "a", "bytes": 100, "load_ms": 10}, {"id": "b", "bytes": 300, "load_ms": 20}]}
`

func TestRead(t *testing.T) {
	got, err := simulate.Read(strings.NewReader(small + `{"t": 100.5, "model": "a"}

{"t": 101, "model": "b"}
{"models": [{"id": "a", "bytes": 120, "load_ms": 10}, {"id": "c", "bytes": 5, "load_ms": 0}]}
{"t": 7, "model": "c"}
{"t": 9, "model": "a"}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := &simulate.Trace{
		Models: []simulate.Model{{ID: "a", Bytes: 120, LoadMS: 10}, {ID: "b", Bytes: 300, LoadMS: 20}, {ID: "c", Bytes: 5}},
		Accesses: []simulate.Access{
			{0, 0}, {500 * time.Millisecond, 1}, {500 * time.Millisecond, 2}, {2500 * time.Millisecond, 0},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestReadErrors(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "line 1: the trace ends without a use"},
		{"header only", small, "line 2: the trace ends without a use"},
		{"no JSON", small + "a,b\n", "line 2: not a JSON object of a trace"},
		{"an array", "[]\n", "line 1: not a JSON object"},
		{"two in a line", small + `{"t":1,"model":"a"} {"t":2,"model":"a"}`, "line 2: more than one"},
		{"unknown field", small + `{"t":1,"model":"a","x":1}`, "line 2: not a JSON object of a trace"},
		{"unknown model", small + "\n" + `{"t":1,"model":"c"}`, `line 3: model "c" is in no header`},
		{"no t", small + `{"model":"a"}`, "line 2: a use has no t"},
		{"huge t", small + `{"t":1e300,"model":"a"}`, "line 2: t 1e+300 is no time"},
		{"back in time", small + `{"t":2,"model":"a"}` + "\n" + `{"t":1,"model":"a"}`, "line 3: t 1 is before the 2"},
		{"both", `{"models":[],"t":1,"model":"a"}`, "line 1: a header has models and nothing else"},
		{"no id", `{"models":[{"bytes":1}]}`, "line 1: a model has no id"},
		{"no size", `{"models":[{"id":"a"}]}`, `line 1: model "a": bytes 0 is no size`},
		{"negative load", `{"models":[{"id":"a","bytes":1,"load_ms":-1}]}`, `line 1: model "a": load_ms -1`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := simulate.Read(strings.NewReader(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// FuzzRead: no input brings the parser down, and what it takes can be replayed
// and written again.
func FuzzRead(f *testing.F) {
	f.Add(small + `{"t":1,"model":"a"}`)
	f.Add(small + `{"t":-1e9,"model":"a"}` + "\n" + `{"t":2e9,"model":"b"}`)
	f.Add(small + `{"t":5,"model":"a"}` + "\n" + small + `{"t":1,"model":"b"}`)
	f.Fuzz(func(t *testing.T, text string) {
		trace, err := simulate.Read(strings.NewReader(text))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "line ") {
				t.Errorf("%v names no line", err)
			}
			return
		}
		for i, a := range trace.Accesses {
			if a.At < 0 || i > 0 && a.At < trace.Accesses[i-1].At {
				t.Fatalf("use %d at %v", i, a.At)
			}
		}
		budget := trace.Bytes() / 2
		bound := simulate.Belady(trace, budget)
		for _, p := range simulate.Policies() {
			if r := simulate.Replay(trace, budget, p.Policy); r.Seconds < bound*(1-1e-9)-1e-6 {
				t.Errorf("%s loads for %g s, the bound is %g", p.Name, r.Seconds, bound)
			}
		}
		var out bytes.Buffer
		if err := simulate.Write(&out, trace); err != nil {
			t.Fatal(err)
		}
		if _, err := simulate.Read(&out); err != nil {
			t.Error(err)
		}
	})
}

func TestGenerate(t *testing.T) {
	for _, k := range simulate.Kinds() {
		t.Run(string(k), func(t *testing.T) {
			a, err := simulate.Generate(k, 50, 7)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := simulate.Generate(k, 50, 7)
			if d := cmp.Diff(a, b); d != "" {
				t.Error("one seed, two traces:", d)
			}
			c, _ := simulate.Generate(k, 50, 8)
			if cmp.Equal(a, c) {
				t.Error("two seeds, one trace")
			}
			if len(a.Models) != 50 || len(a.Accesses) < 10_000 {
				t.Errorf("%d models, %d uses", len(a.Models), len(a.Accesses))
			}
			var out bytes.Buffer
			if err := simulate.Write(&out, a); err != nil {
				t.Fatal(err)
			}
			again, err := simulate.Read(&out)
			if err != nil || !cmp.Equal(a.Models, again.Models) || len(again.Accesses) != len(a.Accesses) {
				t.Errorf("written and read: %v", err)
			}
		})
	}
	for _, n := range []int{-1, 0, 1, 100_001} {
		if _, err := simulate.Generate(simulate.Zipf, n, 1); err == nil {
			t.Errorf("%d models: no error", n)
		}
	}
	if _, err := simulate.ParseKind("zip"); err == nil {
		t.Error("no error for an unknown kind")
	}
}

// TestReplay counts a trace by hand: room for a and b, or for c alone.
func TestReplay(t *testing.T) {
	trace, err := simulate.Read(strings.NewReader(`{"models":[{"id":"a","bytes":1,"load_ms":1000},{"id":"b","bytes":1,"load_ms":2000},{"id":"c","bytes":2,"load_ms":4000},{"id":"d","bytes":3,"load_ms":1}]}
{"t":0,"model":"a"}
{"t":1,"model":"b"}
{"t":2,"model":"a"}
{"t":3,"model":"c"}
{"t":4,"model":"d"}
{"t":5,"model":"b"}
{"t":6,"model":"a"}
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range simulate.Policies() {
		got := simulate.Replay(trace, 2, p.Policy)
		if want := (simulate.Result{Uses: 7, Hits: 1, Refused: 1, Seconds: 1 + 2 + 4 + 2 + 1}); got != want {
			t.Errorf("%s: %+v, want %+v", p.Name, got, want)
		}
	}
	if got := simulate.BestStatic(trace, 2, true); got.Models != 2 || got.Seconds != 1+2+4 {
		t.Errorf("ideal static set: %+v", got)
	}
	if got := simulate.BestStatic(trace, 2, false); got.Seconds != 3*1+2*2+4 {
		t.Errorf("static set: %+v", got)
	}
}
