package compare

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lazyolo/internal/load"
)

// tale is a story with round numbers.
func tale() *Story {
	s := &Story{
		About: "Copies of <one>", Models: 3, Weights: 30, Budget: 100, Eager: 150, EagerUsed: 190, EagerStart: 2, Start: 0.02, StartMB: 20,
		Parts:    []Part{{"every model once", 0.1}, {"nobody asks", 4}, {"again", 7}},
		Requests: 9, First: 0.05, Again: 0.02, Found: []string{"star"}, Picture: []byte("picture"),
		Events: []Event{
			{At: 0.5, Kind: "loaded", Model: "a", MB: 30}, {At: 1.5, Kind: "loaded", Model: "b", MB: 30},
			{At: 2.5, Kind: "cooled", Model: "a", Why: "room for c: idle 2 s", MB: 20}, {At: 2.6, Kind: "closed", Model: "b", Why: "room for c: idle 1 s", MB: 30},
			{At: 2.7, Kind: "loaded", Model: "c", MB: 30}, {At: 6, Kind: "cooled", Model: "c", Why: "idle 2 s", MB: 20},
		},
	}
	for i := range 401 {
		at := float64(i) / 50
		mb := 20.0
		switch {
		case at >= 6:
			mb = 45
		case at >= 1.5:
			mb = 90
		case at >= 0.5:
			mb = 60
		}
		s.Samples = append(s.Samples, Sample{At: at, MB: mb})
	}
	return s
}

func plain(_, text string) string { return text }

func TestStoryOnATerminal(t *testing.T) {
	t.Parallel()
	golden(t, "story.txt", []byte(strings.Join(picture(tale(), 79, 10, plain), "\n")+"\n"))
}

// However long a story is, it fits the terminal.
func TestStoryFits(t *testing.T) {
	t.Parallel()
	s := tale()
	s.Events[0].Model, s.Events[1].Model = strings.Repeat("long", 50), strings.Repeat("烟火检测", 20)
	for i := range 100_000 {
		s.Samples = append(s.Samples, Sample{At: 8 + float64(i)/50, MB: 95})
	}
	for _, width := range []int{40, 79, 200} {
		for _, rows := range [][]string{picture(s, width, 4, plain), picture(new(Story), width, 4, plain)} {
			for _, row := range rows {
				if n := Columns(row); n > width {
					t.Errorf("%d columns of %d: %q", n, width, row)
				}
			}
		}
	}
}

func TestStoryAsPicture(t *testing.T) {
	t.Parallel()
	svg := tale().SVG()
	wellFormed(t, svg)
	golden(t, "story.svg", svg)
}

func TestStoryAsText(t *testing.T) {
	t.Parallel()
	golden(t, "story.para.txt", []byte(tale().Text()+"\n"))
	left := tale()
	left.Eager, left.LeftOut = 0, "it would take 5 MB of the 4 MB here"
	if text := left.Text(); !strings.Contains(text, " is left out: it would take 5 MB of the 4 MB here.") {
		t.Error(text)
	}
	quiet := tale()
	quiet.Events, quiet.Eager, quiet.Parts = quiet.Events[:2], 0, nil
	if text := quiet.Text(); !strings.Contains(text, "all models fit") || strings.Contains(text, "150") || strings.Contains(text, "nobody") {
		t.Error(text)
	}
}

func TestStoryAsPage(t *testing.T) {
	t.Parallel()
	page, err := tale().HTML("found.jpg")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"<svg", `src="found.jpg"`, "<td>room for c: idle 1 s</td>", "Copies of &lt;one&gt;"} {
		if !strings.Contains(string(page), part) {
			t.Errorf("%q is not in\n%s", part, page)
		}
	}
}

// A terminal's frames stand over one another; elsewhere there are lines and no escapes.
func TestScreen(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	size := [2]int{80, 24}
	s := &Screen{Out: &b, Terminal: true, Color: true, Size: func() (int, int) { return size[0], size[1] }}
	s.frame(tale())
	rows := strings.Count(b.String(), "\n")
	if rows >= 24 || !strings.Contains(b.String(), "\x1b[32m") || strings.HasPrefix(b.String(), "\x1b[") {
		t.Errorf("%d rows in the first frame:\n%q", rows, b.String())
	}
	b.Reset()
	s.Color = false
	s.event(tale().Events[0], 1)
	s.frame(tale())
	up := fmt.Sprintf("\x1b[%dA", rows)
	if !strings.HasPrefix(b.String(), up) || strings.Contains(b.String(), "\x1b[3") || strings.Count(b.String(), "\n") != rows {
		t.Errorf("second frame: %q", b.String())
	}
	b.Reset()
	size = [2]int{40, 12} // a smaller window: no row of a frame is wider, and no old row stays
	s.frame(tale())
	frame := b.String()
	if !strings.HasPrefix(frame, "\x1b[H\x1b[2J") || strings.Count(frame, "\n") >= rows {
		t.Errorf("frame in another size: %q", frame)
	}
	for row := range strings.Lines(strings.TrimPrefix(frame, "\x1b[H\x1b[2J")) {
		if n := Columns(strings.Trim(strings.TrimSuffix(row, "\x1b[K\n"), "\r")); n > 40 {
			t.Errorf("%d columns: %q", n, row)
		}
	}
	b.Reset()
	s = &Screen{Out: &b}
	s.frame(tale())
	s.part(tale().Parts[0])
	s.event(tale().Events[0], 60)
	s.event(tale().Events[3], 90)
	want := "  0.10 s  every model once\n  0.50 s    60.0 MB  loaded a, which takes 30.0 MB\n  2.60 s    90.0 MB  closed b: room for c: idle 1 s\n"
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
	var none *Screen
	none.frame(tale())
	none.say("x")
	none.event(Event{}, 1)
	none.part(Part{})
}

func TestBlock(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		part float64
		want string
	}{{-1, " "}, {0, " "}, {0.06, " "}, {0.07, "▁"}, {0.5, "▄"}, {0.9, "▇"}, {0.95, "█"}, {3, "█"}} {
		if got := block(c.part); got != c.want {
			t.Errorf("%v: %q, want %q", c.part, got, c.want)
		}
	}
}

// A demonstration asks each model, hears of what the server decides, and ends with a
// picture.
func TestDemonstrate(t *testing.T) {
	t.Parallel()
	needMemory(t)
	var out bytes.Buffer
	s, err := Demonstrate(t.Context(), DemoOptions{
		Command: fake("lazy"), Eager: fake("eager"), Models: []int{0, 1, 2, 3}, Picture: load.Picture{Name: "a.jpg", Data: []byte("a")}, About: "Fakes",
		Weights: 64 << 20, Budget: 80 << 20, Pace: time.Millisecond, Rest: 100 * time.Millisecond, Screen: &Screen{Out: &out},
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.Requests != 49 || s.Models != 4 || s.Weights != 64 || s.Budget != 80 || string(s.Picture) != "a picture" || s.First <= 0 || s.Again <= 0 {
		t.Errorf("%+v", s)
	}
	if d := cmp.Diff([]string{"star", "star", "cross"}, s.Found); d != "" {
		t.Error(d)
	}
	var kinds []string
	for _, e := range s.Events {
		kinds = append(kinds, e.Kind+" "+e.Model)
		if e.At <= 0 || e.MB != 16 || e.Why == "" {
			t.Errorf("%+v", e)
		}
	}
	if d := cmp.Diff([]string{"loaded model_0", "loaded model_1", "loaded model_2", "loaded model_3", "closed model_0"}, kinds); d != "" {
		t.Error(d)
	}
	var parts []string
	for i, p := range s.Parts {
		parts = append(parts, p.Name)
		if i > 0 && p.At <= s.Parts[i-1].At {
			t.Errorf("%+v", s.Parts)
		}
	}
	if d := cmp.Diff([]string{"every model once", "three favourites, now and then others", "nobody asks", "again"}, parts); d != "" {
		t.Error(d)
	}
	const weights, slack = 64.0, 8
	if peak, last := s.peak(); s.Eager-s.StartMB < weights-slack || s.EagerUsed < s.Eager-slack || peak-s.StartMB < weights-slack || last <= 0 {
		t.Errorf("eager %.1f then %.1f, at the start %.1f, peak %.1f", s.Eager, s.EagerUsed, s.StartMB, peak)
	}
	for _, part := range []string{"closed model_0: room for 3", "nobody asks", "For comparison"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("%q is not in\n%s", part, out.String())
		}
	}
}

func TestDemonstrateTellsWhatFails(t *testing.T) {
	t.Parallel()
	needMemory(t)
	o := DemoOptions{Command: fake("broken"), Models: []int{0, 1, 2}, Picture: load.Picture{Name: "a.jpg", Data: []byte("a")}, Pace: time.Millisecond}
	if _, err := Demonstrate(t.Context(), o); err == nil || !strings.Contains(err.Error(), "model 2: Inference failed") {
		t.Error(err)
	}
	o.Eager = fake("ends")
	if _, err := Demonstrate(t.Context(), o); err == nil || !strings.Contains(err.Error(), "no library here") {
		t.Error(err)
	}
	if _, err := Demonstrate(t.Context(), DemoOptions{}); err == nil {
		t.Error("nothing to show: shown")
	}
}

// A terminal's columns, not letters, decide where a text ends.
func TestClip(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text  string
		width int
		want  string
	}{
		{"abcdef", 6, "abcdef"}, {"abcdef", 5, "abcd…"}, {"烟火检测", 8, "烟火检测"}, {"烟火检测", 7, "烟火检…"}, {"烟火检测", 6, "烟火…"},
		{"e\u0301e\u0301", 2, "e\u0301e\u0301"},
	} {
		if got := clip(c.text, c.width); got != c.want || Columns(got) > c.width {
			t.Errorf("%q in %d: %q, %d columns", c.text, c.width, got, Columns(got))
		}
	}
}
