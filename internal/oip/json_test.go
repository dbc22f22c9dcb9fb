package oip

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lazyolo/internal/bodies"
	"lazyolo/yolo"
)

// draw reads the JSON of an inference and its data.
func draw(t testing.TB, body string) (*draft, error) {
	t.Helper()
	d, err := parse([]byte(body))
	if err != nil {
		return nil, err
	}
	return d, d.read(t.Context(), bodies.New(64<<20).Claim())
}

func TestRequestsInJSON(t *testing.T) {
	d, err := draw(t, `{"id":"a\u00e9/7","parameters":{"n":3,"f":1.5e0,"t":true,"s":"x","l":[1, 2],"z":null,"o":{"a":[]}},"more":[{"x":[1]}],
		"inputs":[{"data":[[1,-2.5],[3e2,0]],"parameters":{},"shape":[2,2],"datatype":"FP32","name":"x"},
		{"name":"image","datatype":"BYTES","shape":[1],"data":["anBl\/w=="]}],
		"outputs":[{"name":"y","parameters":{"binary_data":true}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"n": int64(3), "f": 1.5, "t": true, "s": "x", "l": "[1, 2]"}
	if diff := cmp.Diff(want, d.Parameters); diff != "" {
		t.Error(diff)
	}
	if d.ID != "aé/7" || len(d.Inputs) != 2 || d.Inputs[0].Name != "x" || d.Outputs[0].Parameters["binary_data"] != true {
		t.Errorf("%+v", d.Request)
	}
	if diff := cmp.Diff([]float32{1, -2.5, 300, 0}, d.Inputs[0].Floats); diff != "" {
		t.Error(diff)
	}
	if string(d.Inputs[1].Texts[0]) != "jpe\xff" {
		t.Errorf("%q", d.Inputs[1].Texts)
	}
}

func TestWrongJSON(t *testing.T) {
	one := func(field string) string {
		return `{"inputs":[{"name":"x","datatype":"FP32","shape":[2],"data":[1,2],` + field + `}]}`
	}
	for body, says := range map[string]string{
		"":                                    `expected "{"`,
		"[]":                                  `expected "{"`,
		`{"inputs":[]`:                        "expected",
		`{"inputs":[]}x`:                      "follows the end",
		`{"inputs":{}}`:                       `expected "["`,
		`{"id":7}`:                            `expected "\""`,
		`{"id":"` + "\xff" + `"}`:             "UTF-8",
		`{"id":"\x"}`:                         "escape",
		`{"id":"` + "a\nb" + `"}`:             "control character",
		one(`"shape":[1e3]`):                  "whole number",
		one(`"shape":[99999999999999999999]`): "whole number below",
		one(`"shape":[1,1,1,1,1,1,1,1,1]`):    "dimensions",
		one(`"shape":[3]`):                    "2 values, the shape takes 3",
		one(`"shape":[1]`):                    "more than the 1 values",
		one(`"shape":[4000000000]`):           "fewer than the 4000000000",
		one(`"data":[1,1e99]`):                "too large",
		one(`"data":[1,"2"]`):                 "expected a number",
		one(`"data":[1,01]`):                  "expected",
		one(`"data":[1,NaN]`):                 "expected",
		one(`"data":7777`):                    `expected "["`,
		one(`"datatype":7`):                   `expected "\""`,
		one(`"datatype":"FP16"`):              "FP16 has no form",
		one(`"parameters":{"a":1e999}`):       "too large",
		one(`"parameters":{"binary_data_size":-1}`):         "binary_data_size",
		one(`"parameters":{"binary_data_size":1.5}`):        "binary_data_size",
		one(`"parameters":{"binary_data_size":8}`):          "both data and",
		one(`"datatype":"BYTES","data":["%"]`):              "base64",
		`{"a":` + strings.Repeat("[", 100_000) + `}`:        "nested",
		`{"a":` + strings.Repeat(`{"a":`, 100_000) + `}`:    "nested",
		`{"inputs":[` + strings.Repeat("{},", 20) + `{}]}`:  "16 inputs",
		`{"outputs":[` + strings.Repeat("{},", 70) + `{}]}`: "64 outputs",
	} {
		_, err := draw(t, body)
		if err == nil || yolo.CodeOf(err) != yolo.Invalid || !strings.Contains(err.Error(), says) || len(err.Error()) > 300 {
			t.Errorf("%.60s: %v", body, err)
		}
	}
	many := `{"parameters":{"a":0`
	for range 6 {
		many += strings.ReplaceAll(many[15:], `"a`, `,"ab`)
	}
	_, _ = draw(t, many+"}}") // whatever it is, it ends
}

// FuzzJSON reads anything, and understands what encoding/json does.
func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"id":"a","inputs":[{"name":"x","datatype":"FP32","shape":[2,2],"data":[[1,2],[3,4]]}],"outputs":[{"name":"y"}]}`))
	f.Add([]byte(`{"parameters":{"a":[1,2],"b":-0.5e+3},"inputs":[{"name":"image","datatype":"BYTES","shape":[1],"data":["YWJj"]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		text := string(b)
		s := &scanner{b: b}
		err := s.skip()
		if err == nil {
			err = s.end()
		}
		if valid := json.Valid([]byte(text)); err == nil && !valid && !strings.Contains(text, `\`) {
			t.Errorf("%q is no JSON", text)
		} else if err != nil && valid && !strings.Contains(err.Error(), "nested") && !strings.Contains(err.Error(), "UTF-8") {
			t.Errorf("%q is JSON: %v", text, err)
		}
		_, _ = draw(t, text)
	})
}
