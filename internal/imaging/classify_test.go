package imaging

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"testing"
)

// pattern is a picture that both this test and the recording script draw.
func pattern(w, h int) *Image {
	img := new(Codec).newImage(w, h)
	for y := range h {
		for x := range w {
			p := img.Pix[3*(y*w+x):]
			p[0] = byte(x*7 + y*13 + x*y%31)
			p[1] = byte(x*x + 3*y)
			p[2] = byte(255 - x*5 + y*y)
		}
	}
	return img
}

// TestCropEqualsPillow compares with torchvision's Resize and CenterCrop on a PIL
// image: digests of the bytes they gave (torchvision 0.29, Pillow 13).
func TestCropEqualsPillow(t *testing.T) {
	for _, tt := range []struct {
		w, h, dw, dh int
		want         string
	}{
		{61, 47, 16, 16, "b706f818130f100d"},
		{47, 61, 16, 16, "f81f1f1f13305840"},
		{20, 20, 20, 20, "2df802737570d1ad"},
		{20, 35, 20, 20, "66f712ce327fc136"},
		{9, 7, 24, 24, "927a5e8aef2c08c5"},
		{7, 30, 24, 24, "65d86db362f3d89d"},
		{61, 47, 24, 16, "01102722c34e5294"},
		{300, 2, 8, 8, "5dbcd8b8d8ab23b9"},
		{101, 100, 32, 32, "8f90ad485a312995"},
		{33, 64, 32, 32, "3c851a94e7d4299a"},
	} {
		t.Run(fmt.Sprintf("%dx%d to %dx%d", tt.w, tt.h, tt.dw, tt.dh), func(t *testing.T) {
			dst := make([]float32, 3*tt.dw*tt.dh)
			NewCrop(tt.w, tt.h, tt.dw, tt.dh).Fill(dst, pattern(tt.w, tt.h), 0)
			pix := make([]byte, len(dst))
			for i := range tt.dw * tt.dh {
				for c := range 3 {
					pix[3*i+c] = byte(math.Round(float64(dst[c*tt.dw*tt.dh+i]) * 255))
				}
			}
			sum := sha256.Sum256(pix)
			if got := hex.EncodeToString(sum[:8]); got != tt.want {
				t.Errorf("digest %s, want %s", got, tt.want)
			}
		})
	}
}

func TestScaleGoesBackToThePicture(t *testing.T) {
	s := Letterbox(200, 100, 100, 100).Scale() // half size, 25 rows of padding above
	if x, y, w, h := s.Centred(10, 35, 4, 6); x != 20 || y != 20 || w != 8 || h != 12 {
		t.Errorf("Centred gave %v %v %v %v", x, y, w, h)
	}
	if x, y, _, _ := s.Centred(-10, 0, 4, 6); x != -20 || y != -50 {
		t.Errorf("Centred clipped to %v %v", x, y)
	}
	if p := s.Point(120, 10); p.X != 200 || p.Y != 0 {
		t.Errorf("Point gave %v, want the corner of the picture", p)
	}
	if b := s.Box(10, 30, 20, 200); b.X1 != 20 || b.Y1 != 10 || b.X2 != 40 || b.Y2 != 100 {
		t.Errorf("Box gave %v", b)
	}
	w := Letterbox(200, 100, 100, 100).Window()
	if w.X != 0 || w.Y != 25 || w.W != 100 || w.H != 50 {
		t.Errorf("Window is %v", w)
	}
}

func TestStretchFillsTheInput(t *testing.T) {
	img := pattern(40, 20)
	dst := make([]float32, 3*16*16)
	Stretch(40, 20, 16, 16).Fill(dst, img, 0)
	for i, v := range dst[:16] {
		if v == unit[padding] && dst[256+i] == v && dst[512+i] == v {
			t.Fatalf("column %d of the first row is padding", i)
		}
	}
}
