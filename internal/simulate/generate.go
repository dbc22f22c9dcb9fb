package simulate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// A Kind names a generator.
type Kind string

// The kinds of traces that Generate makes.
const (
	Zipf     Kind = "zipf"      // every model has its popularity, 1/rank, for ever
	Scan     Kind = "scan"      // the same for half of the uses; the others walk through all models, again and again
	Diurnal  Kind = "diurnal"   // every model has its popularity and its hours of the day; three days
	PingPong Kind = "ping-pong" // a changing few models take turns, over a little of the first kind
)

// Kinds lists the kinds of traces.
func Kinds() []Kind { return []Kind{Zipf, Scan, Diurnal, PingPong} }

// perModel is how many uses a generated trace has for each model, at least
// leastUses in all.
const (
	perModel  = 200
	leastUses = 20_000
)

// Generate makes a trace of models from a seed: the same from the same, always.
func Generate(k Kind, models int, seed uint64) (*Trace, error) {
	if models < 2 || models > 100_000 {
		return nil, fmt.Errorf("models: %d is not from 2 to 100000", models)
	}
	r := rand.New(rand.NewPCG(seed, 0x6c617a79))
	g := &generator{r: r, t: &Trace{Models: fleet(r, models)}, uses: max(leastUses, perModel*models)}
	g.weights = popularity(r, models)
	switch k {
	case Zipf:
		g.zipf()
	case Scan:
		g.scan()
	case Diurnal:
		g.diurnal()
	case PingPong:
		g.pingPong()
	default:
		return nil, fmt.Errorf("no generator %q; there are %v", k, Kinds())
	}
	return g.t, nil
}

// fleet makes models like YOLOv8n to YOLOv8x, mostly small, no two alike.
func fleet(r *rand.Rand, n int) []Model {
	sizes := []struct {
		name   string
		share  int // of 100
		mb, ms float64
	}{{"n", 45, 13, 18}, {"s", 25, 45, 32}, {"m", 15, 104, 60}, {"l", 9, 175, 95}, {"x", 6, 273, 145}}
	out := make([]Model, n)
	for i := range out {
		at, s := r.IntN(100), 0
		for at >= sizes[s].share {
			at -= sizes[s].share
			s++
		}
		out[i] = Model{
			ID:     fmt.Sprintf("v8%s-%04d", sizes[s].name, i),
			Bytes:  int64(sizes[s].mb * 1e6 * (0.85 + 0.3*r.Float64())),
			LoadMS: math.Round(sizes[s].ms*(0.7+0.6*r.Float64())*10) / 10,
		}
	}
	return out
}

// popularity gives every model a weight of 1/rank, ranks at random.
func popularity(r *rand.Rand, n int) []float64 {
	out := make([]float64, n)
	for rank, m := range r.Perm(n) {
		out[m] = 1 / float64(rank+1)
	}
	return out
}

// A generator makes one trace.
type generator struct {
	r       *rand.Rand
	t       *Trace
	uses    int
	now     time.Duration
	weights []float64
}

// use adds a use after a random while, every seconds on average.
func (g *generator) use(m int, every float64) {
	g.now += time.Duration(g.r.ExpFloat64() * every * float64(time.Second)).Round(time.Microsecond)
	g.t.Accesses = append(g.t.Accesses, Access{g.now, m})
}

func (g *generator) more() bool { return len(g.t.Accesses) < g.uses }

// A chooser picks models by weight.
type chooser []float64 // sums of the weights so far

func choose(weights []float64) chooser {
	sums, sum := make(chooser, len(weights)), 0.0
	for i, w := range weights {
		sum += w
		sums[i] = sum
	}
	return sums
}

func (c chooser) pick(r *rand.Rand) int {
	i, _ := slices.BinarySearch(c, r.Float64()*c[len(c)-1])
	return min(i, len(c)-1)
}

// busy is the mean time between two uses where traffic is steady, in seconds.
const busy = 0.2

func (g *generator) zipf() {
	for c := choose(g.weights); g.more(); {
		g.use(c.pick(g.r), busy)
	}
}

func (g *generator) scan() {
	order := g.r.Perm(len(g.t.Models))
	c := choose(g.weights)
	for next := 0; g.more(); {
		if g.r.IntN(2) == 0 {
			g.use(c.pick(g.r), busy)
			continue
		}
		g.use(order[next%len(order)], busy)
		next++
	}
}

// diurnal: a model is busy around its own hour; nights are quieter than days.
func (g *generator) diurnal() {
	const days, slots = 3, 96 // a slot is a quarter of an hour
	peak := make([]float64, len(g.weights))
	for i := range peak {
		peak[i] = g.r.Float64()
	}
	near := func(at, p float64) float64 { return math.Exp(6 * (math.Cos(2*math.Pi*(at-p)) - 1)) }
	day := func(at float64) float64 { return 0.2 + near(at, 14./24) }
	whole := 0.0
	for s := range slots {
		whole += day(float64(s) / slots)
	}
	w := make([]float64, len(g.weights))
	for slot := range days * slots {
		at := float64(slot) / slots
		for i := range w {
			w[i] = g.weights[i] * (0.02 + near(at, peak[i]))
		}
		uses := float64(g.uses) / days * day(at) / whole
		end := time.Duration(slot+1) * 15 * time.Minute
		for c := choose(w); g.now < end; {
			g.use(c.pick(g.r), 15*60/uses)
		}
	}
}

func (g *generator) pingPong() {
	c := choose(g.weights)
	for g.more() {
		// From two models to half of them, small groups as likely as large ones.
		group := int(2 * math.Pow(float64(len(g.weights))/4, g.r.Float64()))
		turns := g.r.Perm(len(g.weights))[:max(2, group)]
		for range len(turns) * (3 + g.r.IntN(18)) {
			g.use(turns[0], busy)
			turns = append(turns[1:], turns[0])
			if g.r.IntN(10) == 0 {
				g.use(c.pick(g.r), busy)
			}
		}
	}
}

// ParseKind reads a kind's name.
func ParseKind(s string) (Kind, error) {
	if k := Kind(strings.ToLower(s)); slices.Contains(Kinds(), k) {
		return k, nil
	}
	return "", fmt.Errorf("no generator %q; there are %v", s, Kinds())
}
