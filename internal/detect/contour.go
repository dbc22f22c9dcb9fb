package detect

import "slices"

// A spot is a pixel of a mask.
type spot struct{ x, y int }

// A tracer follows borders over a mask framed by one pixel of background, so that
// every pixel of the mask has eight neighbours.
type tracer struct {
	marks  []int8 // 0 background, 1 foreground; border pixels become border or edge
	stride int
	around [8]int // steps to the neighbours, counter-clockwise from the right
}

// Marks of border pixels that were followed.
const (
	border = 2
	edge   = -2 // its right neighbour is background: a border ends here
)

// contours returns the outer border of every part of the mask that lies in no hole
// of another, as cv2.findContours(RETR_EXTERNAL, CHAIN_APPROX_SIMPLE) does: by the
// border following of Suzuki and Abe (1985), the ends of straight pieces only, the
// part found last first.
func (b *bits) contours() [][]spot {
	n := b.w + 2
	t := tracer{
		marks: make([]int8, n*(b.h+2)), stride: n,
		around: [8]int{1, 1 - n, -n, -n - 1, -1, n - 1, n, n + 1},
	}
	for y := range b.h {
		row := t.marks[(y+1)*n+1:][:b.w]
		for x, v := range b.pix[y*b.w:][:b.w] {
			row[x] = int8(v)
		}
	}
	var found [][]spot
	for y := 1; y <= b.h; y++ {
		outside := true // of every part whose border this row has crossed
		row := t.marks[y*n:][:n]
		for x := 1; x <= b.w; x++ {
			if row[x] == 1 && row[x-1] == 0 && outside {
				found = append(found, t.follow(x, y))
			}
			switch row[x] {
			case border:
				outside = false
			case edge:
				outside = true
			}
		}
	}
	slices.Reverse(found)
	return found
}

// follow walks once around the part that begins at x, y, where it was entered from
// the left, marking its border.
func (t *tracer) follow(x, y int) []spot {
	start := y*t.stride + x
	from := 4 // the neighbour left of the start is background
	dir := from
	for { // clockwise to the last neighbour of the walk
		dir = (dir + 7) % 8
		if t.marks[start+t.around[dir]] != 0 {
			break
		}
		if dir == from {
			t.marks[start] = edge
			return []spot{{x - 1, y - 1}} // a single pixel
		}
	}
	last := start + t.around[dir]
	at, came := start, -1 // the direction of the last step taken
	var line []spot
	for {
		first := dir
		for {
			dir = (dir + 1) % 8
			if t.marks[at+t.around[dir]] != 0 {
				break
			}
		}
		// The search from first to dir passed what is background; the right neighbour?
		if passed(first, dir) {
			t.marks[at] = edge
		} else if t.marks[at] == 1 {
			t.marks[at] = border
		}
		if dir != came {
			line = append(line, spot{at%t.stride - 1, at/t.stride - 1})
			came = dir
		}
		next := at + t.around[dir]
		if next == start && at == last {
			return line
		}
		at, dir = next, (dir+4)%8
	}
}

// passed reports whether direction 0, to the right, was looked at and found empty
// between first and dir, counter-clockwise.
func passed(first, dir int) bool { return dir != 0 && dir <= first }

// joined makes one line of contours, each connected to the next where they are
// nearest: Ultralytics' merge_multi_segment. The line goes out along the
// contours, taking of each but the last only the way to the next connection, and
// comes back along the rest of them.
func joined(contours [][]spot) []spot {
	if len(contours) < 2 {
		return slices.Concat(contours...)
	}
	type link struct{ in, out int }
	links := make([]link, len(contours))
	for i := 1; i < len(contours); i++ {
		links[i-1].out, links[i].in = nearest(contours[i-1], contours[i])
	}
	var out, back [][]spot
	last := len(contours) - 1
	for i, c := range contours {
		l := links[i]
		switch i {
		case 0:
			out = append(out, loop(c, l.out))
			continue
		case last:
			out = append(out, loop(c, l.in))
			continue
		}
		if l.in > l.out {
			c = slices.Clone(c)
			slices.Reverse(c)
			l.in, l.out = len(c)-1-l.in, len(c)-1-l.out
		}
		ring := loop(c, l.in)
		out = append(out, ring[:l.out-l.in+1])
		back = append(back, ring[l.out-l.in:])
	}
	slices.Reverse(back)
	return slices.Concat(slices.Concat(out...), slices.Concat(back...))
}

// loop returns the contour from point i around to the same point again.
func loop(c []spot, i int) []spot { return slices.Concat(c[i:], c[:i+1]) }

// nearest returns the first pair of points of two contours with the least distance.
func nearest(a, b []spot) (i, j int) {
	least := -1
	for n, p := range a {
		for m, q := range b {
			d := (p.x-q.x)*(p.x-q.x) + (p.y-q.y)*(p.y-q.y)
			if least < 0 || d < least {
				least, i, j = d, n, m
			}
		}
	}
	return i, j
}
