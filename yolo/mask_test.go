package yolo

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// encode makes runs of rows of dots and hashes.
func encode(rows []string) (runs []int) {
	runs = []int{0}
	for _, c := range strings.Join(rows, "") {
		if on := len(runs)%2 == 0; on != (c == '#') {
			runs = append(runs, 0)
		}
		runs[len(runs)-1]++
	}
	return runs
}

// render draws a bitmap in a picture of w by h.
func render(b Bitmap, w, h int) []string {
	rows := make([]string, h)
	for y := range h {
		row := []byte(strings.Repeat(".", w))
		for x := range w {
			if x >= b.X && x < b.X+b.W && y >= b.Y && y < b.Y+b.H && b.Pix[(y-b.Y)*b.W+x-b.X] == 1 {
				row[x] = '#'
			}
		}
		rows[y] = string(row)
	}
	return rows
}

// TestMaskInThePicture compares with Ultralytics' scale_masks, cut at one half:
// internal/detect/testdata/record.py.
func TestMaskInThePicture(t *testing.T) {
	path := "testdata/masks.json"
	if p := os.Getenv("LAZYOLO_RECORDED_MASKS"); p != "" { // a larger recording
		path = p
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Grid, Picture []string
		Window        [4]int
	}
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	for i, tt := range cases {
		m := Mask{
			Width: len(tt.Grid[0]), Height: len(tt.Grid), Runs: encode(tt.Grid),
			Window: Window{tt.Window[0], tt.Window[1], tt.Window[2], tt.Window[3]},
		}
		if d := cmp.Diff(tt.Grid, render(m.Bits(), m.Width, m.Height)); d != "" {
			t.Errorf("mask %d: Bits: %s", i, d)
		}
		w, h := len(tt.Picture[0]), len(tt.Picture)
		if d := cmp.Diff(tt.Picture, render(m.Picture(w, h), w, h)); d != "" {
			t.Errorf("mask %d, window %v: Picture: %s", i, tt.Window, d)
		}
	}
}

func TestEmptyMask(t *testing.T) {
	m := Mask{Width: 4, Height: 2, Window: Window{W: 4, H: 2}, Runs: []int{8}}
	if b := m.Bits(); b.W != 0 || len(b.Pix) != 0 {
		t.Errorf("Bits gave %v", b)
	}
	if b := m.Picture(8, 4); len(b.Pix) != 0 {
		t.Errorf("Picture gave %v", b)
	}
}
