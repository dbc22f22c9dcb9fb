package simulate_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"lazyolo/internal/pool"
	"lazyolo/internal/simulate"
)

// TestFigure holds the default policy to its figures, in seconds of loading, with
// memory for 10, 25 and 50 % of the models' bytes (at least the largest model):
// where popularity does not change at most 1.1 times the best static set; at most
// 0.9 times LRU on average over all, and nowhere above 1.05 times.
//
// FIGURE_SEEDS=3 runs three seeds, and 1000 models too. The policy was tuned on
// seeds 1, 2, 3, 11 and 12; these are others. Two of those 108 figures are not
// reached: diurnal 1000 #102 at 50 % (1.057) and ping-pong 100 #103 at 50 %
// (1.182), both where LRU hardly loads. What mends them costs as much on Zipf.
func TestFigure(t *testing.T) {
	seeds, sizes := 1, []int{20, 100}
	if n, err := strconv.Atoi(os.Getenv("FIGURE_SEEDS")); err == nil {
		seeds, sizes = n, append(sizes, 1000)
	}
	sum, n := 0.0, 0
	for _, kind := range simulate.Kinds() {
		for _, models := range sizes {
			for seed := range seeds {
				name := fmt.Sprintf("%s %d #%d", kind, models, 101+seed)
				trace, err := simulate.Generate(kind, models, uint64(101+seed))
				if err != nil {
					t.Fatal(err)
				}
				for _, share := range []int64{10, 25, 50} {
					budget := max(trace.Bytes()*share/100, trace.Largest())
					r := simulate.Compare(trace, budget, simulate.Policies())
					lru, cost := r.Rows[0].Seconds, r.Rows[1].Seconds
					t.Logf("| %s | %d%% | %.1f | %.1f | %.3f | %.3f | %.3f | %.2f |", name, share, lru, cost, cost/lru, cost/r.Static.Seconds, cost/r.Ideal.Seconds, cost/r.Belady)
					sum += cost / lru
					n++
					if cost > 1.05*lru {
						t.Errorf("%s, %d %%: %.3f times LRU, more than 1.05", name, share, cost/lru)
					}
					if kind == simulate.Zipf && cost > 1.1*r.Static.Seconds {
						t.Errorf("%s, %d %%: %.3f times the best static set, more than 1.1", name, share, cost/r.Static.Seconds)
					}
				}
			}
		}
	}
	if mean := sum / float64(n); mean > 0.9 {
		t.Errorf("%.3f times LRU on average, more than 0.9", mean)
	} else {
		t.Logf("mean of cost / LRU: %.3f", mean)
	}
}

// TestBelady: no policy is below the bound, whatever it does.
func TestBelady(t *testing.T) {
	policies := append(simulate.Policies(),
		simulate.Named{Name: "mru", Policy: func(a, b pool.Resident) int { return -pool.LRU(a, b) }},
		simulate.Named{Name: "worst", Policy: func(a, b pool.Resident) int { return -pool.CostAware(a, b) }},
		simulate.Named{Name: "none", Policy: func(a, b pool.Resident) int { return 0 }})
	for _, kind := range simulate.Kinds() {
		for seed := range uint64(3) {
			trace, err := simulate.Generate(kind, 20, seed)
			if err != nil {
				t.Fatal(err)
			}
			for _, share := range []int64{5, 10, 30, 70, 100} {
				budget := trace.Bytes() * share / 100
				bound := simulate.Belady(trace, budget)
				for _, p := range policies {
					if r := simulate.Replay(trace, budget, p.Policy); r.Seconds < bound-1e-6 {
						t.Errorf("%s #%d, %d %%: %s loads for %.3f s, the bound is %.3f", kind, seed, share, p.Name, r.Seconds, bound)
					}
				}
				if s := simulate.BestStatic(trace, budget, false); s.Seconds < bound-1e-6 {
					t.Errorf("%s #%d, %d %%: the static set loads for %.3f s, the bound is %.3f", kind, seed, share, s.Seconds, bound)
				}
			}
		}
	}
}
