package imaging_test

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"io"
	"math/rand/v2"
	"testing"

	"lazyolo/internal/imaging"
)

// scene makes a picture with gradients, edges and some noise: what costs a
// decoder its time.
func scene(w, h int) *imaging.Image {
	rnd := rand.New(rand.NewPCG(1, 2))
	img := &imaging.Image{Width: w, Height: h, Pix: make([]byte, 3*w*h)}
	for y := range h {
		for x := range w {
			p := img.Pix[3*(y*w+x):][:3]
			v := byte(x*255/w) ^ byte(y/16&1*64)
			p[0], p[1], p[2] = v+byte(rnd.IntN(8)), byte(y*255/h)+byte(rnd.IntN(8)), v/2
		}
	}
	return img
}

// sceneJPEG encodes a scene with 4:2:0 chroma, as cameras do.
func sceneJPEG(tb testing.TB, w, h int) []byte {
	tb.Helper()
	src := scene(w, h)
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		m.SetRGBA(i%w, i/w, color.RGBA{src.Pix[3*i], src.Pix[3*i+1], src.Pix[3*i+2], 255})
	}
	var buf bytes.Buffer
	if err := jpeg.Encode(&buf, m, nil); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

// sizes are those of measurements.md, section 5.
var sizes = []struct {
	name string
	w, h int
}{{"810x1080", 810, 1080}, {"1080x1440", 1080, 1440}, {"3024x4032", 3024, 4032}}

func BenchmarkDecode(b *testing.B) {
	for _, size := range sizes {
		data := sceneJPEG(b, size.w, size.h)
		run := func(name string, codec func(b *testing.B) *imaging.Codec) {
			b.Run(size.name+"/"+name, func(b *testing.B) {
				c := codec(b)
				b.ReportAllocs()
				for b.Loop() {
					img, err := c.Decode(data, func(w, h int) imaging.Fit { return imaging.Letterbox(w, h, 640, 640) })
					if err != nil {
						b.Fatal(err)
					}
					img.Free()
				}
			})
		}
		run("go", func(*testing.B) *imaging.Codec { return new(imaging.Codec) })
		run("turbo", func(b *testing.B) *imaging.Codec { return turbo(b) })
		run("fast", func(b *testing.B) *imaging.Codec {
			c := turbo(b)
			c.Fast = true
			return c
		})
	}
	data := sceneJPEG(b, 810, 1080)
	b.Run("810x1080/std", func(b *testing.B) { // Go's floor: planes only
		for b.Loop() {
			if _, err := jpeg.Decode(bytes.NewReader(data)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	for _, size := range sizes {
		img := scene(size.w, size.h)
		run := func(name string, codec func(b *testing.B) *imaging.Codec) {
			b.Run(size.name+"/"+name, func(b *testing.B) {
				c := codec(b)
				b.ReportAllocs()
				for b.Loop() {
					if err := c.Encode(io.Discard, "a.jpg", img); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		run("go", func(*testing.B) *imaging.Codec { return new(imaging.Codec) })
		run("turbo", func(b *testing.B) *imaging.Codec { return turbo(b) })
	}
}

func BenchmarkFill(b *testing.B) {
	for _, size := range []struct {
		name string
		w, h int
	}{{"810x1080", 810, 1080}, {"1080x1440", 1080, 1440}, {"3024x4032", 3024, 4032}, {"320x240", 320, 240}, {"640x640", 640, 640}} {
		b.Run(size.name, func(b *testing.B) {
			img := scene(size.w, size.h)
			fit := imaging.Letterbox(size.w, size.h, 640, 640)
			dst := make([]float32, 3*640*640)
			b.ReportAllocs()
			for b.Loop() {
				fit.Fill(dst, img, 0)
			}
		})
	}
}
