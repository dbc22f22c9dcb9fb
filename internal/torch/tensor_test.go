package torch

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"
)

var le = binary.LittleEndian

func floats(values ...float32) string {
	var b []byte
	for _, v := range values {
		b = le.AppendUint32(b, math.Float32bits(v))
	}
	return string(b)
}

func TestTypes(t *testing.T) {
	tests := []struct {
		kind, data string
		want       []float32
	}{
		{"HalfStorage", "\x00\x3c\x00\xc0\xff\x7b\x01\x00", []float32{1, -2, 65504, 1.0 / (1 << 24)}},
		{"BFloat16Storage", "\x80\x3f\x00\xc0", []float32{1, -2}},
		{"FloatStorage", floats(1.5, -2), []float32{1.5, -2}},
		{"DoubleStorage", string(le.AppendUint64(nil, math.Float64bits(0.5))), []float32{0.5}},
		{"LongStorage", string(le.AppendUint64(nil, math.MaxUint64)), []float32{-1}},
		{"IntStorage", "\xfe\xff\xff\xff", []float32{-2}},
		{"ShortStorage", "\xfd\xff", []float32{-3}},
		{"CharStorage", "\xfc", []float32{-4}},
		{"ByteStorage", "\xfb", []float32{251}},
		{"BoolStorage", "\x01\x00", []float32{1, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.kind, func(t *testing.T) {
			n := int64(len(tt.want))
			c, err := Read(archiveOf(t, checkpoint(tensorOf(storageOf(tt.kind, "0", n), 0, []int64{n}, []int64{1})), tt.data))
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.Model().Child("model").Child("0").Tensor("weight").Floats()
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("got %v, %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestViews(t *testing.T) {
	tests := []struct {
		name          string
		offset        int64
		shape, stride []int64
		want          []float32
		err           string
	}{
		{name: "dense", shape: []int64{2, 3}, stride: []int64{3, 1}, want: []float32{0, 1, 2, 3, 4, 5}},
		{name: "transposed", shape: []int64{3, 2}, stride: []int64{1, 3}, want: []float32{0, 3, 1, 4, 2, 5}},
		{name: "column", offset: 1, shape: []int64{2, 1}, stride: []int64{3, 1}, want: []float32{1, 4}},
		{name: "scalar", offset: 5, want: []float32{5}},
		{name: "nothing", shape: []int64{0, 7}, stride: []int64{7, 1}, want: []float32{}},
		{name: "stride 0 of one", shape: []int64{1, 2}, stride: []int64{0, 1}, want: []float32{0, 1}},
		{name: "outside", shape: []int64{2, 3}, stride: []int64{4, 1}, err: "reaches element 6"},
		{name: "offset outside", offset: 7, shape: []int64{0}, stride: []int64{1}, err: "offset 7"},
		{name: "expanded", shape: []int64{7}, stride: []int64{0}, err: "more elements"},
		{name: "negative stride", offset: 5, shape: []int64{6}, stride: []int64{-1}, err: "negative"},
		{name: "negative size", shape: []int64{-1}, stride: []int64{1}, err: "negative"},
		{name: "overflow", shape: []int64{1 << 31, 1 << 31, 1 << 31}, stride: []int64{1, 1, 1}, err: "beyond"},
		{name: "far", shape: []int64{2, 2, 2, 2}, stride: []int64{1 << 31, 1 << 31, 1 << 31, 1 << 31}, err: "reaches element"},
		{name: "rank 9", shape: make([]int64, 9), stride: make([]int64, 9), err: "not the same number of ints"},
		{name: "ranks differ", shape: []int64{1, 2}, stride: []int64{0, 0}[:2:2], want: []float32{0, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Read(archiveOf(t, checkpoint(tensorOf(storageOf("FloatStorage", "0", 6), tt.offset, tt.shape, tt.stride)), floats(0, 1, 2, 3, 4, 5)))
			if err != nil || tt.err != "" {
				checkError(t, err, tt.err)
				return
			}
			w := c.Model().Child("model").Child("0").Tensor("weight")
			got, err := w.Floats()
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("got %v, %v, want %v", got, err, tt.want)
			}
			v, err := w.Values()
			if err != nil {
				t.Fatal(err)
			}
			for from := range tt.want { // in pieces it is the same
				part := make([]float32, len(tt.want)-from)
				if err := v.Read(part, int64(from)); err != nil || !slices.Equal(part, tt.want[from:]) {
					t.Errorf("from %d: got %v, %v", from, part, err)
				}
			}
			if v.Read(make([]float32, 1), int64(len(tt.want))) == nil {
				t.Error("reading beyond the end is no error")
			}
		})
	}
}

func TestSubviews(t *testing.T) {
	c, err := Read(archiveOf(t, checkpoint(tensorOf(storageOf("FloatStorage", "0", 6), 0, []int64{3, 2}, []int64{2, 1})), floats(0, 1, 2, 3, 4, 5)))
	if err != nil {
		t.Fatal(err)
	}
	w := c.Model().Child("model").Child("0").Tensor("weight")
	rows, err := w.Rows(1, 2)
	if err != nil {
		t.Fatal(err)
	}
	flipped, err := rows.Transpose()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := flipped.Floats(); err != nil || !slices.Equal(got, []float32{2, 4, 3, 5}) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, r := range [][2]int64{{-1, 2}, {2, 2}, {0, 4}, {0, -1}, {math.MaxInt64, 1}} {
		if _, err := w.Rows(r[0], r[1]); err == nil {
			t.Errorf("rows %v are no error", r)
		}
	}
}
