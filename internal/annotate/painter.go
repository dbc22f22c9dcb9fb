package annotate

import (
	"context"
	"fmt"
	"image"
	"image/color"
	"io"
	"math"
	"sync"

	"golang.org/x/image/font/opentype"

	"lazyolo/internal/imaging"
	"lazyolo/yolo"
)

// A Painter draws results onto pictures. Its methods may be called concurrently.
type Painter struct {
	pictures *imaging.Codec
	room     Room
	slots    chan struct{} // one for each picture in work

	parse   sync.Once // of the font, when first drawn with: idle servers need none
	font    *opentype.Font
	fontErr error
}

// A Room waits until bytes of memory are free and holds them until release is called.
type Room func(ctx context.Context, bytes int64) (release func(), err error)

// NewPainter makes a Painter that has at most so many pictures in work at once
// (at least one) and reads and writes them with pictures. room gives it the memory
// for each; nil: there is no budget.
func NewPainter(pictures *imaging.Codec, concurrency int, room Room) *Painter {
	if room == nil {
		room = func(context.Context, int64) (func(), error) { return func() {}, nil }
	}
	return &Painter{pictures: pictures, room: room, slots: make(chan struct{}, max(1, concurrency))}
}

// Render writes the encoded picture with r drawn onto it to w, in the format that
// name's extension asks for (see imaging.Codec.Encode). It keeps no reference.
func (p *Painter) Render(ctx context.Context, w io.Writer, name string, picture []byte, r *yolo.Result) error {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	m, err := p.pictures.Measure(picture)
	if err != nil {
		return err
	}
	// The pixels while they are decoded, and as many bytes to encode them into.
	release, err := p.room(ctx, m.Bytes+3*int64(m.Width+16)*int64(m.Height+16))
	if err != nil {
		return err
	}
	defer release()
	img, err := p.pictures.Decode(picture, nil)
	if err != nil {
		return err
	}
	defer img.Free()
	if err := p.Draw(img, r); err != nil {
		return err
	}
	return p.pictures.Encode(w, name, img)
}

// Draw draws each object with a label such as "person 0.85", in a colour that
// depends on its class alone: masks tinted, boxes upright or rotated, skeletons;
// of a classification the best classes as lines of text, and of a semantic
// segmentation the pixels of each class tinted, with its name where they lie
// thickest. Line width and type size follow the size of the picture. The best
// object comes first and lies on top.
// A character the font lacks is drawn as a crossed box, and a name that consists
// mostly of such as "class N". Objects may reach beyond the picture.
func (p *Painter) Draw(img *imaging.Image, r *yolo.Result) error {
	if len(r.Objects)+len(r.Probs)+len(r.Regions) == 0 {
		return nil
	}
	p.parse.Do(func() {
		if p.font, p.fontErr = opentype.Parse(fontFile); p.fontErr != nil {
			p.fontErr = fmt.Errorf("parse font: %w", p.fontErr)
		}
	})
	if p.fontErr != nil {
		return p.fontErr
	}
	d, err := newDrawing(img, p.font)
	if err != nil {
		return err
	}
	for _, g := range r.Regions {
		d.tint(g.Mask, g.Class)
	}
	for _, g := range r.Regions {
		d.region(g)
	}
	for i := len(r.Objects) - 1; i >= 0; i-- {
		d.tint(r.Objects[i].Mask, r.Objects[i].Class)
	}
	for i := len(r.Objects) - 1; i >= 0; i-- {
		d.outline(r.Objects[i])
	}
	for i := len(r.Objects) - 1; i >= 0; i-- {
		d.label(r.Objects[i])
	}
	d.list(r.Probs)
	return nil
}

// A drawing is one picture being drawn on.
type drawing struct {
	canvas
	*letters
	stroke int // line width in pixels
}

func newDrawing(img *imaging.Image, f *opentype.Font) (drawing, error) {
	size := float64(img.Width+img.Height) / 2
	letters, err := newLetters(f, max(int(math.Round(size*0.02)), 13))
	return drawing{canvas{img}, letters, max(int(math.Round(size*0.003)), 2)}, err
}

// tint colours the pixels of a mask; nil: none.
func (d drawing) tint(m *yolo.Mask, class int) {
	if m != nil {
		const part = 110 // of 255
		d.mask(m.Picture(d.Width, d.Height), classColor(class), part)
	}
}

// outline draws the object's box and skeleton.
func (d drawing) outline(o yolo.Object) {
	ink := classColor(o.Class)
	if o.Rotated == nil {
		d.frame(pixels(o.Box), d.stroke, ink)
	} else {
		for i, from := range o.Rotated.Corners {
			d.line(from, o.Rotated.Corners[(i+1)%4], float64(d.stroke), ink)
		}
	}
	if len(o.Keypoints) == len(cocoBody) {
		for _, limb := range cocoLimbs {
			a, b := o.Keypoints[limb.from], o.Keypoints[limb.to]
			if d.visible(a) && d.visible(b) {
				d.line(a.Point, b.Point, float64(d.stroke), partColor(limb.part))
			}
		}
	}
	for i, k := range o.Keypoints {
		if !d.visible(k) {
			continue
		}
		ink := classColor(i)
		if len(o.Keypoints) == len(cocoBody) {
			ink = partColor(cocoBody[i])
		}
		d.line(k.Point, k.Point, 2.5*float64(d.stroke), ink)
	}
}

// visible reports whether a keypoint is to be drawn. Models that tell no
// visibility put what they do not see onto the edge.
func (d drawing) visible(k yolo.Keypoint) bool {
	if k.Visible >= 0 {
		return k.Visible >= 0.25
	}
	return k.X > 0 && k.Y > 0 && k.X < float32(d.Width) && k.Y < float32(d.Height)
}

// label writes name and confidence on top of the box, or just inside where there
// is no room, moved left when it would leave the picture.
func (d drawing) label(o yolo.Object) {
	at := pixels(o.Box).Min
	if o.Rotated != nil { // its highest corner
		top := o.Rotated.Corners[0]
		for _, c := range o.Rotated.Corners {
			if c.Y < top.Y {
				top = c
			}
		}
		at = image.Pt(pixel(top.X), pixel(top.Y))
	}
	back := classColor(o.Class)
	d.text(scored(d.name(o.Name, o.Class), o.Confidence), at.Sub(image.Pt(0, d.height)), max(at.Y, 0), back, 255)
}

// list writes the classes of a classification, one below the other.
func (d drawing) list(probs []yolo.Prob) {
	for i, p := range probs {
		at := image.Pt(d.stroke, d.stroke+i*d.height)
		d.text(scored(d.name(p.Name, p.Class), p.Confidence), at, at.Y, color.RGBA{A: 255}, 170)
	}
}

// scored is a name with its confidence.
func scored(name string, conf float32) string { return fmt.Sprintf("%s %.2f", name, conf) }

// text writes one line with its corner at p, or at height inside if p lies above
// the picture, onto a/255 of the colour back.
func (d drawing) text(s string, p image.Point, inside int, back color.RGBA, a uint32) {
	margin := max(d.height/8, 2)
	size := image.Pt(d.width(s)+2*margin, d.height)
	if p.Y < 0 {
		p.Y = inside
	}
	p.X = max(min(p.X, d.Width-size.X), 0)
	d.fill(image.Rectangle{p, p.Add(size)}, back, a)
	ink := color.RGBA{255, 255, 255, 255}
	if luma := 299*int(back.R) + 587*int(back.G) + 114*int(back.B); luma > 128_000 { // BT.601
		ink = color.RGBA{0, 0, 0, 255}
	}
	d.write(d.canvas, s, p.Add(image.Pt(margin, 0)), ink)
}

// pixels cuts a box to whole pixels.
func pixels(b yolo.Box) image.Rectangle {
	return image.Rectangle{image.Pt(pixel(b.X1), pixel(b.Y1)), image.Pt(pixel(b.X2), pixel(b.Y2))}
}

// pixel cuts a coordinate to a whole one; what is far outside of any picture, or
// no number, comes nearer.
func pixel(v float32) int {
	const far = 1 << 20
	if !(v > -far) {
		return -far
	}
	return int(min(v, far))
}
