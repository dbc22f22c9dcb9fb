package imaging_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"lazyolo/internal/imaging"
	"lazyolo/yolo"
)

// Whatever Decode reads, Measure knows the size of, and the other way round for
// what the header tells.
func TestMeasureAgreesWithDecode(t *testing.T) {
	t.Run("go", func(t *testing.T) { testMeasure(t, new(imaging.Codec)) })
	t.Run("turbo", func(t *testing.T) { testMeasure(t, turbo(t)) })
}

func testMeasure(t *testing.T, c *imaging.Codec) {
	files, err := filepath.Glob("testdata/pictures/*")
	if err != nil {
		t.Fatal(err)
	}
	measured := 0
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		img, err := c.Decode(data, nil)
		if err != nil {
			continue
		}
		m, err := c.Measure(data)
		if w, h := img.Size(); err != nil || m.Width != w || m.Height != h || m.Bytes < int64(len(img.Pix)) {
			t.Errorf("%s: got %+v, %v; want %dx%d", name, m, err, w, h)
		}
		measured++
	}
	if measured < 20 {
		t.Errorf("only %d pictures", measured)
	}
}

func TestMeasureRefuses(t *testing.T) {
	c := imaging.Codec{MaxPixels: 10}
	data, err := os.ReadFile("../testmodels/shapes.png")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Measure(data); yolo.CodeOf(err) != yolo.TooLarge {
		t.Errorf("got %v", err)
	}
	for _, data := range []string{"", "no picture", "\xff\xd8\xff\xd9"} {
		if _, err := c.Measure([]byte(data)); err == nil || yolo.CodeOf(err) != yolo.Invalid {
			t.Errorf("%q: got %v", data, err)
		}
	}
}

// TestMeasureJPEG: what a decoder keeps depends on the file and on the decoder.
func TestMeasureJPEG(t *testing.T) {
	with, without := turbo(t), new(imaging.Codec)
	absent := &imaging.Codec{JPEG: coder{errors.ErrUnsupported}}
	for _, tt := range []struct {
		file                 string
		coder, plain, pixels int64 // bytes a pixel; the pixels
	}{
		{"q85-420.jpg", 3, 6, 37 * 29},
		{"grey.jpg", 3, 4, 37 * 29},
		{"progressive.jpg", 9, 18, 37 * 29},
		{"cmyk.jpg", 7, 7, 37 * 29}, // Go's either way
		{"orientation-1.jpg", 3, 6, 16 * 8},
		{"orientation-6.jpg", 6, 9, 16 * 8},
	} {
		data := read(t, "pictures/"+tt.file)
		for c, want := range map[*imaging.Codec]int64{with: tt.coder, without: tt.plain, absent: tt.plain} {
			if m, err := c.Measure(data); err != nil || m.Bytes != want*tt.pixels {
				t.Errorf("%s: %d bytes, %v; want %d a pixel", tt.file, m.Bytes, err, want)
			}
		}
	}
}
