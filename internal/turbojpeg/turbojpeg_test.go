package turbojpeg_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"lazyolo/internal/turbojpeg"
)

// library opens libturbojpeg or skips the test.
func library(tb testing.TB) *turbojpeg.Library {
	tb.Helper()
	l := new(turbojpeg.Library)
	if err := l.Open(); err != nil {
		if os.Getenv("REQUIRE_TURBOJPEG") == "1" {
			tb.Fatal(err)
		}
		tb.Skip(err, "- REQUIRE_TURBOJPEG=1 makes this a failure")
	}
	return l
}

// The pictures and what OpenCV makes of them are imaging's.
const testdata = "../imaging/testdata"

func read(tb testing.TB, name string) []byte {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join(testdata, name))
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// decode reads a JPEG at 1/f of its size.
func decode(l *turbojpeg.Library, data []byte, f int) (pix []byte, w, h int, err error) {
	w, h, err = l.Header(data)
	if err != nil {
		return nil, 0, 0, err
	}
	w, h = (w+f-1)/f, (h+f-1)/f
	pix = bytes.Repeat([]byte{0xa5}, 3*w*h) // as dirty as a reused buffer
	return pix, w, h, l.Decode(pix, data, w, h)
}

// photo is a JPEG with gradients, edges and noise.
func photo(tb testing.TB, w, h int) []byte {
	tb.Helper()
	rnd := rand.New(rand.NewPCG(3, 4))
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			n := uint8(rnd.IntN(12))
			m.SetRGBA(x, y, color.RGBA{uint8(x*255/w) + n, uint8(y*255/h) + n, uint8((x / 16 * y / 16) % 256), 255})
		}
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, nil); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func TestVersion(t *testing.T) {
	v, err := library(t).Version()
	if err != nil || !strings.Contains(v, ".x, /") || !strings.Contains(v, "libturbojpeg") {
		t.Errorf("version %q, %v", v, err)
	}
}

// TestDecodeEqualsOpenCV: imaging's tests compare many more.
func TestDecodeEqualsOpenCV(t *testing.T) {
	l := library(t)
	for file, golden := range map[string]string{
		"progressive.jpg": "421d9a885a65.png",
		"grey.jpg":        "b2c0d3bb4b2b.png",
		"rgb.jpg":         "088b2429d4a4.png",
		"blocks-411.jpg":  "fd004094d06c.png",
		"trailing.jpg":    "421d9a885a65.png",
	} {
		pix, w, h, err := decode(l, read(t, "pictures/"+file), 1)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		want, err := png.Decode(bytes.NewReader(read(t, "decoded/"+golden)))
		if err != nil {
			t.Fatal(err)
		}
		if want.Bounds() != image.Rect(0, 0, w, h) {
			t.Errorf("%s: %dx%d, want %v", file, w, h, want.Bounds())
			continue
		}
		for i := range w * h {
			r, g, b, _ := want.At(i%w, i/w).RGBA()
			if [3]byte(pix[3*i:]) != [3]byte{byte(r >> 8), byte(g >> 8), byte(b >> 8)} {
				t.Errorf("%s: pixel %d differs from OpenCV's", file, i)
				break
			}
		}
	}
}

// TestDamage: what ends too early is an error whatever was warned of before; what
// is merely damaged is decoded, as by cv2.imdecode (5.0) for these very edits.
func TestDamage(t *testing.T) {
	l := library(t)
	whole := photo(t, 300, 200)
	edit := func(do func(b []byte) []byte) []byte { return do(bytes.Clone(whole)) }
	sof := bytes.Index(whole, []byte("\xff\xc0"))
	junk := edit(func(b []byte) []byte { return append(append(b[:sof:sof], "junkjunk"...), whole[sof:]...) })
	flip := edit(func(b []byte) []byte {
		for i := range 100 {
			b[len(b)/2+i] ^= 0x55
		}
		return b
	})
	for name, tt := range map[string]struct {
		data []byte
		ok   bool
	}{
		"whole":                              {whole, true},
		"bytes after the end":                {append(bytes.Clone(whole), "more"...), true},
		"bytes between markers":              {junk, true},
		"wrong bytes":                        {flip, true},
		"missing bytes":                      {edit(func(b []byte) []byte { return append(b[:len(b)/2], b[len(b)/2+100:]...) }), true},
		"no end":                             {whole[:len(whole)-2], false},
		"half an end":                        {whole[:len(whole)-1], false},
		"cut":                                {whole[:len(whole)*2/3], false},
		"cut after bytes between markers":    {junk[:len(junk)*2/3], false},
		"cut after wrong bytes":              {flip[:len(flip)*2/3], false},
		"cut behind a thumbnail with an end": {edit(func(b []byte) []byte { return append(thumbnail(whole), b[2:len(b)*2/3]...) }), false},
		"header only":                        {whole[:sof+20], false},
		"one byte":                           {whole[:1], false},
		"nothing":                            {nil, false},
		"text":                               {[]byte("hello, world"), false},
	} {
		_, _, _, err := decode(l, tt.data, 1)
		if (err == nil) != tt.ok || errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// thumbnail is the start of a file with a whole JPEG in an APP1 segment.
func thumbnail(whole []byte) []byte {
	small := whole[:min(len(whole), 5000)]
	small = append(bytes.Clone(small), 0xff, 0xd9)
	n := len(small) + 2
	return append([]byte{0xff, 0xd8, 0xff, 0xe1, byte(n >> 8), byte(n)}, small...)
}

// TestUnsupported: four inks are for Go's decoder.
func TestUnsupported(t *testing.T) {
	l := library(t)
	for _, file := range []string{"cmyk.jpg", "cmyk-no-adobe.jpg", "ycck.jpg"} {
		if _, _, err := l.Header(read(t, "pictures/"+file)); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: error %v", file, err)
		}
	}
}

// TestScaled: a fraction is close to the mean of the pixels it stands for.
func TestScaled(t *testing.T) {
	l := library(t)
	data := photo(t, 301, 203)
	whole, w, h, err := decode(l, data, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []int{2, 4, 8} {
		small, sw, sh, err := decode(l, data, f)
		if err != nil || sw != (w+f-1)/f || sh != (h+f-1)/f {
			t.Fatalf("1/%d: %dx%d, %v", f, sw, sh, err)
		}
		off := 0
		for y := range h / f {
			for x := range w / f {
				sum := 0
				for i := range f * f {
					sum += int(whole[3*((y*f+i/f)*w+x*f+i%f)])
				}
				d := sum/(f*f) - int(small[3*(y*sw+x)])
				off += d * d
			}
		}
		if mse := float64(off) / float64(w/f*h/f); mse > 30 {
			t.Errorf("1/%d: mean square difference %.1f", f, mse)
		}
	}
}

// TestWrongSizes: what does not fit the file leaves dst alone.
func TestWrongSizes(t *testing.T) {
	l := library(t)
	data := photo(t, 100, 80)
	for _, tt := range []struct{ w, h, n int }{{100, 80, 3*100*80 - 1}, {100, 81, 3 * 100 * 81}, {99, 80, 3 * 99 * 80}, {200, 160, 3 * 200 * 160}, {0, 0, 0}, {-100, -80, 3 * 100 * 80}, {50, 80, 3 * 50 * 80}} {
		dst := make([]byte, tt.n)
		if err := l.Decode(dst, data, tt.w, tt.h); err == nil || len(bytes.Trim(dst, "\x00")) > 0 {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

// TestEncodeEqualsOpenCV: the digest is of cv2.imencode(".jpg") of the same pixels.
func TestEncodeEqualsOpenCV(t *testing.T) {
	l := library(t)
	pix, w, h, err := decode(l, read(t, "pictures/q85-444.jpg"), 1)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for range 2 { // the second time into a used buffer
		b.Reset()
		if err := l.Encode(&b, pix, w, h, 95); err != nil {
			t.Fatal(err)
		}
	}
	sum := sha256.Sum256(b.Bytes())
	if got := hex.EncodeToString(sum[:]); got != "abc25301a41d108c228487d7af2a0533a9fa2fb80bae974bdbb78d4e309d9270" {
		t.Errorf("digest %s", got)
	}
}

func TestEncodeErrors(t *testing.T) {
	l := library(t)
	for _, tt := range []struct{ n, w, h int }{{0, 0, 0}, {5, 1, 2}, {3 * 70000, 70000, 1}, {3, -1, -1}} {
		if err := l.Encode(new(bytes.Buffer), make([]byte, tt.n), tt.w, tt.h, 95); err == nil {
			t.Errorf("%+v: no error", tt)
		}
	}
	if err := l.Encode(full{}, make([]byte, 3), 1, 1, 95); !errors.Is(err, errFull) {
		t.Errorf("error %v, want the writer's", err)
	}
}

type full struct{}

var errFull = errors.New("full")

func (full) Write([]byte) (int, error) { return 0, errFull }

// TestConcurrent: one Library for everybody, good and bad files mixed.
func TestConcurrent(t *testing.T) {
	library(t)
	l := new(turbojpeg.Library) // not open yet
	good := photo(t, 200, 150)
	want, _, _, err := decode(library(t), good, 1)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				if i%4 == 3 {
					if _, _, _, err := decode(l, good[:len(good)/2], 1); err == nil {
						t.Error("half a file decodes")
					}
					continue
				}
				pix, w, h, err := decode(l, good, 1)
				if err != nil || !bytes.Equal(pix, want) {
					t.Errorf("other pixels, %v", err)
					return
				}
				if err := l.Encode(new(bytes.Buffer), pix, w, h, 90); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzDecode(f *testing.F) {
	l := library(f)
	files, err := filepath.Glob(testdata + "/pictures/*.jpg")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, name := range files {
		f.Add(read(f, "pictures/"+filepath.Base(name)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		kept := bytes.Clone(data)
		w, h, err := l.Header(data)
		if err == nil && w*h <= 1<<16 {
			const guard = 64
			for _, n := range []int{1, 2} {
				sw, sh := (w+n-1)/n, (h+n-1)/n
				buf := make([]byte, 3*sw*sh+guard)
				_ = l.Decode(buf[:3*sw*sh], data, sw, sh)
				if len(bytes.Trim(buf[3*sw*sh:], "\x00")) > 0 {
					t.Error("wrote beyond the pixels")
				}
			}
		}
		if !bytes.Equal(kept, data) {
			t.Error("wrote to the input")
		}
	})
}
