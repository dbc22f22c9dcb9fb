package compare

import (
	"cmp"
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// A point is a place in a chart, in its units.
type point struct{ x, y float64 }

// A line is one row of points. Its class chooses its colours, see chartStyle.
type line struct {
	name, class string
	points      []point
	filled      bool // down to 0
}

// A level is a horizontal line over the whole width.
type level struct {
	name, class string
	y           float64
}

// A mark is a short stroke below the chart.
type mark struct {
	class string
	x     float64
	lane  int // from 0
}

// A part is a stretch of the horizontal axis with a heading.
type part struct {
	name string
	from float64
}

// A chart is drawn by svg. Values are at least 0.
type chart struct {
	title, subtitle string
	xLabel, yLabel  string
	xMax            float64 // the end of the horizontal axis
	lines           []line
	levels          []level
	lanes           []string // names of the rows of marks
	marks           []mark
	parts           []part
}

// The chart's measures, in pixels.
const (
	chartWidth  = 860
	chartHeight = 408
	plotLeft    = 62
	plotRight   = 676 // the names of lines stand right of it
	plotTop     = 96
	plotBottom  = 352
	labelHeight = 17
	laneHeight  = 15
)

// chartStyle has colours that are legible on light and dark; the picture has its own
// background, so that it does not matter where it is shown.
const chartStyle = `
.bg{fill:#fff;stroke:#dde2ea}.t{fill:#1a2230}.s{fill:#525d70}.grid{stroke:#dde2ea}.axis{stroke:#7d889b}.part{stroke:#7d889b;stroke-dasharray:2 3}
.line{fill:none;stroke-width:2.2;stroke-linejoin:round}.area{stroke:none;opacity:.16}.level{fill:none;stroke-width:1.6;stroke-dasharray:7 4}
.eager{stroke:#b3261e}.lazy{stroke:#2c7bd0}.budget{stroke:#17703f}.limit{stroke:#525d70}.area.budget{fill:#17703f}
.n.eager{fill:#b3261e;stroke:none}.n.lazy{fill:#1b5bb8;stroke:none}.n.budget{fill:#17703f;stroke:none}.n.limit{fill:#525d70;stroke:none}
.loaded{stroke:#17703f}.cooled{stroke:#2c7bd0}.closed{stroke:#b3261e}.asked{stroke:#7d889b}
@media (prefers-color-scheme:dark){.bg{fill:#181e28;stroke:#2b3442}.t{fill:#e6eaf1}.s{fill:#a6b0c0}.grid{stroke:#2b3442}.axis,.part{stroke:#77839a}
.eager{stroke:#ff8d84}.lazy{stroke:#86b5ff}.budget{stroke:#6fd09a}.limit{stroke:#a6b0c0}.area.budget{fill:#6fd09a}
.n.eager{fill:#ff8d84}.n.lazy{fill:#86b5ff}.n.budget{fill:#6fd09a}.n.limit{fill:#a6b0c0}
.loaded{stroke:#6fd09a}.cooled{stroke:#86b5ff}.closed{stroke:#ff8d84}.asked{stroke:#77839a}}
text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}.h{font-size:17px;font-weight:650}.small{font-size:11.5px}`

// A canvas is a chart being drawn.
type canvas struct {
	strings.Builder
	*chart
	yMax float64
}

// svg draws the chart, as a file of its own.
func (c *chart) svg() []byte {
	v := &canvas{chart: c, yMax: c.top()}
	height := chartHeight + laneHeight*len(c.lanes)
	fmt.Fprintf(v, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%[1]d" height="%[2]d" role="img" aria-label="%[3]s">`+"\n",
		chartWidth, height, html.EscapeString(c.title+". "+c.subtitle))
	fmt.Fprintf(v, "<style>%s</style>\n", chartStyle)
	fmt.Fprintf(v, `<rect class="bg" x=".5" y=".5" width="%d" height="%d" rx="10"/>`+"\n", chartWidth-1, height-1)
	v.text(20, 32, "t h", c.title)
	for i, l := range wrap(c.subtitle, 125) {
		v.text(20, 54+float64(i)*17, "s", l)
	}
	v.axes()
	v.drawParts()
	for _, l := range c.levels {
		v.stroke("level "+l.class, v.at(0, l.y), v.at(c.xMax, l.y))
	}
	for _, l := range c.lines {
		v.drawLine(l)
	}
	v.names()
	v.drawMarks()
	v.WriteString("</svg>\n")
	return []byte(v.String())
}

// top is the end of the vertical axis.
func (c *chart) top() float64 {
	most := 1.0
	for _, l := range c.lines {
		for _, p := range l.points {
			most = max(most, p.y)
		}
	}
	for _, l := range c.levels {
		most = max(most, l.y)
	}
	step := niceStep(most, 5)
	return step * math.Ceil(most*1.04/step)
}

// niceStep is a round distance, of which about n make up to.
func niceStep(to float64, n int) float64 {
	raw := to / float64(n)
	unit := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, f := range []float64{1, 2, 5} {
		if raw <= f*unit {
			return f * unit
		}
	}
	return 10 * unit
}

// at is where a point lies in the picture.
func (v *canvas) at(x, y float64) point {
	return point{
		plotLeft + (plotRight-plotLeft)*min(1, max(0, x/v.xMax)),
		plotBottom - (plotBottom-plotTop)*min(1, max(0, y/v.yMax)),
	}
}

func (v *canvas) text(x, y float64, class, text string) {
	fmt.Fprintf(v, `<text class="%s" x="%.1f" y="%.1f">%s</text>`+"\n", class, x, y, html.EscapeString(text))
}

func (v *canvas) anchored(x, y float64, anchor, text string) {
	fmt.Fprintf(v, `<text class="s small" x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", x, y, anchor, html.EscapeString(text))
}

func (v *canvas) stroke(class string, points ...point) {
	fmt.Fprintf(v, `<path class="%s" d="%s"/>`+"\n", class, path(points))
}

func path(points []point) string {
	var b strings.Builder
	for i, p := range points {
		command := "L"
		if i == 0 {
			command = "M"
		}
		fmt.Fprintf(&b, "%s%.1f %.1f", command, p.x, p.y)
	}
	return b.String()
}

func (v *canvas) axes() {
	for y, step := 0.0, niceStep(v.yMax, 5); y <= v.yMax*1.001; y += step {
		p := v.at(0, y)
		if y > 0 {
			v.stroke("grid", p, v.at(v.xMax, y))
		}
		v.anchored(p.x-7, p.y+4, "end", fmt.Sprintf("%g", y))
	}
	v.stroke("axis", v.at(0, 0), v.at(v.xMax, 0))
	for x, step := 0.0, max(1, niceStep(v.xMax, 10)); x <= v.xMax*1.001; x += step {
		p := v.at(x, 0)
		v.anchored(p.x, p.y+17+float64(laneHeight*len(v.lanes)), "middle", fmt.Sprintf("%g", x))
	}
	v.anchored(plotLeft-7, plotTop-8, "end", v.yLabel)
	v.anchored((plotLeft+plotRight)/2, plotBottom+40+float64(laneHeight*len(v.lanes)), "middle", v.xLabel)
}

func (v *canvas) drawParts() {
	for i, p := range v.parts {
		x := v.at(p.from, 0).x
		if i > 0 {
			v.stroke("part", point{x, plotTop - 14}, point{x, plotBottom})
		}
		v.text(x+5, plotTop-4, "s small", p.name)
	}
}

func (v *canvas) drawLine(l line) {
	if len(l.points) == 0 {
		return
	}
	var points []point
	for _, p := range thin(l.points, v.xMax) {
		points = append(points, v.at(p.x, p.y))
	}
	if l.filled {
		last := points[len(points)-1]
		under := append(slices.Clone(points), point{last.x, plotBottom}, point{points[0].x, plotBottom})
		fmt.Fprintf(v, `<path class="area %s" d="%sZ"/>`+"\n", l.class, path(under))
	}
	v.stroke("line "+l.class, points...)
}

// thin leaves the lowest and the highest point of each pixel, and of a level stretch
// its ends.
func thin(points []point, xMax float64) []point {
	const columns = plotRight - plotLeft
	if len(points) > columns {
		points = extremes(points, xMax, columns)
	}
	level := func(a, b point) bool { return math.Abs(a.y-b.y) < 0.05 }
	var out []point
	for i, p := range points {
		if i == 0 || i == len(points)-1 || !level(p, points[i-1]) || !level(p, points[i+1]) {
			out = append(out, p)
		}
	}
	return out
}

// extremes are the lowest and the highest point of each column.
func extremes(points []point, xMax float64, columns int) (out []point) {
	for i := 0; i < len(points); {
		column := int(points[i].x / xMax * float64(columns))
		low, high, j := i, i, i
		for ; j < len(points) && int(points[j].x/xMax*float64(columns)) == column; j++ {
			if points[j].y < points[low].y {
				low = j
			}
			if points[j].y > points[high].y {
				high = j
			}
		}
		out = append(out, points[min(low, high)])
		if low != high {
			out = append(out, points[max(low, high)])
		}
		i = j
	}
	return out
}

// names writes what the lines are beside their ends, none over another.
func (v *canvas) names() {
	type label struct {
		name, class string
		y           float64
	}
	var all []label
	for _, l := range v.lines {
		if n := len(l.points); n > 0 {
			all = append(all, label{l.name, l.class, v.at(0, l.points[n-1].y).y})
		}
	}
	for _, l := range v.levels {
		all = append(all, label{l.name, l.class, v.at(0, l.y).y})
	}
	slices.SortStableFunc(all, func(a, b label) int { return cmp.Compare(a.y, b.y) })
	for i := range all {
		lines := wrap(all[i].name, 21)
		for j, text := range lines {
			v.text(plotRight+10, all[i].y+4+float64(j)*14, "n "+all[i].class, text)
		}
		if i+1 < len(all) {
			all[i+1].y = max(all[i+1].y, all[i].y+labelHeight+float64(len(lines)-1)*14)
		}
	}
}

func (v *canvas) drawMarks() {
	for i, name := range v.lanes {
		v.text(plotRight+10, plotBottom+13+float64(i)*laneHeight, "s small", name)
	}
	for _, m := range v.marks {
		x, y := v.at(m.x, 0).x, plotBottom+4+float64(m.lane*laneHeight)
		v.stroke(m.class, point{x, y}, point{x, y + 10})
	}
}

// wrap breaks a text at spaces into lines of about that many columns.
func wrap(text string, most int) []string {
	var lines []string
	now := ""
	for word := range strings.FieldsSeq(text) {
		if now != "" && Columns(now)+1+Columns(word) > most {
			lines = append(lines, now)
			now = ""
		}
		if now != "" {
			now += " "
		}
		now += word
	}
	if now != "" {
		lines = append(lines, now)
	}
	return lines
}
