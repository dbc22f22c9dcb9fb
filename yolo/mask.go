package yolo

// A Mask is the pixels of one object. The model knows them on a grid, the pixels
// of its input, that is mostly coarser than the picture and partly padding.
type Mask struct {
	Width, Height int    // of the grid
	Window        Window // the part of the grid that shows the picture
	// Runs are lengths of runs of equal pixels of the grid, row by row, off and on
	// in turn, off first (perhaps 0 long). They add up to Width*Height.
	Runs []int
	// Polygon is the outline in pixels of the original picture: the outer borders
	// of the mask's parts, joined into one line where they are nearest. The last
	// point is followed by the first. A mask one pixel wide has fewer than three.
	Polygon []Point
	// Nearest says that a pixel of the picture is the nearest of the grid, on or
	// off, instead of a blend of its neighbours: so the masks of a Region share out
	// the picture without gaps.
	Nearest bool
}

// A Window is a part of a grid: columns [X, X+W) and rows [Y, Y+H).
type Window struct{ X, Y, W, H int }

// A Bitmap is a rectangle of pixels, row by row, one byte each: 1 or 0.
type Bitmap struct {
	Window
	Pix []byte
}

// Columns returns the runs of equal pixels of a picture of w by h in which the bitmap
// lies, down the columns, off and on in turn, off first (perhaps 0 long): COCO's run-length
// encoding before it is text.
func (b Bitmap) Columns(w, h int) []int {
	runs := []int{0}
	on := byte(0)
	add := func(v byte, n int) {
		if n == 0 {
			return
		}
		if v != on {
			runs, on = append(runs, 0), v
		}
		runs[len(runs)-1] += n
	}
	add(0, b.X*h)
	for x := range b.W {
		add(0, b.Y)
		for y := range b.H {
			add(b.Pix[y*b.W+x], 1)
		}
		add(0, h-b.Y-b.H)
	}
	add(0, (w-b.X-b.W)*h)
	return runs
}

// Bits returns the smallest rectangle of the grid that holds the mask.
func (m *Mask) Bits() Bitmap {
	x0, y0, x1, y1 := m.Width, m.Height, 0, 0
	m.each(func(x, y, n int) {
		x0, x1 = min(x0, x), max(x1, x+n)
		y0, y1 = min(y0, y), max(y1, y+1)
	})
	if x1 <= x0 {
		return Bitmap{}
	}
	b := Bitmap{Window{x0, y0, x1 - x0, y1 - y0}, make([]byte, (x1-x0)*(y1-y0))}
	m.each(func(x, y, n int) {
		row := b.Pix[(y-y0)*b.W+x-x0:][:n]
		for i := range row {
			row[i] = 1
		}
	})
	return b
}

// each gives do the pieces of rows that are on.
func (m *Mask) each(do func(x, y, n int)) {
	at := 0
	for i, n := range m.Runs {
		if i%2 == 0 {
			at += n
			continue
		}
		for n > 0 {
			x := at % m.Width
			part := min(n, m.Width-x)
			do(x, at/m.Width, part)
			at, n = at+part, n-part
		}
	}
}

// Picture returns the mask in pixels of a picture of w by h, the original's size,
// as a rectangle around it: the grid is enlarged bilinearly and cut at one half,
// as Ultralytics does to draw masks, unless m is Nearest.
func (m *Mask) Picture(w, h int) Bitmap {
	grid := m.Bits()
	if len(grid.Pix) == 0 || w <= 0 || h <= 0 {
		return Bitmap{}
	}
	xs, ys := newScale(m.Window.W, w), newScale(m.Window.H, h)
	x0, x1 := xs.reach(grid.X-m.Window.X, grid.W)
	y0, y1 := ys.reach(grid.Y-m.Window.Y, grid.H)
	if x1 <= x0 || y1 <= y0 {
		return Bitmap{}
	}
	out := Bitmap{Window{x0, y0, x1 - x0, y1 - y0}, make([]byte, (x1-x0)*(y1-y0))}
	if m.Nearest {
		for y := range out.H {
			gy := ys.nearest(y0+y) + m.Window.Y - grid.Y
			for x := range out.W {
				gx := xs.nearest(x0+x) + m.Window.X - grid.X
				if gx >= 0 && gx < grid.W && gy >= 0 && gy < grid.H {
					out.Pix[y*out.W+x] = grid.Pix[gy*grid.W+gx]
				}
			}
		}
		return out
	}
	// Rows of the grid are enlarged along x once each, then mixed along y: in this
	// order the rounding of halves is torch's.
	above, below := enlarged{y: -1}, enlarged{y: -1}
	for y := range out.H {
		first, second, share := ys.at(y0 + y)
		if below.y == first {
			above, below = below, above
		}
		above.make(grid, m.Window, first, xs, x0, out.W)
		below.make(grid, m.Window, second, xs, x0, out.W)
		row := out.Pix[y*out.W:][:out.W]
		for x := range row {
			if above.v[x]*(1-share)+below.v[x]*share > 0.5 {
				row[x] = 1
			}
		}
	}
	return out
}

// An enlarged is a row of the window, enlarged along x.
type enlarged struct {
	y    int // of the window; -1: none yet
	v    []float32
	line []float32 // the row itself
}

// make makes e row y of the window, as n pixels of the picture from x0 on see it.
func (e *enlarged) make(b Bitmap, w Window, y int, xs scale, x0, n int) {
	if e.y == y {
		return
	}
	e.y = y
	if e.v == nil {
		e.v, e.line = make([]float32, n), make([]float32, w.W)
	}
	clear(e.line)
	if y += w.Y - b.Y; y >= 0 && y < b.H {
		for x, on := range b.Pix[y*b.W:][:b.W] {
			if at := x + b.X - w.X; at >= 0 && at < w.W {
				e.line[at] = float32(on)
			}
		}
	}
	for x := range e.v {
		first, second, share := xs.at(x0 + x)
		e.v[x] = e.line[first]*(1-share) + e.line[second]*share
	}
}

// A scale maps pixels of a picture to those of a window, along one axis.
type scale struct {
	window, picture int
	step            float32
}

func newScale(window, picture int) scale {
	return scale{window, picture, float32(window) / float32(picture)}
}

// at returns the two window pixels that picture pixel i lies between, and the
// share of the second.
func (s scale) at(i int) (first, second int, share float32) {
	v := max(0, float32((float64(i)+0.5)*float64(s.step)-0.5)) // rounded once, as torch's fused arithmetic does
	first = min(int(v), s.window-1)
	return first, min(first+1, s.window-1), v - float32(first)
}

// nearest returns the window pixel that picture pixel i takes, as torch's
// interpolation of mode nearest does.
func (s scale) nearest(i int) int { return min(int(float32(i)*s.step), s.window-1) }

// reach returns the picture pixels [from, to) that n window pixels from i on may touch.
func (s scale) reach(i, n int) (from, to int) {
	from = int(float32(i-1) / s.step)
	to = int(float32(i+n+1)/s.step) + 1
	return max(0, from), min(s.picture, to)
}
