package annotate

import (
	_ "embed"
	"fmt"
	"image"
	"image/color"
	"math"
	"strconv"
	"unicode"

	"golang.org/x/image/font"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"

	"lazyolo/internal/imaging"
)

// fontFile is a subset of Noto Sans CJK SC (SIL Open Font License, see OFL.txt):
// Latin-1, 30 letters of Latin Extended-A and common Chinese. It stays in the
// executable's file until it is read.
//
//go:embed font.otf
var fontFile []byte

// letters writes text of one size onto one picture. It is not for concurrent use.
type letters struct {
	face   font.Face
	glyphs map[rune]glyph // rasterised so far; labels share most of theirs
	ascent int            // pixels from a line's top to its baseline
	height int            // of a line
}

// A glyph is one character's coverage, at bounds from the place on the baseline
// where the character begins.
type glyph struct {
	bounds  image.Rectangle
	alpha   []uint8 // rows of bounds.Dx()
	advance int
}

func newLetters(f *opentype.Font, pixels int) (*letters, error) {
	face, err := opentype.NewFace(f, &opentype.FaceOptions{Size: float64(pixels), DPI: 72, Hinting: font.HintingNone})
	if err != nil {
		return nil, fmt.Errorf("make font face: %w", err)
	}
	// The font's own ascent leaves room for scripts it lacks; capitals and Chinese
	// characters take 0.88 of the size above the baseline and 0.12 below.
	ascent := int(math.Ceil(float64(pixels) * 0.92))
	return &letters{face, map[rune]glyph{}, ascent, ascent + int(math.Ceil(float64(pixels)*0.22))}, nil
}

// missing stands for a character the font lacks. It lacks this one as well, and so
// glyph gives the font's crossed box.
const missing = '\uFFFD'

// name returns a label's text: name with what the font lacks replaced, or "class N"
// where more than half of its characters are missing or none is to be seen.
func (l *letters) name(name string, class int) string {
	var text []rune
	lacks, seen := 0, false
	for _, r := range name {
		if _, ok := l.face.GlyphAdvance(r); !ok {
			if r = lookalike(r); r == 0 {
				continue
			}
		}
		if r == missing {
			lacks++
		}
		seen = seen || !unicode.IsSpace(r)
		text = append(text, r)
	}
	if !seen || 2*lacks > len(text) {
		return "class " + strconv.Itoa(class)
	}
	return string(text)
}

// lookalike returns what is written for a character the font lacks: one that it has
// and that reads the same, missing, or 0 for what only joins or marks others.
func lookalike(r rune) rune {
	switch {
	case unicode.IsSpace(r):
		return ' '
	case unicode.Is(unicode.Pd, r), r == '\u2212': // dashes; the minus sign
		return '-'
	case r == '\u30FB', r == '\u2219': // middle dots
		return '\u00B7'
	case r == '\uFFE5': // full-width yen or yuan
		return '\u00A5'
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	}
	return missing
}

// width returns the pixels that s takes.
func (l *letters) width(s string) int {
	n := 0
	for _, r := range s {
		n += l.glyph(r).advance
	}
	return n
}

// write writes s with the corner of its line at p.
func (l *letters) write(c canvas, s string, p image.Point, ink color.RGBA) {
	at := p.Add(image.Pt(0, l.ascent))
	for _, r := range s {
		g := l.glyph(r)
		c.cover(g.bounds.Add(at), g.alpha, ink)
		at.X += g.advance
	}
}

// glyph returns a character's glyph; of one the font lacks, that of a crossed box.
func (l *letters) glyph(r rune) glyph {
	g, ok := l.glyphs[r]
	if ok {
		return g
	}
	bounds, mask, at, advance, _ := l.face.Glyph(fixed.Point26_6{}, r) // of what is missing, too
	if mask != nil {
		g = glyph{bounds: bounds, alpha: make([]uint8, bounds.Dx()*bounds.Dy()), advance: advance.Round()}
		for i := range g.alpha {
			_, _, _, a := mask.At(at.X+i%bounds.Dx(), at.Y+i/bounds.Dx()).RGBA()
			g.alpha[i] = uint8(a >> 8)
		}
	}
	l.glyphs[r] = g
	return g
}

// canvas is a picture to draw on; what lies outside of it is left out.
type canvas struct{ *imaging.Image }

func (c canvas) bounds() image.Rectangle { return image.Rect(0, 0, c.Width, c.Height) }

// cover blends ink over r as far as alpha says, which holds rows of r.Dx() values.
func (c canvas) cover(r image.Rectangle, alpha []uint8, ink color.RGBA) {
	in := r.Intersect(c.bounds())
	for y := in.Min.Y; y < in.Max.Y; y++ {
		row := alpha[(y-r.Min.Y)*r.Dx():]
		for x := in.Min.X; x < in.Max.X; x++ {
			c.blend(x, y, ink, uint32(row[x-r.Min.X]))
		}
	}
}

// blend mixes a/255 of ink into a pixel of the picture.
func (c canvas) blend(x, y int, ink color.RGBA, a uint32) {
	if a == 0 {
		return
	}
	p := c.Pix[3*(y*c.Width+x):][:3]
	p[0] = uint8((uint32(p[0])*(255-a) + uint32(ink.R)*a + 127) / 255)
	p[1] = uint8((uint32(p[1])*(255-a) + uint32(ink.G)*a + 127) / 255)
	p[2] = uint8((uint32(p[2])*(255-a) + uint32(ink.B)*a + 127) / 255)
}
