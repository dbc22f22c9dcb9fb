package compare

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// A Screen shows a demonstration while it happens: on a terminal as a chart that is
// drawn anew, elsewhere as lines. A nil Screen shows nothing.
type Screen struct {
	Out      io.Writer
	Terminal bool // Out understands cursor movements
	Color    bool // and colours
	// Size is the terminal's now, in columns and rows: it may change. nil, or 0: 80 and 24.
	Size func() (width, height int)

	drawn         int // rows of the last frame
	width, height int // of the terminal then
}

// size is the terminal's now.
func (s *Screen) size() (width, height int) {
	if s.Size != nil {
		width, height = s.Size()
	}
	return cmp.Or(max(0, width), 80), cmp.Or(max(0, height), 24)
}

// say writes a line.
func (s *Screen) say(text string) {
	if s != nil {
		fmt.Fprintln(s.Out, text)
	}
}

// Tell writes a paragraph, on a terminal broken into lines.
func (s *Screen) Tell(text string) {
	if !s.Terminal {
		s.say(text)
		return
	}
	width, _ := s.size()
	for _, line := range wrap(text, min(100, width-1)) {
		s.say(line)
	}
}

// part tells of a part's begin, where no chart does.
func (s *Screen) part(p Part) {
	if s != nil && !s.Terminal {
		s.say(fmt.Sprintf("%6.2f s  %s", p.At, p.Name))
	}
}

// event tells of an event, where no chart does.
func (s *Screen) event(e Event, mb float64) {
	if s != nil && !s.Terminal {
		s.say(fmt.Sprintf("%6.2f s  %6.1f MB  %s", e.At, mb, e.sentence()))
	}
}

// sentence is an event in words.
func (e Event) sentence() string {
	text := e.Kind + " " + e.Model
	switch {
	case e.Kind == "loaded":
		return fmt.Sprintf("%s, which takes %.1f MB", text, e.MB)
	case e.Why != "":
		return text + ": " + e.Why
	}
	return text
}

// Rows around the chart.
const (
	recent     = 5 // events that are shown
	aroundRows = recent + 6
	labelWide  = 12 // left of the chart
)

// frame draws the story in the place of the last frame.
func (s *Screen) frame(story *Story) {
	if s == nil || !s.Terminal {
		return
	}
	width, height := s.size()
	rows := picture(story, max(20, width-1), min(12, max(4, height-aroundRows-1)), s.paint())
	var b strings.Builder
	switch {
	case s.drawn == 0:
	case width != s.width || height != s.height: // where the last frame's rows are now, nobody knows
		b.WriteString("\x1b[H\x1b[2J") // home, clear
	default:
		fmt.Fprintf(&b, "\x1b[%dA", s.drawn)
	}
	for _, row := range rows {
		b.WriteString("\r" + row + "\x1b[K\n")
	}
	s.drawn, s.width, s.height = len(rows), width, height
	_, _ = io.WriteString(s.Out, b.String()) // a terminal that is gone is Out's to tell
}

// A painter colours a text.
type painter func(class, text string) string

// paint is the screen's painter.
func (s *Screen) paint() painter {
	codes := map[string]string{"memory": "32", "loaded": "32", "budget": "2", "eager": "31", "closed": "31", "refused": "31", "cooled": "34"}
	return func(class, text string) string {
		if !s.Color || codes[class] == "" || strings.TrimSpace(text) == "" {
			return text
		}
		return "\x1b[" + codes[class] + "m" + text + "\x1b[0m"
	}
}

// signs of the kinds of events; the first of a column is shown.
var signs = []struct{ kind, sign string }{{"closed", "▼"}, {"loaded", "▲"}, {"cooled", "○"}, {"refused", "✗"}}

// picture is a story until now as rows of a terminal.
func picture(s *Story, width, height int, paint painter) []string {
	columns := width - labelWide
	peak, last := s.peak()
	end := 0.0
	if n := len(s.Samples); n > 0 {
		end = s.Samples[n-1].At
	}
	const shortest = 0.25 // seconds of a column
	step := shortest * max(1, math.Ceil(end/shortest/float64(columns)))
	top := max(peak, s.Budget, s.EagerUsed, 1) * 1.05
	tall := make([]float64, columns) // in rows
	for _, x := range s.Samples {
		i := min(int(x.At/step), columns-1)
		tall[i] = max(tall[i], x.MB/top*float64(height))
	}
	rowOf := func(mb float64) int { return min(height-1, int(mb/top*float64(height))) }
	var out []string
	for row := height - 1; row >= 0; row-- {
		label, class, empty := "", "", " "
		switch {
		case row == rowOf(s.Budget):
			label, class, empty = fmt.Sprintf("budget %3.0f", s.Budget), "budget", "┄"
		case s.Eager > 0 && row == rowOf(s.Eager):
			label, class, empty = fmt.Sprintf("eager %4.0f", s.Eager), "eager", "┄"
		case s.EagerUsed > 0 && row == rowOf(s.EagerUsed):
			label, class, empty = fmt.Sprintf("used %5.0f", s.EagerUsed), "eager", "┄"
		case row == 0:
			label = "0 MB"
		}
		var bar colored
		for _, h := range tall {
			if cell := block(h - float64(row)); cell != " " {
				bar.add("memory", cell)
			} else {
				bar.add(class, empty)
			}
		}
		out = append(out, paint(class, fmt.Sprintf("%*s", labelWide-2, label))+" │"+bar.text(paint))
	}
	out = append(out, strings.Repeat(" ", labelWide-1)+"└"+strings.Repeat("─", columns), eventRow(s, columns, step, paint))
	out = append(out, clip(status(s, end, last), width), "")
	return append(out, news(s, width, paint)...)
}

// colored is a row of cells; those beside each other of one class are painted together.
type colored []struct{ class, text string }

func (c *colored) add(class, cell string) {
	if n := len(*c); n > 0 && (*c)[n-1].class == class {
		(*c)[n-1].text += cell
		return
	}
	*c = append(*c, struct{ class, text string }{class, cell})
}

func (c colored) text(paint painter) string {
	var b strings.Builder
	for _, part := range c {
		b.WriteString(paint(part.class, part.text))
	}
	return b.String()
}

// block is a cell that is filled up to a part of its height.
func block(part float64) string {
	eighths := int(math.Round(8 * part))
	switch {
	case eighths <= 0:
		return " "
	case eighths >= 8:
		return "█"
	}
	return string([]rune("▁▂▃▄▅▆▇")[eighths-1])
}

// eventRow has a sign below each column in which something happened.
func eventRow(s *Story, columns int, step float64, paint painter) string {
	cells := slices.Repeat([]int{len(signs)}, columns)
	for _, e := range s.Events {
		i := min(int(e.At/step), columns-1)
		for k, sign := range signs {
			if sign.kind == e.Kind {
				cells[i] = min(cells[i], k)
			}
		}
	}
	var row colored
	for _, k := range cells {
		if k == len(signs) {
			row.add("", " ")
		} else {
			row.add(signs[k].kind, signs[k].sign)
		}
	}
	return fmt.Sprintf("%*s  %s", labelWide-2, "events", row.text(paint))
}

// status is a row on how it stands.
func status(s *Story, at, mb float64) string {
	part := ""
	if n := len(s.Parts); n > 0 {
		part = s.Parts[n-1].Name
	}
	return fmt.Sprintf("%*s  %.1f of %.0f MB, %d requests: %s", labelWide-2, fmt.Sprintf("%.1f s", at), mb, s.Budget, s.Requests, part)
}

// clip cuts a text that takes more than width columns.
func clip(text string, width int) string {
	if Columns(text) <= width {
		return text
	}
	taken := 0
	for i, r := range text {
		if taken += columns(r); taken > width-1 {
			return text[:i] + "…"
		}
	}
	return text
}

// news are the last events, in rows of at most width columns.
func news(s *Story, width int, paint painter) []string {
	var out []string
	for _, e := range s.Events[max(0, len(s.Events)-recent):] {
		sign := " "
		for _, x := range signs {
			if x.kind == e.Kind {
				sign = x.sign
			}
		}
		out = append(out, paint(e.Kind, clip(fmt.Sprintf("%6.1f s  %s %s", e.At, sign, e.sentence()), width)))
	}
	for len(out) < recent {
		out = append(out, "")
	}
	return out
}
