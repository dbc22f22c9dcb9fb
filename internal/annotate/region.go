package annotate

import (
	"image"

	"lazyolo/yolo"
)

// region writes the name of a class where its pixels lie thickest, moved when it
// would leave the picture.
func (d drawing) region(g yolo.Region) {
	if g.Mask == nil {
		return
	}
	x, y, ok := thickest(g.Mask)
	if !ok {
		return
	}
	w := g.Mask.Window
	name := d.name(g.Name, g.Class)
	middle := image.Pt((2*(x-w.X)+1)*d.Width/(2*w.W), (2*(y-w.Y)+1)*d.Height/(2*w.H))
	at := middle.Sub(image.Pt(d.width(name)/2, d.height/2))
	at.Y = max(min(at.Y, d.Height-d.height), 0)
	d.text(name, at, at.Y, classColor(g.Class), 255)
}

// thickest returns the pixel of the mask's grid, inside the window, that is
// farthest from all that are off or outside; of several the one nearest to the
// centroid. ok is false when none is on. Distances count diagonal steps as one,
// and beyond 255 they are equal.
func thickest(m *yolo.Mask) (x, y int, ok bool) {
	b := m.Bits()
	x0, x1 := max(b.X, m.Window.X), min(b.X+b.W, m.Window.X+m.Window.W)
	y0, y1 := max(b.Y, m.Window.Y), min(b.Y+b.H, m.Window.Y+m.Window.H)
	if x0 >= x1 || y0 >= y1 {
		return 0, 0, false
	}
	// A frame one pixel wide that is off, so that every pixel has eight neighbours.
	stride := x1 - x0 + 2
	depth := make([]byte, stride*(y1-y0+2))
	on, sumX, sumY := 0, 0, 0
	for y := y0; y < y1; y++ {
		row := depth[(y-y0+1)*stride+1:][:x1-x0]
		copy(row, b.Pix[(y-b.Y)*b.W+x0-b.X:])
		for i, v := range row {
			on, sumX, sumY = on+int(v), sumX+int(v)*(x0+i), sumY+int(v)*y
		}
	}
	if on == 0 {
		return 0, 0, false
	}
	measure(depth, stride)
	best, nearest := byte(0), 0
	for i, v := range depth {
		if v == 0 || v < best {
			continue
		}
		px, py := x0+i%stride-1, y0+i/stride-1
		dx, dy := px-sumX/on, py-sumY/on
		if away := dx*dx + dy*dy; v > best || away < nearest {
			best, nearest, x, y = v, away, px, py
		}
	}
	return x, y, true
}

// measure replaces the ones of a picture, whose outermost pixels are zero, by their
// distance to the nearest zero: from those before each, then from those after.
func measure(pix []byte, stride int) {
	for i := stride + 1; i < len(pix); i++ {
		if pix[i] != 0 {
			pix[i] = further(min(pix[i-stride-1], pix[i-stride], pix[i-stride+1], pix[i-1]))
		}
	}
	for i := len(pix) - stride - 2; i >= 0; i-- {
		if pix[i] != 0 {
			pix[i] = min(pix[i], further(min(pix[i+stride+1], pix[i+stride], pix[i+stride-1], pix[i+1])))
		}
	}
}

// further is one step more, as far as a byte goes.
func further(v byte) byte { return min(v, 254) + 1 }
