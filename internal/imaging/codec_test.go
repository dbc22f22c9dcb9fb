package imaging_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"testing"

	"lazyolo/internal/buffers"
	"lazyolo/internal/imaging"
)

// coder is a JPEG coder that does nothing but fail.
type coder struct{ err error }

func (c coder) Header([]byte) (int, int, error)               { return 0, 0, c.err }
func (c coder) Decode([]byte, []byte, int, int) error         { return c.err }
func (c coder) Encode(io.Writer, []byte, int, int, int) error { return c.err }
func square(size int) func(w, h int) imaging.Fit {
	return func(w, h int) imaging.Fit { return imaging.Letterbox(w, h, size, size) }
}

// TestCoderErrors: what a coder cannot do Go's does; what it refuses is refused.
func TestCoderErrors(t *testing.T) {
	data := read(t, "pictures/q85-420.jpg")
	lacking := &imaging.Codec{JPEG: coder{fmt.Errorf("no library: %w", errors.ErrUnsupported)}}
	img, err := lacking.Decode(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := lacking.Encode(io.Discard, "a.jpg", img); err != nil {
		t.Error(err)
	}
	failing := &imaging.Codec{JPEG: coder{errors.New("bad file")}}
	if _, err := failing.Decode(data, nil); err == nil {
		t.Error("decoded in spite of the coder")
	}
	if err := failing.Encode(io.Discard, "a.jpg", img); err == nil {
		t.Error("encoded in spite of the coder")
	}
}

// TestFast: a photo much larger than the input is decoded smaller, keeps its size
// and fills the input with about the same picture.
func TestFast(t *testing.T) {
	exact := turbo(t)
	fast := &imaging.Codec{JPEG: exact.JPEG, Fast: true}
	data := sceneJPEG(t, 1300, 901)
	turned := append([]byte("\xff\xd8\xff\xe1\x00\x22Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"), data[2:]...)
	for _, tt := range []struct {
		name     string
		data     []byte
		input    int
		factor   int
		w, h     int
		tolerant float64
	}{
		{"half", data, 433, 2, 1300, 901, 0.02},
		{"half again", data, 216, 4, 1300, 901, 0.02},
		{"eighth", data, 30, 8, 1300, 901, 0.04},
		{"not so much larger", data, 434, 1, 1300, 901, 0},
		{"turned", turned, 216, 4, 901, 1300, 0.02},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want, err := exact.Decode(tt.data, square(tt.input))
			if err != nil {
				t.Fatal(err)
			}
			got, err := fast.Decode(tt.data, square(tt.input))
			if err != nil {
				t.Fatal(err)
			}
			if w, h := got.Size(); w != tt.w || h != tt.h {
				t.Fatalf("size %dx%d, want %dx%d", w, h, tt.w, tt.h)
			}
			if w := (tt.w + tt.factor - 1) / tt.factor; got.Width != w {
				t.Fatalf("%d pixels wide, want %d", got.Width, w)
			}
			fit := imaging.Letterbox(tt.w, tt.h, tt.input, tt.input)
			a, b := fill(fit, want), fill(fit, got)
			off := 0.0
			for i := range a {
				off += math.Abs(float64(a[i] - b[i]))
			}
			if off /= float64(len(a)); off > tt.tolerant {
				t.Errorf("inputs differ by %.4f on average", off)
			}
		})
	}
	for name, fit := range map[string]func(w, h int) imaging.Fit{
		"for anything":      nil,
		"for no known size": func(w, h int) imaging.Fit { return imaging.Fit{} },
	} {
		img, err := fast.Decode(data, fit)
		if err != nil || img.Width != 1300 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFree: freed pixels serve the next picture, once.
func TestFree(t *testing.T) {
	c := new(imaging.Codec)
	data := read(t, "pictures/rgb.png")
	first, err := c.Decode(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Clone(first.Pix)
	first.Free()
	first.Free()
	a, errA := c.Decode(data, nil)
	b, errB := c.Decode(data, nil)
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	if &a.Pix[0] == &b.Pix[0] {
		t.Error("two pictures share their pixels")
	}
	if !bytes.Equal(a.Pix, want) || !bytes.Equal(b.Pix, want) {
		t.Error("other pixels than before")
	}
	scene(3, 2).Free() // not from a Codec: nothing happens
}

// A picture that nobody frees gives its pixels back when it is collected.
func TestALostPictureGivesItsPixelsBack(t *testing.T) {
	var b buffers.Store
	c := imaging.Codec{Buffers: &b}
	if _, err := c.Decode(sceneJPEG(t, 810, 1080), nil); err != nil {
		t.Fatal(err)
	}
	if b.Held() == 0 {
		t.Fatal("the pixels are not in the store")
	}
	for range 100 {
		runtime.GC()
		if b.Clear(); b.Held() == 0 {
			return
		}
	}
	t.Errorf("%d bytes are still lent", b.Held())
}

// TestWarmAllocations: the issue allows 64 KiB a request, all parts together.
func TestWarmAllocations(t *testing.T) {
	c := turbo(t)
	data := sceneJPEG(t, 810, 1080)
	dst := make([]float32, 3*640*640)
	once := func() {
		img, err := c.Decode(data, square(640))
		if err != nil {
			t.Fatal(err)
		}
		imaging.Letterbox(810, 1080, 640, 640).Fill(dst, img, 0)
		img.Free()
	}
	// The least of some runs: the pools keep something for each processor, and lose
	// it to the garbage collector.
	least := uint64(math.MaxUint64)
	var before, after runtime.MemStats
	for range 20 {
		runtime.ReadMemStats(&before)
		once()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	if least > 8<<10 {
		t.Errorf("%d bytes allocated for a picture", least)
	}
}

// TestFixtures holds whole photos against digests of cv2.imdecode's pixels.
func TestFixtures(t *testing.T) {
	dir := "../../../shared/fixtures/"
	if _, err := os.Stat(dir); err != nil {
		if os.Getenv("REQUIRE_SHARED") == "1" {
			t.Fatal(err)
		}
		t.Skip("no ../shared beside the repository; REQUIRE_SHARED=1 makes this a failure")
	}
	c := turbo(t)
	for file, want := range map[string]string{
		"compat/images/exif6.jpg":     "89ec1880c1ce3a1a",
		"compat/images/gray.jpg":      "31738e58eed746f3",
		"compat/images/landscape.jpg": "11cd8a7e13a839bb",
		"compat/images/photo12mp.jpg": "21812f2e532659fe",
		"compat/images/portrait.jpg":  "4af08ac5331f4f76",
		"families/images/a.jpg":       "d6c5055afa43bffc",
		"compat/images/truncated.jpg": "",
		"compat/images/notimage.jpg":  "",
	} {
		data, err := os.ReadFile(dir + file)
		if err != nil {
			t.Fatal(err)
		}
		img, err := c.Decode(data, nil)
		if want == "" {
			if err == nil {
				t.Errorf("%s: decoded", file)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if got := digest(img.Pix); got != want {
			t.Errorf("%s: digest %s, want %s", file, got, want)
		}
	}
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}
