package yolo

import (
	"math"
	"testing"
)

// Every half but the NaNs survives the way to float and back.
func TestHalvesSurvive(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		f := HalfToFloat(h)
		if math.IsNaN(float64(f)) {
			if h&0x7c00 != 0x7c00 || h&0x3ff == 0 {
				t.Fatalf("%#04x became NaN", h)
			}
			continue
		}
		if got := FloatToHalf(f); got != h {
			t.Fatalf("%#04x became %v and %#04x", h, f, got)
		}
	}
}

// Values computed with numpy: np.array(x, np.float32).astype(np.float16).view(np.uint16).
func TestFloatToHalf(t *testing.T) {
	for f, want := range map[float32]uint16{
		0: 0, 1: 0x3c00, -2: 0xc000, 0.1: 0x2e66, 1.0 / 3: 0x3555,
		65504: 0x7bff, 65519.99: 0x7bff, 65520: 0x7c00, -1e9: 0xfc00,
		1 + 1.0/2048: 0x3c00, 1 + 3.0/2048: 0x3c02, // halfway: to the even neighbour
		6.1e-5: 0x03ff, 5.9604645e-8: 0x0001, 2.9802322e-8: 0x0000, 2.9802326e-8: 0x0001, 1e-10: 0,
	} {
		if got := FloatToHalf(f); got != want {
			t.Errorf("%v: got %#04x, want %#04x", f, got, want)
		}
	}
	if got := FloatToHalf(float32(math.NaN())); got&0x7fff != 0x7e00 {
		t.Errorf("NaN: got %#04x", got)
	}
	if got := FloatToHalf(float32(math.Inf(-1))); got != 0xfc00 {
		t.Errorf("-Inf: got %#04x", got)
	}
}
