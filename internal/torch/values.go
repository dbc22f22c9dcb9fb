package torch

import (
	"encoding/binary"
	"fmt"
	"math"

	"lazyolo/yolo"
)

// Values are the elements of a tensor, read where they lie in the file.
type Values struct {
	tensor *Tensor
	raw    []byte // of the whole storage
	dense  bool   // row-major without gaps
}

// Read converts len(dst) elements to float32, the first at from in row-major
// order. Integers beyond 2^24 and float64 lose precision.
func (v *Values) Read(dst []float32, from int64) error {
	t := v.tensor
	if n := t.Elements(); from < 0 || int64(len(dst)) > n || from > n-int64(len(dst)) {
		return fmt.Errorf("elements %d to %d of %d", from, from+int64(len(dst)), n)
	}
	if len(dst) == 0 {
		return nil
	}
	if v.dense {
		v.convert(dst, t.offset+from)
		return nil
	}
	var index [maxRank]int64
	at, rest := t.offset, from
	for i := len(t.shape) - 1; i >= 0; i-- {
		index[i], rest = rest%t.shape[i], rest/t.shape[i]
		at += index[i] * t.stride[i]
	}
	for i := range dst {
		v.convert(dst[i:i+1], at)
		for d := len(t.shape) - 1; d >= 0; d-- {
			index[d]++
			at += t.stride[d]
			if index[d] < t.shape[d] {
				break
			}
			at -= index[d] * t.stride[d]
			index[d] = 0
		}
	}
	return nil
}

// convert reads consecutive elements of the storage, the first at from.
func (v *Values) convert(dst []float32, from int64) {
	size := int64(v.tensor.DType().Size())
	b := v.raw[from*size:][:int64(len(dst))*size]
	le := binary.LittleEndian
	switch v.tensor.DType() {
	case Float16:
		for i := range dst {
			dst[i] = yolo.HalfToFloat(le.Uint16(b[2*i:]))
		}
	case BFloat16:
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(le.Uint16(b[2*i:])) << 16)
		}
	case Float32:
		for i := range dst {
			dst[i] = math.Float32frombits(le.Uint32(b[4*i:]))
		}
	case Float64:
		for i := range dst {
			dst[i] = float32(math.Float64frombits(le.Uint64(b[8*i:])))
		}
	case Int64:
		for i := range dst {
			dst[i] = float32(int64(le.Uint64(b[8*i:])))
		}
	case Int32:
		for i := range dst {
			dst[i] = float32(int32(le.Uint32(b[4*i:])))
		}
	case Int16:
		for i := range dst {
			dst[i] = float32(int16(le.Uint16(b[2*i:])))
		}
	case Int8:
		for i := range dst {
			dst[i] = float32(int8(b[i]))
		}
	case Uint8, Bool:
		for i := range dst {
			dst[i] = float32(b[i])
		}
	}
}
