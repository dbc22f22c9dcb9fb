package imaging_test

import (
	"bytes"
	"encoding/json"
	"image/png"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"lazyolo/internal/buffers"
	"lazyolo/internal/imaging"
	"lazyolo/internal/turbojpeg"
	"lazyolo/yolo"
)

// golden reads one of make.py's JSON files.
func golden[T any](t *testing.T, name string) []T {
	t.Helper()
	var rows []T
	if err := json.Unmarshal(read(t, name), &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) == 0 {
		t.Fatalf("%s is empty", name)
	}
	return rows
}

// read reads a file below testdata.
func read(tb testing.TB, name string) []byte {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// pixels reads a PNG of plain RGB without the code under test.
func pixels(t *testing.T, data []byte) *imaging.Image {
	t.Helper()
	m, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	b := m.Bounds()
	img := &imaging.Image{Width: b.Dx(), Height: b.Dy()}
	for y := range b.Dy() {
		for x := range b.Dx() {
			r, g, b, _ := m.At(x, y).RGBA()
			img.Pix = append(img.Pix, byte(r>>8), byte(g>>8), byte(b>>8))
		}
	}
	return img
}

// difference returns the largest difference of two samples and their mean one.
func difference(t *testing.T, got, want *imaging.Image) (largest int, mean float64) {
	t.Helper()
	if got.Width != want.Width || got.Height != want.Height || len(got.Pix) != len(want.Pix) {
		t.Fatalf("got %dx%d pixels (%d bytes), want %dx%d", got.Width, got.Height, len(got.Pix), want.Width, want.Height)
	}
	sum := 0
	for i, w := range want.Pix {
		d := max(int(got.Pix[i])-int(w), int(w)-int(got.Pix[i]))
		sum, largest = sum+d, max(largest, d)
	}
	return largest, float64(sum) / float64(len(want.Pix))
}

// turbo returns a Codec over libjpeg-turbo.
func turbo(tb testing.TB) *imaging.Codec {
	tb.Helper()
	l := new(turbojpeg.Library)
	if err := l.Open(); err != nil {
		if os.Getenv("REQUIRE_TURBOJPEG") == "1" {
			tb.Fatal(err)
		}
		tb.Skip(err, "- REQUIRE_TURBOJPEG=1 makes this a failure")
	}
	return &imaging.Codec{JPEG: l, Buffers: new(buffers.Store)}
}

// TestDecode compares every picture of testdata with what OpenCV made of it; with
// libjpeg-turbo, OpenCV's own decoder, JPEGs must be equal.
func TestDecode(t *testing.T) {
	t.Run("go", func(t *testing.T) { testDecode(t, new(imaging.Codec), 1) })
	t.Run("turbo", func(t *testing.T) { testDecode(t, turbo(t), 0) })
}

// testDecode allows lenience times the largest difference a picture is listed with.
func testDecode(t *testing.T, c *imaging.Codec, lenience int) {
	type row struct {
		File   string
		Golden string // empty: OpenCV refuses the file
		Max    int    // largest difference allowed
	}
	for _, tc := range golden[row](t, "decoded.json") {
		t.Run(tc.File, func(t *testing.T) {
			data := read(t, filepath.Join("pictures", tc.File))
			// Twice: the second time into freed pixels, which must not shine through.
			img, err := c.Decode(data, nil)
			if err == nil {
				for i := range img.Pix {
					img.Pix[i] = 0xa5
				}
				img.Free()
				img, err = c.Decode(data, nil)
			}
			if tc.Golden == "" {
				if err == nil || yolo.CodeOf(err) != yolo.Invalid {
					t.Fatalf("error %v, want code %s", err, yolo.Invalid)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			largest, mean := difference(t, img, pixels(t, read(t, filepath.Join("decoded", tc.Golden))))
			limit := tc.Max
			if strings.HasSuffix(tc.File, ".jpg") && !strings.Contains(tc.File, "cmyk") && !strings.Contains(tc.File, "ycck") {
				limit *= lenience // but CMYK is always Go's
			}
			if largest > limit || mean > 0.25 {
				t.Errorf("differs from OpenCV by up to %d levels, %.3f on average; at most %d allowed", largest, mean, limit)
			}
		})
	}
}

// TestGoroutines holds the split into bands against one goroutine's answer.
func TestGoroutines(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	data := sceneJPEG(t, 1001, 799)
	fit := imaging.Letterbox(1001, 799, 640, 640)
	run := func(procs int) (*imaging.Image, []float32) {
		runtime.GOMAXPROCS(procs)
		img, err := new(imaging.Codec).Decode(data, nil)
		if err != nil {
			t.Fatal(err)
		}
		dst := make([]float32, 3*640*640)
		fit.Fill(dst, img, 0)
		return img, dst
	}
	wantImg, want := run(1)
	for _, procs := range []int{2, 3, 7} {
		img, got := run(procs)
		if !bytes.Equal(img.Pix, wantImg.Pix) {
			t.Errorf("%d processors decode other pixels than one", procs)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("%d processors: value %d is %v, want %v", procs, i, got[i], want[i])
			}
		}
	}
}
