package imaging_test

import (
	"bytes"
	"errors"
	"testing"

	"lazyolo/internal/imaging"
)

func grey(w, h int) *imaging.Image {
	return &imaging.Image{Width: w, Height: h, Pix: bytes.Repeat([]byte{128}, 3*w*h)}
}

// TestEncode writes each format and reads it back.
func TestEncode(t *testing.T) {
	src := scene(61, 47)
	for _, tc := range []struct {
		name, magic string
		mean        float64 // average difference allowed
	}{
		{"a.png", "\x89PNG", 0},
		{"a.PNG", "\x89PNG", 0},
		{"a.bmp", "BM", 0},
		{"a.tif", "II*", 0},
		{"a.tiff", "II*", 0},
		{"a.gif", "GIF8", 20},
		{"a.jpg", "\xff\xd8", 5},
		{"a.webp", "\xff\xd8", 5},
		{"../../etc/passwd", "\xff\xd8", 5},
		{"", "\xff\xd8", 5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var buf bytes.Buffer
			if err := new(imaging.Codec).Encode(&buf, tc.name, src); err != nil {
				t.Fatal(err)
			}
			if !bytes.HasPrefix(buf.Bytes(), []byte(tc.magic)) {
				t.Fatalf("begins with %q, want %q", buf.Bytes()[:4], tc.magic)
			}
			img, err := new(imaging.Codec).Decode(buf.Bytes(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, mean := difference(t, img, src); mean > tc.mean {
				t.Errorf("differs by %.2f on average, want at most %v", mean, tc.mean)
			}
		})
	}
}

type fullDisk struct{}

var errFull = errors.New("disk full")

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func TestEncodeError(t *testing.T) {
	for _, name := range []string{"a.png", "a.jpg", "a.gif", "a.bmp", "a.tiff"} {
		if err := new(imaging.Codec).Encode(fullDisk{}, name, grey(4, 4)); !errors.Is(err, errFull) {
			t.Errorf("%s: error %v, want the writer's", name, err)
		}
	}
}
