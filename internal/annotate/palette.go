package annotate

import (
	"image/color"
	"math"
)

// classColor gives neighbouring classes hues a golden angle apart, so that any
// few of them differ well, and all of them strong enough to be seen on a photo.
func classColor(class int) color.RGBA {
	const golden = 0.618033988749895
	hue := math.Mod(float64(class)*golden+0.02, 1) * 6
	channel := func(shift float64) uint8 {
		// The usual trapezoid of a hue circle with six sectors.
		k := math.Mod(hue+shift+6, 6)
		v := min(max(min(k, 4-k), 0), 1)
		return uint8(40 + 215*v)
	}
	return color.RGBA{channel(2), channel(0), channel(4), 255}
}

// A part of the body has one colour.
type part int

const (
	head part = iota
	torso
	arms
	legs
)

func partColor(p part) color.RGBA {
	return [...]color.RGBA{{80, 220, 60, 255}, {240, 110, 250, 255}, {60, 150, 255, 255}, {255, 140, 30, 255}}[p]
}

// cocoBody is the part each of COCO's 17 keypoints belongs to: nose, eyes, ears,
// shoulders, elbows, wrists, hips, knees, ankles, left before right.
var cocoBody = [17]part{head, head, head, head, head, arms, arms, arms, arms, arms, arms, legs, legs, legs, legs, legs, legs}

// cocoLimbs are the lines between them, as in COCO's annotation format.
var cocoLimbs = [19]struct {
	from, to int
	part     part
}{
	{15, 13, legs}, {13, 11, legs}, {16, 14, legs}, {14, 12, legs},
	{11, 12, torso}, {5, 11, torso}, {6, 12, torso},
	{5, 6, arms}, {5, 7, arms}, {6, 8, arms}, {7, 9, arms}, {8, 10, arms},
	{1, 2, head}, {0, 1, head}, {0, 2, head}, {1, 3, head}, {2, 4, head}, {3, 5, head}, {4, 6, head},
}
