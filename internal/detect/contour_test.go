package detect

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// recorded reads a file that testdata/record.py made.
func recorded(t *testing.T, name string, into any) {
	t.Helper()
	dir := "testdata"
	if d := os.Getenv("LAZYOLO_RECORDED"); d != "" { // a larger recording
		dir = d
	}
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

// draw makes a mask of rows of dots and hashes.
func draw(rows []string) *bits {
	b := &bits{w: len(rows[0]), h: len(rows)}
	for _, r := range rows {
		for _, c := range r {
			b.pix = append(b.pix, map[rune]byte{'.': 0, '#': 1}[c])
		}
	}
	return b
}

// points makes comparable lists of spots.
func points(line []spot) [][2]int {
	out := make([][2]int, len(line))
	for i, p := range line {
		out[i] = [2]int{p.x, p.y}
	}
	return out
}

// TestContoursEqualOpenCV: the same points in the same order, and joined to one
// line as Ultralytics does.
func TestContoursEqualOpenCV(t *testing.T) {
	var cases []struct {
		Rows     []string
		Contours [][][2]int
		Joined   [][2]int
	}
	recorded(t, "contours.json", &cases)
	parts := 0
	for i, tt := range cases {
		found := draw(tt.Rows).contours()
		got := make([][][2]int, len(found))
		for k, c := range found {
			got[k] = points(c)
		}
		parts = max(parts, len(found))
		if d := cmp.Diff(tt.Contours, got, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("mask %d: contours: %s", i, d)
			continue
		}
		before := slices.Clone(got)
		if d := cmp.Diff(tt.Joined, points(joined(found)), cmpopts.EquateEmpty()); d != "" {
			t.Errorf("mask %d: joined: %s", i, d)
		}
		for k, c := range found {
			if d := cmp.Diff(before[k], points(c)); d != "" {
				t.Errorf("mask %d: joining changed contour %d: %s", i, k, d)
			}
		}
	}
	if parts < 4 {
		t.Errorf("no mask has more than %d parts", parts)
	}
}

func FuzzContours(f *testing.F) {
	f.Add(3, []byte{1, 0, 1, 0, 1, 0, 1, 0, 1})
	f.Add(5, []byte{1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 0, 1, 0, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1})
	f.Fuzz(func(t *testing.T, width int, pix []byte) {
		if width < 1 || width > 64 || len(pix) < width || len(pix) > 64*64 {
			return
		}
		b := &bits{w: width, h: len(pix) / width}
		for _, v := range pix[:b.w*b.h] {
			b.pix = append(b.pix, v&1)
		}
		for _, c := range b.contours() {
			for _, p := range c {
				if b.pix[p.y*b.w+p.x] == 0 {
					t.Fatalf("point %v lies outside of the mask", p)
				}
			}
		}
		joined(b.contours())
	})
}
