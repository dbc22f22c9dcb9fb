package compare

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lazyolo/internal/load"
	"lazyolo/internal/onnx"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares what is shown with testdata/name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s differs (-update writes it anew):\n%s", file, d)
	}
}

// example is a report with round numbers.
func example() *Report {
	steps := func(took ...float64) []Step {
		s := []Step{{What: "start"}, {What: "model 0, first answer"}, {What: "after a rest"}}
		for i := range s {
			s[i].Took, s[i].MB = took[2*i], took[2*i+1]
		}
		return s
	}
	return &Report{
		About: "Models of <here>", Models: 3, Weights: 30, Picture: "a.jpg", Memory: memoryIs, Budget: 90,
		Setups: []Measured{
			{Name: "eager", Does: "all at once", Steps: steps(1.5, 200, 0.02, 210, 0, 210), Walk: []float64{200, 205, 208, 210}, Peak: 212},
			{Name: "lazy", Does: "one by one", Steps: steps(0.01, 20, 0.05, 60, 0, 55), Walk: []float64{20, 60, 80, 100}, Peak: 105},
			{Name: "budget", Does: "within 90 MB", Steps: steps(0.01, 20, 0.05, 60, 0, 50), Walk: []float64{20, 60, 80, 85}, Peak: 86},
		},
	}
}

func TestReportAsText(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := example().Text(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.txt", b.Bytes())
}

func TestReportAsPicture(t *testing.T) {
	t.Parallel()
	svg := example().SVG()
	wellFormed(t, svg)
	golden(t, "report.svg", svg)
}

func wellFormed(t *testing.T, doc []byte) {
	t.Helper()
	for d := xml.NewDecoder(bytes.NewReader(doc)); ; {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
	}
}

func TestReportAsPage(t *testing.T) {
	t.Parallel()
	page, err := example().HTML()
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"<svg", "<td>200.0 MB</td>", "20.0 MB (-90 %)", "Models of &lt;here&gt;", "prefers-color-scheme"} {
		if !strings.Contains(string(page), part) {
			t.Errorf("%q is not in\n%s", part, page)
		}
	}
	for _, part := range []string{"<here>", "<script", "<link"} {
		if strings.Contains(string(page), part) {
			t.Errorf("%q is in the page", part)
		}
	}
}

// Copies of a file are the same model, and each another file.
func TestCopies(t *testing.T) {
	t.Parallel()
	weights, err := os.ReadFile("../testmodels/static.onnx")
	if err != nil {
		t.Fatal(err)
	}
	want, err := onnx.Decode(weights)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := Copies(dir, weights, 3, func(n int) []byte { return []byte{byte('0' + n)} }); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for i, folder := range []string{"copy-01", "copy-02", "copy-03"} {
		data, err := os.ReadFile(filepath.Join(dir, folder, "best.onnx"))
		if err != nil {
			t.Fatal(err)
		}
		seen[string(data)] = true
		got, err := onnx.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		last := got.Metadata[len(got.Metadata)-1]
		if last != (onnx.Property{Key: "copy", Value: string(rune('1' + i))}) || len(got.Metadata) != len(want.Metadata)+1 {
			t.Errorf("%s: metadata %v", folder, got.Metadata)
		}
		if len(got.Graph.Nodes) != len(want.Graph.Nodes) || len(got.Graph.Initializers) != len(want.Graph.Initializers) {
			t.Errorf("%s: %d nodes, %d weights", folder, len(got.Graph.Nodes), len(got.Graph.Initializers))
		}
		if labels, err := os.ReadFile(filepath.Join(dir, folder, "labels.yaml")); err != nil || string(labels) != string(rune('1'+i)) {
			t.Errorf("%s: %q %v", folder, labels, err)
		}
	}
	if len(seen) != 3 {
		t.Errorf("%d different files of 3", len(seen))
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		all  []time.Duration
		want time.Duration
	}{{nil, 0}, {[]time.Duration{7}, 7}, {[]time.Duration{9, 1, 5}, 5}, {[]time.Duration{8, 1, 2, 4}, 3}} {
		if got := median(c.all); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.all, got, c.want)
		}
	}
}

func TestNiceStep(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ to, want float64 }{{1, 0.2}, {5, 1}, {9, 2}, {12, 5}, {454, 100}, {1001, 500}} {
		if got := niceStep(c.to, 5); got != c.want {
			t.Errorf("up to %v in steps of %v, want %v", c.to, got, c.want)
		}
	}
}

// A thinned line keeps the lowest and the highest point of every place.
func TestThin(t *testing.T) {
	t.Parallel()
	const n = 100_000
	points := make([]point, n)
	for i := range points {
		points[i] = point{float64(i), 50}
	}
	points[31_415].y, points[31_416].y = 99, 1
	got := thin(points, n)
	most, least := 0.0, 100.0
	for i, p := range got {
		most, least = max(most, p.y), min(least, p.y)
		if i > 0 && p.x <= got[i-1].x {
			t.Fatalf("%v comes after %v", p, got[i-1])
		}
	}
	if most != 99 || least != 1 || len(got) > 4*(plotRight-plotLeft) {
		t.Errorf("%d points from %v to %v", len(got), least, most)
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status  int
		body    string
		objects []string
		err     string
	}{
		{200, `{"predictions":[{"class_name":"star"},{"class_name":"cross"}],"image":"YWI="}`, []string{"star", "cross"}, ""},
		{200, `{"error":"Inference failed"}`, nil, "model 3: Inference failed"},
		{503, `{"error":"no room","id":"x"}`, nil, "model 3: no room"},
		{500, `{}`, nil, "model 3: status 500"},
		{200, `<html>`, nil, "model 3: "},
	} {
		var a answer
		err := a.read(3, c.status, []byte(c.body))
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%d %s: %v", c.status, c.body, err)
		}
		if d := cmp.Diff(c.objects, a.objects); d != "" {
			t.Errorf("%s: %s", c.body, d)
		}
	}
}

// Set-ups are measured from outside: what a server takes at its start, and with each
// model, is what it really takes.
func TestCompare(t *testing.T) {
	t.Parallel()
	needMemory(t)
	var told []string
	r, err := Compare(t.Context(), Options{
		Setups: []Setup{{"eager", "all at once", fake("eager")}, {"lazy", "one by one", fake("lazy")}},
		Models: []int{0, 1, 2, 3}, Picture: load.Picture{Name: "a.jpg", Data: []byte("a")}, About: "Fakes", Weights: 64 << 20, Budget: 80 << 20,
		Rest: time.Millisecond, Progress: func(s string) { told = append(told, s) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"eager: all at once", "lazy: one by one"}, told); d != "" {
		t.Error(d)
	}
	eager, lazy := r.Setups[0], r.Setups[1]
	var what []string
	for i, s := range eager.Steps {
		what = append(what, s.What)
		if l := lazy.Steps[i]; l.What != s.What || s.MB <= 0 || s.Anon <= 0 || s.Anon > s.MB || (s.Took > 0) != (s.What != "after a rest") {
			t.Errorf("%+v beside %+v", s, l)
		}
	}
	if d := cmp.Diff([]string{"start", "model 0, first answer", "model 0 again", "model 1, first answer", "every other model, first answer",
		"every model again", "after a rest", "model 0 then"}, what); d != "" {
		t.Error(d)
	}
	const each, slack = 16.0, 8
	if d := eager.Steps[0].MB - lazy.Steps[0].MB; d < fakeModels*each-slack {
		t.Errorf("with %d models of %v MB at the start it takes %.1f MB more", fakeModels, each, d)
	}
	if len(lazy.Walk) != fakeModels+1 || lazy.Walk[0] != lazy.Steps[0].MB {
		t.Fatalf("walk %v, from %v", lazy.Walk, lazy.Steps[0])
	}
	for i := range fakeModels {
		if d := lazy.Walk[i+1] - lazy.Walk[i]; d < each-slack {
			t.Errorf("model %d took %.1f MB, not %v", i, d, each)
		}
	}
	if last := lazy.Walk[fakeModels]; lazy.Peak < last || len(lazy.Samples) == 0 {
		t.Errorf("peak %.1f of %d samples, %.1f at the end", lazy.Peak, len(lazy.Samples), last)
	}
	if r.Weights != 64 || r.Budget != 80 || r.Models != 4 {
		t.Errorf("%+v", r)
	}
}

// What keeps a server from serving is told.
func TestCompareTellsWhatFails(t *testing.T) {
	t.Parallel()
	needMemory(t)
	o := Options{Models: []int{0, 1, 2}, Picture: load.Picture{Name: "a.jpg", Data: []byte("a")}, Rest: time.Millisecond}
	for kind, want := range map[string]string{"ends": "no library here", "broken": "model 2: Inference failed"} {
		o.Setups = []Setup{{"first", "does", fake(kind)}}
		if _, err := Compare(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "first: ") {
			t.Errorf("%s: %v", kind, err)
		}
	}
	o.Models = o.Models[:1]
	if _, err := Compare(t.Context(), o); err == nil {
		t.Error("one model: compared")
	}
}

// A server whose standard input ends does so itself: nothing else is left of a process
// that was killed.
func TestServersEndWithTheirInput(t *testing.T) {
	t.Parallel()
	needMemory(t)
	p, err := start(t.Context(), fake("deaf")())
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	p.stop()
	if took := time.Since(began); took > stopWithin/2 {
		t.Errorf("after %v", took)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 7 {
		t.Errorf("ended with %d", code)
	}
}

// Cells line up by the columns that a terminal gives them, and who is missing is told.
func TestReportAligns(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	align(&b, [][]string{{"烟火", "", "1 MB"}, {"abcd", "", "2 MB"}})
	if want := "烟火    1 MB\nabcd    2 MB\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
	r := example()
	r.Setups, r.LeftOut = r.Setups[1:], "eager is left out: too large"
	var text bytes.Buffer
	page, err := r.HTML()
	if err = errors.Join(err, r.Text(&text)); err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{text.String(), string(page)} {
		if !strings.Contains(out, "eager is left out: too large.") {
			t.Error(out)
		}
	}
	if svg := string(r.SVG()); !strings.Contains(svg, `class="line lazy"`) || strings.Contains(svg, `class="line eager"`) {
		t.Error(svg)
	}
}
