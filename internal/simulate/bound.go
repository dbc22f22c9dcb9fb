package simulate

import (
	"cmp"
	"slices"
)

// Belady is a lower bound of the seconds of loading of any policy, even one that
// knows the future: Belady's optimum for models of different size and cost,
// which is hard to compute, relaxed (PFOO-L of Berger, Beckmann and
// Harchol-Balter, 2018). Keeping a model from one use to the next saves a load
// and takes its bytes at every use between. What is not taken by the model in use
// is free for that at each use; the bound allows the sum of it to be spent
// anywhere, on what saves most per byte and use, down to parts of models.
func Belady(t *Trace, budget int64) float64 {
	type keep struct{ saves, takes float64 }
	var keeps []keep
	last := make([]int, len(t.Models)) // one more than the place of the last use
	seconds, room := 0.0, 0.0
	for i, a := range t.Accesses {
		m := t.Models[a.Model]
		cost := m.Load().Seconds()
		room += float64(budget)
		if m.Bytes <= budget {
			room -= float64(m.Bytes)
		}
		between := float64(i - last[a.Model])
		switch {
		case m.Bytes > budget: // refused
		case last[a.Model] == 0:
			seconds += cost
		case between > 0:
			seconds += cost
			keeps = append(keeps, keep{cost, between * float64(m.Bytes)})
		}
		last[a.Model] = i + 1
	}
	slices.SortFunc(keeps, func(a, b keep) int { return cmp.Compare(b.saves*a.takes, a.saves*b.takes) })
	for _, k := range keeps {
		part := min(1, room/k.takes)
		seconds -= part * k.saves
		if room -= part * k.takes; room <= 0 {
			break
		}
	}
	return max(0, seconds)
}

// A Static is a set of models that stay in memory for ever.
type Static struct {
	Models  int     // in the set
	Seconds float64 // of loading: once for each of them that is used, each time for others
}

// BestStatic is the best set of models to keep for ever, found greedily by what
// keeping a model saves per byte. ideal lets the set fill the budget, as if the
// others took no memory while they run; else it leaves room for the largest of
// the others, as any server must.
func BestStatic(t *Trace, budget int64, ideal bool) Static {
	uses := make([]int, len(t.Models))
	for _, a := range t.Accesses {
		uses[a.Model]++
	}
	saves := func(m int) float64 { return float64(uses[m]-1) * t.Models[m].Load().Seconds() }
	var order []int // used models, best first
	all := 0.0
	for m, n := range uses {
		if n > 0 && t.Models[m].Bytes <= budget {
			order = append(order, m)
			all += float64(n) * t.Models[m].Load().Seconds()
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(saves(b)/float64(t.Models[b].Bytes), saves(a)/float64(t.Models[a].Bytes))
	})
	// largest is the most that a model outside may take: larger ones must be in.
	fill := func(largest int64) (Static, bool) {
		s, left := Static{Seconds: all}, budget
		if !ideal {
			left -= largest
		}
		for _, must := range []bool{true, false} {
			for _, m := range order {
				size := t.Models[m].Bytes
				if must != (!ideal && size > largest) || !must && size > left {
					continue
				}
				left -= size
				s.Models++
				s.Seconds -= saves(m)
			}
		}
		return s, left >= 0
	}
	if ideal {
		s, _ := fill(0)
		return s
	}
	best, found := Static{}, false
	tries := []int64{0}
	for _, m := range order {
		tries = append(tries, t.Models[m].Bytes)
	}
	slices.Sort(tries)
	for _, largest := range slices.Compact(tries) {
		if s, ok := fill(largest); ok && (!found || s.Seconds < best.Seconds) {
			best, found = s, true
		}
	}
	return best
}
