package compare

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"lazyolo/internal/load"
)

// DemoOptions says what is shown. Command, Models and Picture are required.
type DemoOptions struct {
	Command func() *exec.Cmd // a server in a budget, which prints its address and ends when its standard input does
	Eager   func() *exec.Cmd // one that loads every model at its start; nil: it is left out
	LeftOut string           // then: why, said to who watches
	Models  []int            // their numbers; at least two
	Picture load.Picture     // that all are asked for
	About   string           // what the models are, for who watches
	Weights int64            // bytes of their files together
	Budget  int64            // of the server, in bytes
	Pace    time.Duration    // between two requests; 0: 150 ms
	Rest    time.Duration    // how long nobody asks; 0: 3.5 s
	Screen  *Screen          // where it is shown while it happens; nil: nowhere
}

// An Event is a decision of the server's about a model's place in memory.
type Event struct {
	At    float64 // seconds since the server's start
	Kind  string  // loaded, cooled, closed or refused
	Model string  // its folder
	Why   string  // the server's own words; empty of loaded
	MB    float64 // taken or given back
}

// A Part is a stretch of a Story.
type Part struct {
	Name string
	At   float64 // where it begins
}

// A Story is what a server in a budget did while its models were asked for. Times are
// seconds, memory is MB as in Report.
type Story struct {
	About      string
	Models     int
	Weights    float64
	Budget     float64
	Eager      float64 // what a server holds that loaded every model, before any request; 0: not measured
	EagerUsed  float64 // and once each model has answered
	EagerStart float64 // how long loading took
	LeftOut    string  // why it was not measured, where that is known
	Start      float64 // to the first healthy answer
	StartMB    float64 // held then
	Samples    []Sample
	Events     []Event
	Parts      []Part
	Requests   int
	First      float64 // time of a model's first answer, the median
	Again      float64 // of a later one
	Found      []string
	Picture    []byte // with what was found drawn into it
}

// A play is a demonstration under way.
type play struct {
	*process
	o DemoOptions

	mu    sync.Mutex // guards story
	story Story
	first []time.Duration
	again []time.Duration
}

// frameEvery is how often the screen is drawn.
const frameEvery = 100 * time.Millisecond

// Demonstrate has a server asked for more models than its budget holds and returns
// what happened.
func Demonstrate(ctx context.Context, o DemoOptions) (*Story, error) {
	if o.Command == nil || len(o.Models) < 2 || len(o.Picture.Data) == 0 {
		return nil, errors.New("demonstrate: Command, two Models and a Picture are required")
	}
	const mib = 1 << 20
	d := &play{o: o, story: Story{
		About: o.About, Models: len(o.Models), Weights: float64(o.Weights) / mib, Budget: float64(o.Budget) / mib,
		LeftOut: o.LeftOut,
	}}
	if err := d.measureEager(ctx); err != nil {
		return nil, err
	}
	var err error
	if d.process, err = start(ctx, o.Command()); err != nil {
		return nil, err
	}
	err = d.run(ctx)
	d.story.Samples = d.seen()
	d.stop()
	if err != nil {
		return nil, err
	}
	d.story.First, d.story.Again = median(d.first).Seconds(), median(d.again).Seconds()
	return &d.story, nil
}

// leftOut begins the sentence on a comparison that was not made.
const leftOut = "A server that loads every model at its start is left out: "

// measureEager looks at a server that has loaded every model.
func (d *play) measureEager(ctx context.Context) error {
	if d.o.Eager == nil {
		if d.o.LeftOut != "" {
			d.o.Screen.say(leftOut + d.o.LeftOut + ".")
		}
		return nil
	}
	d.o.Screen.say("For comparison: a server that loads every model at its start ...")
	p, err := start(ctx, d.o.Eager())
	if err != nil {
		return err
	}
	defer p.stop()
	fresh, ok := p.memory()
	for _, m := range d.o.Models {
		if _, err := p.detect(ctx, m, d.o.Picture, "json"); err != nil {
			return err
		}
	}
	used, ok2 := p.memory()
	if !ok || !ok2 {
		return p.gone()
	}
	d.story.Eager, d.story.EagerUsed, d.story.EagerStart = fresh.MB, used.MB, p.ready.Seconds()
	d.o.Screen.say(fmt.Sprintf("  it holds %.0f MB after %s, and %.0f MB once each has answered.", fresh.MB, seconds(d.story.EagerStart), used.MB))
	return nil
}

// run plays the parts beside those who watch.
func (d *play) run(ctx context.Context) error {
	s, ok := d.memory()
	if !ok {
		return d.gone()
	}
	d.story.Start, d.story.StartMB = d.ready.Seconds(), s.MB
	watched, cancel := context.WithCancel(ctx)
	var watchers sync.WaitGroup
	watchers.Go(func() { d.events(watched, d.happened) })
	watchers.Go(func() { d.draw(watched) })
	err := d.parts(ctx)
	cancel()
	watchers.Wait()
	return err
}

// happened notes an event.
func (d *play) happened(e Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.story.Events = append(d.story.Events, e)
	if s, ok := d.memory(); ok {
		d.o.Screen.event(e, s.MB)
	}
}

// draw shows the story until now, again and again, and once at the end.
func (d *play) draw(ctx context.Context) {
	tick := time.NewTicker(frameEvery)
	defer tick.Stop()
	for done := false; ; {
		d.mu.Lock()
		now := d.story
		now.Samples = d.seen()
		d.o.Screen.frame(&now)
		d.mu.Unlock()
		if done {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			done = true
		}
	}
}

// parts asks the server as its clients might.
func (d *play) parts(ctx context.Context) error {
	d.part("every model once")
	for _, m := range d.o.Models {
		if err := d.ask(ctx, m, &d.first); err != nil {
			return err
		}
	}
	d.part("three favourites, now and then others")
	choice := rand.New(rand.NewPCG(1, 2)) // the same each time
	favourites := d.o.Models[:min(3, len(d.o.Models))]
	for i := range 40 {
		m := favourites[i%len(favourites)]
		if i%4 == 3 {
			m = d.o.Models[choice.IntN(len(d.o.Models))]
		}
		if err := d.ask(ctx, m, &d.again); err != nil {
			return err
		}
	}
	d.part("nobody asks")
	if err := d.wait(ctx, cmp.Or(d.o.Rest, 3500*time.Millisecond)); err != nil {
		return err
	}
	d.part("again")
	for range 5 {
		if err := d.ask(ctx, favourites[0], &d.again); err != nil {
			return err
		}
	}
	a, err := d.detect(ctx, favourites[0], d.o.Picture, "image_and_json")
	d.mu.Lock()
	defer d.mu.Unlock()
	d.story.Found, d.story.Picture = a.objects, a.picture
	return err
}

func (d *play) part(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := Part{name, time.Since(d.began).Seconds()}
	d.story.Parts = append(d.story.Parts, p)
	d.o.Screen.part(p)
}

// ask asks a model and then waits a moment.
func (d *play) ask(ctx context.Context, model int, took *[]time.Duration) error {
	a, err := d.detect(ctx, model, d.o.Picture, "json")
	if err != nil {
		return err
	}
	*took = append(*took, a.took)
	d.mu.Lock()
	d.story.Requests++
	d.mu.Unlock()
	return d.wait(ctx, cmp.Or(d.o.Pace, 150*time.Millisecond))
}

func (d *play) wait(ctx context.Context, long time.Duration) error {
	select {
	case <-time.After(long):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// peak is the highest memory and last the latest; 0 before the first sample.
func (s *Story) peak() (peak, last float64) {
	for _, x := range s.Samples {
		peak, last = max(peak, x.MB), x.MB
	}
	return peak, last
}

// forRoom counts the events of a kind that made room for others.
func (s *Story) forRoom(kind string) int {
	n := 0
	for _, e := range s.Events {
		if e.Kind == kind && strings.HasPrefix(e.Why, "room for ") {
			n++
		}
	}
	return n
}

// lowest is the least memory from a time on.
func (s *Story) lowest(from float64) float64 {
	least := 0.0
	for _, x := range s.Samples {
		if x.At >= from && (least == 0 || x.MB < least) {
			least = x.MB
		}
	}
	return least
}

// Text explains what happened, in a paragraph.
func (s *Story) Text() string {
	peak, _ := s.peak()
	var b strings.Builder
	fmt.Fprintf(&b, "%s; %d models with %.0f MB of weights.", s.About, s.Models, s.Weights)
	if s.Eager > 0 {
		fmt.Fprintf(&b, " A server that loads all of them at its start holds %.0f MB after %s, before the first request, and %.0f MB once each has answered.", s.Eager, seconds(s.EagerStart), s.EagerUsed)
	} else if s.LeftOut != "" {
		fmt.Fprintf(&b, " %s%s.", leftOut, s.LeftOut)
	}
	fmt.Fprintf(&b, " lazyolo answered after %s with %.0f MB and loaded each model when it was first asked for: a first answer took %s, a later one %s.",
		seconds(s.Start), s.StartMB, seconds(s.First), seconds(s.Again))
	fmt.Fprintf(&b, " In %d requests it never held more than %.0f of the %.0f MB it may: %s",
		s.Requests, peak, s.Budget, s.gave())
	if i := slices.IndexFunc(s.Parts, func(p Part) bool { return p.Name == "nobody asks" }); i >= 0 {
		fmt.Fprintf(&b, " When nobody asked for two seconds it went down to %.0f MB.", s.lowest(s.Parts[i].At))
	}
	return b.String()
}

// gave says how room was made.
func (s *Story) gave() string {
	cooled, closed := s.forRoom("cooled"), s.forRoom("closed")
	var made []string
	if cooled > 0 {
		made = append(made, fmt.Sprintf("the weights of an idle model left memory %s (it stays open, and they return from the file at its next use)", times(cooled)))
	}
	if closed > 0 {
		made = append(made, fmt.Sprintf("a model was closed %s", times(closed)))
	}
	if len(made) == 0 {
		return "all models fit."
	}
	return "to make room, " + strings.Join(made, ", and ") + "."
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// lanes are the kinds of events as a picture shows them.
var lanes = []string{"loaded", "cooled", "closed"}

// SVG is a picture of the memory over time.
func (s *Story) SVG() []byte {
	peak, _ := s.peak()
	c := chart{
		title:    fmt.Sprintf("%d models in %.0f MB", s.Models, s.Budget),
		subtitle: fmt.Sprintf("Resident memory of a server and its children. %s; %.0f MB of weights.", s.About, s.Weights),
		xLabel:   "seconds since the start of the server", yLabel: "MB", lanes: lanes,
		levels: []level{{fmt.Sprintf("MAX_MEMORY_MB=%.0f", s.Budget), "limit", s.Budget}},
	}
	if s.Eager > 0 {
		c.levels = append(c.levels, level{fmt.Sprintf("all loaded at the start: %.0f MB", s.Eager), "eager", s.Eager},
			level{fmt.Sprintf("all loaded at the start, each asked once: %.0f MB", s.EagerUsed), "eager", s.EagerUsed})
	}
	l := line{name: fmt.Sprintf("lazyolo: %.0f MB at most", peak), class: "budget", filled: true}
	for _, x := range s.Samples {
		l.points = append(l.points, point{x.At, x.MB})
		c.xMax = max(c.xMax, x.At)
	}
	c.lines = []line{l}
	for _, p := range s.Parts {
		c.parts = append(c.parts, part{p.Name, p.At})
	}
	for _, e := range s.Events {
		if lane := slices.Index(lanes, e.Kind); lane >= 0 {
			c.marks = append(c.marks, mark{e.Kind, e.At, lane})
		}
	}
	return c.svg()
}

// mostEvents bounds the events that a page lists.
const mostEvents = 500

// HTML is the story as a page; picture names the file of Picture beside it, "": none.
func (s *Story) HTML(picture string) ([]byte, error) {
	d := pageData{
		Title: fmt.Sprintf("%d models in %.0f MB", s.Models, s.Budget), Text: []string{s.Text()}, Chart: chartOf(s.SVG()), Picture: picture,
		Head:  []string{"event", "model", "at", "MB", "why"},
		Notes: []string{"Memory is the " + memoryIs + "."},
	}
	for _, e := range s.Events[:min(len(s.Events), mostEvents)] {
		d.Rows = append(d.Rows, []string{e.Kind, e.Model, fmt.Sprintf("%.2f s", e.At), fmt.Sprintf("%.1f", e.MB), e.Why})
	}
	return d.html()
}
