package oip

import (
	"bufio"
	"encoding/binary"
	"math"
	"strconv"
)

// writeData writes the elements of an output as a flat JSON array.
func writeData(out *bufio.Writer, o Output) {
	out.WriteByte('[')
	number := make([]byte, 0, 32)
	size := max(1, sizes[o.DataType])
	for raw, first := o.Raw, true; len(raw) > 0; first = false {
		if !first {
			out.WriteByte(',')
		}
		n := size
		switch o.DataType {
		case "FP32":
			number = appendNumber(number[:0], math.Float32frombits(binary.LittleEndian.Uint32(raw)))
			out.Write(number)
		case "INT64":
			number = strconv.AppendInt(number[:0], int64(binary.LittleEndian.Uint64(raw)), 10)
			out.Write(number)
		case bytesType:
			n = 4 + int(binary.LittleEndian.Uint32(raw))
			out.Write(rawJSON(string(raw[4:n])))
		default: // UINT8
			number = strconv.AppendUint(number[:0], uint64(raw[0]), 10)
			out.Write(number)
		}
		raw = raw[n:]
	}
	out.WriteByte(']')
}

// appendNumber appends the shortest text that reads back as v.
func appendNumber(b []byte, v float32) []byte {
	if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) { // a broken model's; JSON has no such numbers
		return append(b, "null"...)
	}
	return strconv.AppendFloat(b, float64(v), 'g', -1, 32)
}
