package main

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lazyolo/internal/compare"
	"lazyolo/yolo"
)

// outcomes are one of each kind.
func outcomes() []outcome {
	m := &yolo.Model{ID: "m"}
	mask := &yolo.Mask{Width: 2, Height: 2, Window: yolo.Window{W: 2, H: 2}, Runs: []int{0, 2, 2}, Polygon: []yolo.Point{{X: 0, Y: 0}, {X: 2, Y: 0}}}
	return []outcome{
		{picture: picture{name: "a.jpg", output: "out/a.jpg"}, result: &yolo.Result{Model: m, Width: 2, Height: 2, Objects: []yolo.Object{
			{Class: 3, Name: "火焰", Confidence: 0.5, Box: yolo.Box{X1: -0.5, Y1: 1.9, X2: 1234.5, Y2: 7}, Mask: mask}}}},
		{picture: picture{name: "火.jpg"}, result: &yolo.Result{Model: m, Width: 2, Height: 2, Probs: []yolo.Prob{{Class: 12, Name: "cat", Confidence: 0.25}}}},
		{picture: picture{name: "c.jpg"}, result: &yolo.Result{Model: m, Width: 2, Height: 2, Regions: []yolo.Region{{Class: 1, Name: "road", Share: 0.345, Mask: mask}}}},
		{picture: picture{name: "d.jpg"}, result: &yolo.Result{Model: m, Width: 2, Height: 2}},
		{picture: picture{name: "e.jpg"}, err: &fs.PathError{Op: "open", Path: "e.jpg", Err: fs.ErrNotExist}},
	}
}

// tellAll has the outcomes told and returns what was written, and how it ends.
func tellAll(t *testing.T, f detectFlags) (stdout, stderr string, err error) {
	t.Helper()
	var out, log strings.Builder
	var pictures []picture
	for _, o := range outcomes() {
		pictures = append(pictures, o.picture)
	}
	r := newResults(f, pictures, sys{stdout: &out, stderr: &log})
	for _, o := range outcomes() {
		if err := r.tell(o); err != nil {
			t.Fatal(err)
		}
	}
	return out.String(), log.String(), r.verdict()
}

// Rows stay aligned whatever the pictures and classes are called.
func TestResultsAsTable(t *testing.T) {
	out, log, err := tellAll(t, detectFlags{})
	want := `
FILE    CLASS  CONF     X1     Y1     X2     Y2  NAME
a.jpg       3  0.50      0      1   1234      7  火焰
火.jpg     12  0.25      -      -      -      -  cat
c.jpg       1     -      -      -      -      -  road (34.5 % of the picture)
d.jpg       -     -      -      -      -      -  (nothing found)
e.jpg       -     -      -      -      -      -  (failed)
`
	if d := cmp.Diff(want, "\n"+out); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if want := "lazyolo: error: e.jpg: file does not exist\n"; log != want {
		t.Errorf("told %q, want %q", log, want)
	}
	if err == nil || err.Error() != "1 of 5 pictures were not answered" {
		t.Errorf("ends with %v", err)
	}
}

func TestResultsAsJSON(t *testing.T) {
	out, _, _ := tellAll(t, detectFlags{asJSON: true, masks: "rle"})
	want := `
{"file":"a.jpg","model":"m","width":2,"height":2,"output":"out/a.jpg","predictions":[{"class_id":3,"class_name":"火焰","confidence":0.5,"x1":0,"y1":1,"x2":1234,"y2":7,"mask":{"size":[2,2],"counts":[0,1,1,1,1]}}]}
{"file":"火.jpg","model":"m","width":2,"height":2,"predictions":[{"class_id":12,"class_name":"cat","confidence":0.25}],"probs":{"top1":12,"top1conf":0.25,"top5":[12],"top5conf":[0.25]}}
{"file":"c.jpg","model":"m","width":2,"height":2,"predictions":[{"class_id":1,"class_name":"road","pixel_ratio":0.345,"mask":{"size":[2,2],"counts":[0,1,1,1,1]}}]}
{"file":"d.jpg","model":"m","width":2,"height":2,"predictions":[]}
{"file":"e.jpg","error":"file does not exist"}
`
	if d := cmp.Diff(want, "\n"+out); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// A single picture that failed is told once.
func TestOneFailureIsToldOnce(t *testing.T) {
	r := newResults(detectFlags{}, []picture{{name: "x"}}, sys{stdout: new(strings.Builder), stderr: new(strings.Builder)})
	if err := r.tell(outcome{picture: picture{name: "x"}, err: errors.New("broken")}); err != nil {
		t.Fatal(err)
	}
	if err := r.verdict(); !errors.Is(err, errReported) {
		t.Errorf("%v", err)
	}
}

func TestProgress(t *testing.T) {
	var nobody *progress
	nobody.draw(1, "a")
	nobody.clear()
	var b strings.Builder
	p := &progress{w: &b, total: 4, began: time.Now().Add(-2 * time.Second)}
	p.draw(1, strings.Repeat("很", 60)+".jpg")
	line := b.String()
	bar, _ := strings.CutPrefix(line, "\r\x1b[K")
	if !strings.HasPrefix(bar, "[======                  ] 1/4  0.5/s  …") || compare.Columns(bar) > 80 {
		t.Errorf("%q takes %d columns", bar, compare.Columns(bar))
	}
}
