package convert

import (
	"math"
	"testing"

	"lazyolo/internal/torch"
)

func TestPython(t *testing.T) {
	cyclic := &torch.List{}
	cyclic.Items = []any{cyclic}
	tests := []struct {
		v    any
		want string
	}{
		{nil, "None"}, {true, "True"}, {int64(-3), "-3"}, {1.0, "1.0"}, {0.5, "0.5"}, {1e20, "1e+20"}, {"车", "'车'"},
		{"it's", `"it's"`}, {`"it's"`, `'"it\'s"'`}, {"a\\\n\t\r", `'a\\\n\t\r'`}, {"\x01\u200b\u00a0", `'\x01\u200b\xa0'`}, {"\U000e0001", `'\U000e0001'`},
		{torch.Tuple{int64(1)}, "(1,)"}, {torch.Tuple{int64(1), "a"}, "(1, 'a')"}, {&torch.List{Items: []any{nil, false}}, "[None, False]"},
		{&torch.Dict{}, "{}"}, {cyclic, "[[[[[[[[[None]]]]]]]]]"}, {torch.Global("os.system"), "None"},
	}
	for _, tt := range tests {
		if got := python(tt.v); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}

func TestFloatToHalf(t *testing.T) {
	tests := []struct {
		f    float32
		want uint16
	}{
		{0, 0}, {float32(math.Copysign(0, -1)), 0x8000}, {1, 0x3c00}, {-2, 0xc000}, {65504, 0x7bff}, {65519, 0x7bff}, {65520, 0x7c00}, {float32(math.Inf(-1)), 0xfc00},
		{float32(math.NaN()), 0x7e00}, {1.0 / (1 << 24), 1}, {1.0 / (1 << 25), 0}, {1.5 / (1 << 25), 1}, {1 + 1.0/(1<<11), 0x3c00}, {1 + 3.0/(1<<11), 0x3c02}, {0.1, 0x2e66},
	}
	for _, tt := range tests {
		if got := floatToHalf(tt.f); got != tt.want {
			t.Errorf("%g: got %#x, want %#x", tt.f, got, tt.want)
		}
	}
}
