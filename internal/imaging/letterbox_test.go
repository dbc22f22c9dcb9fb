package imaging_test

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lazyolo/internal/imaging"
	"lazyolo/yolo"
)

// noise is make.py's: byte i is the top byte of i*2654435761 modulo 2^32.
func noise(w, h int) *imaging.Image {
	img := &imaging.Image{Width: w, Height: h, Pix: make([]byte, 3*w*h)}
	for i := range img.Pix {
		img.Pix[i] = byte(uint32(i) * 2654435761 >> 24)
	}
	return img
}

// levels turns an input back into RGB pixels and insists that every value is one
// of the 256 that v/255 can give.
func levels(t *testing.T, f imaging.Fit, input []float32) *imaging.Image {
	t.Helper()
	n := f.Width * f.Height
	img := &imaging.Image{Width: f.Width, Height: f.Height, Pix: make([]byte, 3*n)}
	for c := range 3 {
		for i, v := range input[c*n : (c+1)*n] {
			level := float32(int(v*255 + 0.5)) // NaN becomes something else than NaN
			if level/255 != v {
				t.Fatalf("value %d of plane %d is %v, not a 255th", i, c, v)
			}
			img.Pix[3*i+c] = byte(level)
		}
	}
	return img
}

// fill fills a dirty input, as a reused buffer is.
func fill(f imaging.Fit, img *imaging.Image) []float32 {
	dst := make([]float32, 3*f.Width*f.Height)
	for i := range dst {
		dst[i] = float32(math.NaN())
	}
	f.Fill(dst, img, 0)
	return dst
}

// TestLetterbox compares geometry and pixels with Ultralytics' LetterBox.
func TestLetterbox(t *testing.T) {
	type row struct {
		Src    [2]int
		Input  [2]int
		Stride int // above 0: LetterboxAuto
		Size   [2]int
		New    [2]int
		At     [2]int
		SHA256 string
	}
	for _, tc := range golden[row](t, "letterbox.json") {
		f := imaging.Letterbox(tc.Src[0], tc.Src[1], tc.Input[0], tc.Input[1])
		if tc.Stride > 0 {
			f = imaging.LetterboxAuto(tc.Src[0], tc.Src[1], tc.Input[0], tc.Stride)
		}
		want := imaging.Fit{
			Width: tc.Size[0], Height: tc.Size[1],
			SrcW: tc.Src[0], SrcH: tc.Src[1],
			NewW: tc.New[0], NewH: tc.New[1],
			Left: tc.At[0], Top: tc.At[1],
		}
		if d := cmp.Diff(want, f); d != "" {
			t.Errorf("%v in %v, stride %d (-want +got):\n%s", tc.Src, tc.Input, tc.Stride, d)
			continue
		}
		got := levels(t, f, fill(f, noise(f.SrcW, f.SrcH)))
		if sum := sha256.Sum256(got.Pix); hex.EncodeToString(sum[:]) != tc.SHA256 {
			t.Errorf("%v in %v, stride %d: other pixels than OpenCV's", tc.Src, tc.Input, tc.Stride)
		}
	}
}

// TestLetterboxAutoRoundsUp: a size that is no multiple of the stride becomes one.
func TestLetterboxAutoRoundsUp(t *testing.T) {
	got := imaging.LetterboxAuto(400, 300, 630, 32)
	if want := imaging.LetterboxAuto(400, 300, 640, 32); got != want {
		t.Errorf("size 630 gives %+v, want that of 640, %+v", got, want)
	}
}

// TestBox compares with ultralytics.utils.ops.scale_boxes, to the last bit.
func TestBox(t *testing.T) {
	type row struct {
		Src, Input  [2]int
		Boxes, Want [][4]float32
	}
	for _, tc := range golden[row](t, "boxes.json") {
		f := imaging.Letterbox(tc.Src[0], tc.Src[1], tc.Input[0], tc.Input[1])
		for i, b := range tc.Boxes {
			w := tc.Want[i]
			want := yolo.Box{X1: w[0], Y1: w[1], X2: w[2], Y2: w[3]}
			if got := f.Box(b[0], b[1], b[2], b[3]); got != want {
				t.Errorf("%v in %v: box %v becomes %v, want %v", tc.Src, tc.Input, b, got, want)
			}
		}
	}
}

// TestFillInput compares with the inputs that the parity fixtures' recordings of
// real networks were made from.
func TestFillInput(t *testing.T) {
	dir := "../../../shared/fixtures/families/images"
	if _, err := os.Stat(dir); err != nil {
		if os.Getenv("REQUIRE_SHARED") == "1" {
			t.Fatal(err)
		}
		t.Skip("no ../shared beside the repository; REQUIRE_SHARED=1 makes this a failure")
	}
	for _, tc := range []struct {
		picture, input string
		max            int // JPEG: the decoder's three levels; the resize averages most away
	}{
		{"b.png", "b.in320.square.png", 0},
		{"b.png", "b.in160.square.png", 0},
		{"a.jpg", "a.in320.square.png", 3},
		{"a.jpg", "a.in160.square.png", 3},
	} {
		t.Run(tc.input, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(dir, tc.picture))
			if err != nil {
				t.Fatal(err)
			}
			img, err := new(imaging.Codec).Decode(data, nil)
			if err != nil {
				t.Fatal(err)
			}
			data, err = os.ReadFile(filepath.Join(dir, tc.input))
			if err != nil {
				t.Fatal(err)
			}
			want := pixels(t, data)
			f := imaging.Letterbox(img.Width, img.Height, want.Width, want.Height)
			if largest, mean := difference(t, levels(t, f, fill(f, img)), want); largest > tc.max || mean > 0.05 {
				t.Errorf("differs by up to %d levels, %.3f on average; at most %d allowed", largest, mean, tc.max)
			}
		})
	}
}

// TestFillPanics: wrong sizes are the caller's bug and must not pass unseen.
func TestFillPanics(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	f := imaging.Letterbox(8, 8, 32, 32)
	big := imaging.Letterbox(700, 700, 640, 640) // enough for four goroutines
	for name, call := range map[string]func(){
		"short input":   func() { f.Fill(make([]float32, 5), noise(8, 8), 0) },
		"other picture": func() { f.Fill(make([]float32, 3*32*32), noise(8, 9), 0) },
		"missing pixels": func() {
			big.Fill(make([]float32, 3*640*640), &imaging.Image{Width: 700, Height: 700}, 0)
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			call()
		}()
	}
}
