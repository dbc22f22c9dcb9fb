package annotate

import (
	"image"
	"image/color"
	"math"

	"lazyolo/yolo"
)

// fill paints a rectangle with a/255 of the colour.
func (c canvas) fill(r image.Rectangle, ink color.RGBA, a uint32) {
	r = r.Intersect(c.bounds())
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			c.blend(x, y, ink, a)
		}
	}
}

// frame draws the outline of r, line pixels wide and inside r.
func (c canvas) frame(r image.Rectangle, line int, ink color.RGBA) {
	c.fill(image.Rect(r.Min.X, r.Min.Y, r.Max.X, min(r.Min.Y+line, r.Max.Y)), ink, 255)
	c.fill(image.Rect(r.Min.X, max(r.Max.Y-line, r.Min.Y), r.Max.X, r.Max.Y), ink, 255)
	c.fill(image.Rect(r.Min.X, r.Min.Y, min(r.Min.X+line, r.Max.X), r.Max.Y), ink, 255)
	c.fill(image.Rect(max(r.Max.X-line, r.Min.X), r.Min.Y, r.Max.X, r.Max.Y), ink, 255)
}

// mask tints the pixels that are on.
func (c canvas) mask(b yolo.Bitmap, ink color.RGBA, a uint32) {
	r := image.Rect(b.X, b.Y, b.X+b.W, b.Y+b.H)
	in := r.Intersect(c.bounds())
	for y := in.Min.Y; y < in.Max.Y; y++ {
		row := b.Pix[(y-b.Y)*b.W:][:b.W]
		for x := in.Min.X; x < in.Max.X; x++ {
			if row[x-b.X] != 0 {
				c.blend(x, y, ink, a)
			}
		}
	}
}

// line draws a line with round ends and smooth edges; from a point to itself, a
// disc. Points may lie anywhere; those that are no numbers draw nothing.
func (c canvas) line(a, b yolo.Point, width float64, ink color.RGBA) {
	reach := width/2 + 0.5 // beyond it a pixel is not touched
	s, ok := segment{float64(a.X), float64(a.Y), float64(b.X), float64(b.Y)}.
		within(-reach, float64(c.Height)+reach)
	if !ok {
		return
	}
	top, bottom := min(s.y0, s.y1)-reach, max(s.y0, s.y1)+reach
	for y := max(int(math.Floor(top)), 0); y < min(int(math.Ceil(bottom)), c.Height); y++ {
		cy := float64(y) + 0.5
		near, ok := s.within(cy-reach, cy+reach)
		if !ok {
			continue
		}
		left := min(max(min(near.x0, near.x1)-reach, 0), float64(c.Width))
		right := min(max(near.x0, near.x1)+reach, float64(c.Width))
		for x := int(left); float64(x) < right; x++ {
			cover := reach - s.distance(float64(x)+0.5, cy)
			c.blend(x, y, ink, uint32(min(max(cover, 0), 1)*255+0.5))
		}
	}
}

// A segment is a piece of a straight line.
type segment struct{ x0, y0, x1, y1 float64 }

// within returns the part of s between two heights; ok is false if there is none
// or s is not made of finite numbers.
func (s segment) within(top, bottom float64) (part segment, ok bool) {
	if sum := s.x0 + s.y0 + s.x1 + s.y1; math.IsNaN(sum) || math.IsInf(sum, 0) {
		return s, false
	}
	if s.y0 > s.y1 {
		s = segment{s.x1, s.y1, s.x0, s.y0}
	}
	if s.y1 < top || s.y0 > bottom {
		return s, false
	}
	slope := 0.0
	if s.y1 > s.y0 {
		slope = (s.x1 - s.x0) / (s.y1 - s.y0)
	}
	part = s
	if s.y0 < top {
		part.x0, part.y0 = s.x0+(top-s.y0)*slope, top
	}
	if s.y1 > bottom {
		part.x1, part.y1 = s.x0+(bottom-s.y0)*slope, bottom
	}
	return part, true
}

// distance of a point to the segment.
func (s segment) distance(x, y float64) float64 {
	dx, dy := s.x1-s.x0, s.y1-s.y0
	t := 0.0
	if n := dx*dx + dy*dy; n > 0 {
		t = min(max(((x-s.x0)*dx+(y-s.y0)*dy)/n, 0), 1)
	}
	return math.Hypot(x-s.x0-t*dx, y-s.y0-t*dy)
}
