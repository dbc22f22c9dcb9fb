package annotate_test

import (
	"bytes"
	"context"
	"flag"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"lazyolo/internal/annotate"
	"lazyolo/internal/imaging"
	"lazyolo/yolo"
)

var update = flag.Bool("update", false, "write the golden pictures anew")

func grey(w, h int) *imaging.Image {
	return &imaging.Image{Width: w, Height: h, Pix: bytes.Repeat([]byte{128}, 3*w*h)}
}

func painter() *annotate.Painter { return annotate.NewPainter(new(imaging.Codec), 2, nil) }

func draw(t *testing.T, img *imaging.Image, r yolo.Result) *imaging.Image {
	t.Helper()
	if err := painter().Draw(img, &r); err != nil {
		t.Fatal(err)
	}
	return img
}

func at(img *imaging.Image, x, y int) [3]byte {
	return [3]byte(img.Pix[3*(y*img.Width+x):])
}

func object(class int, name string, conf, x1, y1, x2, y2 float32) yolo.Object {
	return yolo.Object{Class: class, Name: name, Confidence: conf, Box: yolo.Box{X1: x1, Y1: y1, X2: x2, Y2: y2}}
}

// disc is a mask on a grid of half the picture's size.
func disc(w, h, cx, cy, radius int) *yolo.Mask {
	m := &yolo.Mask{Width: w / 2, Height: h / 2, Window: yolo.Window{W: w / 2, H: h / 2}}
	on, run := false, 0
	for i := range m.Width * m.Height {
		dx, dy := 2*(i%m.Width)-cx, 2*(i/m.Width)-cy
		if (dx*dx+dy*dy < radius*radius) != on {
			m.Runs = append(m.Runs, run)
			on, run = !on, 0
		}
		run++
	}
	m.Runs = append(m.Runs, run)
	return m
}

// regions are the classes of a grid of w by h, of which the first and last rows are padding,
// as a semantic model gives them; class is that of a pixel, below 0: none.
func regions(w, h, padding int, names []string, class func(x, y int) int) []yolo.Region {
	var out []yolo.Region
	for c, name := range names {
		m := &yolo.Mask{Width: w, Height: h, Window: yolo.Window{Y: padding, W: w, H: h - 2*padding}, Nearest: true}
		on, run := false, 0
		for i := range w * h {
			if (class(i%w, i/w-padding) == c) != on {
				m.Runs = append(m.Runs, run)
				on, run = !on, 0
			}
			run++
		}
		m.Runs = append(m.Runs, run)
		out = append(out, yolo.Region{Class: c, Name: name, Mask: m})
	}
	return out
}

// street is a scene of classes: sky, a road that widens, a tree, a wheel with a
// hole, a spot in the corner, and something that belongs to none.
func street(x, y int) int {
	within := func(cx, cy, r int) bool { return (x-cx)*(x-cx)+(y-cy)*(y-cy) < r*r }
	switch {
	case within(140, 60, 25) && !within(140, 60, 12):
		return 3
	case x >= 154 && y >= 120:
		return 4
	case within(30, 50, 22):
		return 2
	case y >= 60 && x > 70-y/2 && x < 80+y/2:
		return 1
	case y < 60:
		return 0
	}
	return -1
}

// rotated is a box as detect gives it.
func rotated(o yolo.Object, x, y, w, h float32, angle float64) yolo.Object {
	cos, sin := float32(math.Cos(angle)), float32(math.Sin(angle))
	ax, ay, bx, by := w/2*cos, w/2*sin, -h/2*sin, h/2*cos
	o.Rotated = &yolo.Rotated{X: x, Y: y, W: w, H: h, Angle: float32(angle), Corners: [4]yolo.Point{
		{X: x + ax + bx, Y: y + ay + by}, {X: x + ax - bx, Y: y + ay - by}, {X: x - ax - bx, Y: y - ay - by}, {X: x - ax + bx, Y: y - ay + by},
	}}
	return o
}

// person has COCO's keypoints, the last ankle not visible.
func person() yolo.Object {
	o := object(0, "person", 0.91, 60, 18, 170, 190)
	for i, p := range [17][2]float32{
		{115, 40}, {120, 35}, {110, 35}, {126, 38}, {104, 38}, {135, 65}, {95, 65}, {148, 95}, {82, 95},
		{155, 125}, {75, 122}, {127, 120}, {102, 120}, {132, 150}, {98, 152}, {136, 182}, {95, 185},
	} {
		v := float32(0.9)
		if i == 16 {
			v = 0.1
		}
		o.Keypoints = append(o.Keypoints, yolo.Keypoint{Point: yolo.Point{X: p[0], Y: p[1]}, Visible: v})
	}
	return o
}

// scenes are the golden pictures, one for each kind of answer.
func scenes() map[string]yolo.Result {
	masked := object(2, "咖啡杯", 0.83, 30, 40, 150, 160)
	masked.Mask = disc(240, 200, 90, 100, 60)
	second := object(7, "勺子", 0.62, 100, 60, 220, 180)
	second.Mask = disc(240, 200, 160, 120, 60)
	points := object(4, "hand", 0.5, 20, 60, 220, 180)
	for i := range 5 {
		points.Keypoints = append(points.Keypoints, yolo.Keypoint{Point: yolo.Point{X: 40 + 40*float32(i), Y: 120}, Visible: -1})
	}
	points.Keypoints[4].Point = yolo.Point{}
	return map[string]yolo.Result{
		"detect": {Objects: []yolo.Object{
			object(0, "安全帽", 0.853, 20, 30, 120, 140), object(1, "反光衣 瑕疵", 0.7, 80, 90, 235, 195),
			object(5, "café", 0.41, -20, -20, 60, 40), object(9, "이름", 0.3, 150, 10, 300, 80),
		}},
		"segment": {Objects: []yolo.Object{masked, second}},
		"pose":    {Objects: []yolo.Object{person()}},
		"points":  {Objects: []yolo.Object{points}},
		"obb": {Objects: []yolo.Object{
			rotated(object(3, "船", 0.77, 0, 0, 0, 0), 110, 110, 140, 50, 0.5), rotated(object(11, "plane", 0.66, 0, 0, 0, 0), 200, 40, 90, 90, -0.8),
		}},
		"semantic": {Regions: regions(160, 174, 20, []string{"天空", "道路", "树🌳", "wheel", "spot"}, street)},
		"classify": {Probs: []yolo.Prob{{Class: 1, Name: "虎斑猫", Confidence: 0.91}, {Class: 2, Name: "Egyptian cat", Confidence: 0.05}, {Class: 3, Confidence: 0.01}}},
	}
}

// TestGolden compares with pictures looked at by people; -update writes them.
func TestGolden(t *testing.T) {
	for name, r := range scenes() {
		t.Run(name, func(t *testing.T) {
			img := &imaging.Image{Width: 240, Height: 200, Pix: make([]byte, 3*240*200)}
			for i := range 240 * 200 {
				copy(img.Pix[3*i:], []byte{byte(90 + i%240/3), byte(90 + i/240/2), 120})
			}
			draw(t, img, r)
			file := filepath.Join("testdata", name+".png")
			if *update {
				var b bytes.Buffer
				if err := new(imaging.Codec).Encode(&b, file, img); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			compare(t, img, file)
		})
	}
}

// compare allows for the last bits of floating point, which differ by processor.
func compare(t *testing.T, img *imaging.Image, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if want.Bounds() != image.Rect(0, 0, img.Width, img.Height) {
		t.Fatalf("%dx%d pixels, want %v", img.Width, img.Height, want.Bounds())
	}
	far := 0
	for i := range img.Width * img.Height {
		c := color.RGBAModel.Convert(want.At(i%img.Width, i/img.Width)).(color.RGBA)
		for j, v := range [3]byte{c.R, c.G, c.B} {
			if d := int(img.Pix[3*i+j]) - int(v); d < -3 || d > 3 {
				far++
			}
		}
	}
	if far > 0 {
		t.Errorf("%d samples differ from %s by more than 3 levels", far, file)
	}
}

func TestBox(t *testing.T) {
	img := draw(t, grey(300, 200), yolo.Result{Objects: []yolo.Object{object(3, "cat", 0.853, 50, 60, 200, 150)}})
	untouched := [3]byte{128, 128, 128}
	edge := at(img, 50, 100)
	if edge == untouched {
		t.Error("no left edge")
	}
	for name, p := range map[string]image.Point{"right": {199, 100}, "top": {199, 60}, "bottom": {100, 149}} {
		if at(img, p.X, p.Y) != edge {
			t.Errorf("%s edge is %v, left edge %v", name, at(img, p.X, p.Y), edge)
		}
	}
	for name, p := range map[string]image.Point{"inside": {120, 100}, "outside": {250, 180}} {
		if at(img, p.X, p.Y) != untouched {
			t.Errorf("%s is painted", name)
		}
	}
	if at(img, 51, 45) != edge {
		t.Error("no label above the box")
	}
}

// TestLabels: a character the font lacks is a box or one that reads the same, names
// mostly of such are "class N", and neighbouring classes look different.
func TestLabels(t *testing.T) {
	label := func(class int, name string) []byte {
		return draw(t, grey(300, 200), yolo.Result{Objects: []yolo.Object{object(class, name, 0.5, 20, 90, 200, 150)}}).Pix
	}
	class2 := label(2, "class 2")
	for _, name := range []string{"", "화재", "🔥", "🔥a🔥", "\xff", " ", "\u3000", "\u200b"} {
		if !bytes.Equal(label(2, name), class2) {
			t.Errorf("name %q is not drawn as class 2", name)
		}
	}
	for _, name := range []string{"明火", "café", "电动自行车", "（烟雾）", "树🌳", "şapka", "\xffa"} {
		if bytes.Equal(label(2, name), class2) {
			t.Errorf("name %q is drawn as class 2", name)
		}
	}
	for name, as := range map[string]string{
		"树🌳": "树화", "a\nb": "a b", "cafe\u0301": "cafe", "e\u2011bike": "e-bike", "A\u30FBB": "A·B", "\uFFE55": "¥5",
	} {
		if !bytes.Equal(label(2, name), label(2, as)) {
			t.Errorf("name %q is not drawn as %q", name, as)
		}
	}
	if box := label(2, "树🌳"); bytes.Equal(box, label(2, "树")) || bytes.Equal(box, label(2, "树\u3000")) {
		t.Error("what is missing is not to be seen")
	}
	if bytes.Equal(label(1, "x"), label(2, "x")) {
		t.Error("classes 1 and 2 have one colour")
	}
}

// TestAnywhere: no object and no picture may make it panic or take long.
func TestAnywhere(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	var r yolo.Result
	for i, b := range [][4]float32{
		{-100, -100, 5000, 5000},
		{5, 5, 5, 5},
		{9, 9, 2, 2},
		{nan, nan, nan, nan},
		{-inf, -inf, inf, inf},
		{1e30, 1e30, 1e30, 1e30},
		{-1e30, 3, 1e30, 50},
	} {
		o := object(i-2, "a rather long name", 0.5, b[0], b[1], b[2], b[3])
		r.Objects = append(r.Objects, o)
		o.Rotated = &yolo.Rotated{Corners: [4]yolo.Point{{X: b[0], Y: b[1]}, {X: b[2], Y: b[1]}, {X: b[2], Y: b[3]}, {X: b[0], Y: b[3]}}}
		o.Mask = disc(64, 48, 20, 20, 10)
		for k := range 17 {
			o.Keypoints = append(o.Keypoints, yolo.Keypoint{Point: yolo.Point{X: b[k%4], Y: b[(k+1)%4]}, Visible: -float32(k % 2)})
		}
		r.Objects = append(r.Objects, o)
	}
	r.Regions = append(r.Regions, regions(160, 174, 20, []string{"天空", "", "tree", "x", "y"}, street)...)
	r.Regions = append(r.Regions, yolo.Region{}, yolo.Region{Mask: &yolo.Mask{}}, yolo.Region{Class: -1, Mask: disc(64, 48, 20, 20, 10)},
		yolo.Region{Mask: &yolo.Mask{Width: 1, Height: 1, Window: yolo.Window{X: 1, W: 1, H: 1}, Runs: []int{0, 1}}})
	for range 30 {
		r.Probs = append(r.Probs, yolo.Prob{Class: -1, Name: "one of many", Confidence: nan})
	}
	for _, size := range []image.Point{{1, 1}, {1, 500}, {500, 1}, {64, 48}, {4000, 1500}} {
		draw(t, grey(size.X, size.Y), r)
	}
}

func TestNothingToDraw(t *testing.T) {
	img := grey(30, 20)
	if draw(t, img, yolo.Result{}); !bytes.Equal(img.Pix, grey(30, 20).Pix) {
		t.Error("painted")
	}
}

// TestRender: many at once, each as when alone.
func TestRender(t *testing.T) {
	var in bytes.Buffer
	if err := new(imaging.Codec).Encode(&in, "a.png", grey(240, 200)); err != nil {
		t.Fatal(err)
	}
	p := painter()
	r := scenes()["segment"]
	render := func() []byte {
		var out bytes.Buffer
		if err := p.Render(t.Context(), &out, "a.png", in.Bytes(), &r); err != nil {
			t.Error(err)
		}
		return out.Bytes()
	}
	want := render()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if !bytes.Equal(render(), want) {
				t.Error("another picture than before")
			}
		})
	}
	wg.Wait()
	if err := p.Render(t.Context(), new(bytes.Buffer), "a.png", []byte("no picture"), &r); yolo.CodeOf(err) != yolo.Invalid {
		t.Errorf("error %v", err)
	}
}

// TestRenderWaits: a full Painter lets go of callers that give up.
func TestRenderWaits(t *testing.T) {
	p := annotate.NewPainter(new(imaging.Codec), 1, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var in bytes.Buffer
	if err := new(imaging.Codec).Encode(&in, "a.png", grey(24, 20)); err != nil {
		t.Fatal(err)
	}
	w := writer(func() {
		cancel()
		if err := p.Render(ctx, new(bytes.Buffer), "a.png", in.Bytes(), &yolo.Result{}); err != context.Canceled {
			t.Errorf("error %v", err)
		}
	})
	if err := p.Render(t.Context(), w, "a.png", in.Bytes(), &yolo.Result{}); err != nil {
		t.Error(err)
	}
}

// A writer calls itself on the first Write.
type writer func()

func (w writer) Write(p []byte) (int, error) {
	w()
	return len(p), nil
}

func BenchmarkDraw(b *testing.B) {
	var boxes, masks yolo.Result
	for i := range 10 {
		o := object(i, "安全帽", 0.8, float32(40*i), 50, float32(40*i+300), 500)
		boxes.Objects = append(boxes.Objects, o)
		o.Mask = disc(640, 480, 60*i, 200, 150)
		masks.Objects = append(masks.Objects, o)
	}
	for name, r := range map[string]*yolo.Result{"boxes": &boxes, "masks": &masks} {
		b.Run(name, func(b *testing.B) {
			p, img := painter(), grey(810, 1080)
			b.ReportAllocs()
			for b.Loop() {
				if err := p.Draw(img, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
