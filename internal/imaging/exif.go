package imaging

import (
	"bytes"
	"encoding/binary"
)

// An orientation is the EXIF tag 0x0112: how the stored rows and columns are to
// be turned for display. 1 is as stored; anything outside 1..8 counts as 1.
type orientation uint16

// tiffOrientation reads the orientation from a TIFF structure: an EXIF block
// without its "Exif\0\0" prefix, or a TIFF file. Only the first directory is
// looked at, as OpenCV does. What is not well-formed gives 1.
func tiffOrientation(b []byte) orientation {
	const tagOrientation = 0x0112
	e, order := tiffEntry(b, tagOrientation)
	if e == nil || order.Uint16(e[2:]) != typeShort {
		return 1
	}
	if o := orientation(order.Uint16(e[8:])); o >= 1 && o <= 8 {
		return o
	}
	return 1
}

// Types of the values of a TIFF directory's entries.
const (
	typeByte  = 1
	typeShort = 3
	typeLong  = 4
)

// tiffEntry finds a tag in the first directory of a TIFF structure. An entry has 12
// bytes: tag, type, count and value, in the order that is returned with it. It is
// nil where the directory does not have it or is not well-formed up to there.
func tiffEntry(b []byte, tag uint16) (entry []byte, order binary.ByteOrder) {
	order = binary.LittleEndian
	switch {
	case bytes.HasPrefix(b, []byte("II*\x00")):
	case bytes.HasPrefix(b, []byte("MM\x00*")):
		order = binary.BigEndian
	default:
		return nil, order
	}
	if len(b) < 8 {
		return nil, order
	}
	at := uint64(order.Uint32(b[4:]))
	if at+2 > uint64(len(b)) {
		return nil, order
	}
	n := uint64(order.Uint16(b[at:]))
	for i := range n {
		e := at + 2 + 12*i
		if e+12 > uint64(len(b)) {
			return nil, order
		}
		if order.Uint16(b[e:]) == tag {
			return b[e:][:12], order
		}
	}
	return nil, order
}

// swaps reports whether rows become columns.
func (o orientation) swaps() bool { return o >= 5 && o <= 8 }

// oriented returns m turned as o says: m itself when there is nothing to turn,
// else another Image, and m is freed.
func (c *Codec) oriented(m *Image, o orientation) *Image {
	if o < 2 || o > 8 {
		return m
	}
	w, h := m.Width, m.Height
	fullW, fullH := m.fullW, m.fullH
	if o.swaps() {
		w, h, fullW, fullH = h, w, fullH, fullW
	}
	out := c.newImage(w, h)
	out.fullW, out.fullH = fullW, fullH
	// at + dx*x + dy*y is where output pixel (x, y) lies in m.
	stride := 3 * m.Width
	right, bottom := 3*(m.Width-1), stride*(m.Height-1)
	var at, dx, dy int
	switch o {
	case 2: // mirrored left to right
		at, dx, dy = right, -3, stride
	case 3: // upside down
		at, dx, dy = right+bottom, -3, -stride
	case 4: // mirrored top to bottom
		at, dx, dy = bottom, 3, -stride
	case 5: // transposed
		at, dx, dy = 0, stride, 3
	case 6: // to be turned clockwise
		at, dx, dy = bottom, -stride, 3
	case 7: // transposed along the other diagonal
		at, dx, dy = right+bottom, -stride, -3
	case 8: // to be turned counter-clockwise
		at, dx, dy = right, stride, -3
	}
	for y := range h {
		from := at + dy*y
		row := out.row(y)
		for x := 0; x+3 <= len(row); x += 3 {
			p := m.Pix[from:][:3]
			row[x], row[x+1], row[x+2] = p[0], p[1], p[2]
			from += dx
		}
	}
	m.Free()
	return out
}
