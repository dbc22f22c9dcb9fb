package main

import (
	"context"
	"fmt"

	"lazyolo/internal/simulate"
)

// policyTable replays generated uses of models under both policies: those that
// lazyolo simulate makes by itself, and others, on which the policy was not tuned.
func policyTable(_ context.Context, out *report, _ *work) error {
	shipped, err := replays(1)
	if err != nil {
		return err
	}
	others, err := replays(101, 102, 103)
	if err != nil {
		return err
	}
	out.section("Policy", fmt.Sprintf(
		"Seconds of loading under the default policy, with memory for 10, 25 and 50 %% of the models' bytes: %d replays of lazyolo simulate --generate (zipf, scan, diurnal, ping-pong) --models (20, 100, 1000) with its own seed, and %d with the seeds 101 to 103, on which it was not tuned. Belady's bound is below what any policy can do.",
		len(shipped.lru), len(others.lru)))
	out.table([]figure{
		{what: "Zipf: over the best static set, highest", in: asRatio, measured: sample{shipped.static.percentile(100)}, most: 1.1},
		{what: "over LRU, mean of all", in: asRatio, measured: sample{shipped.lru.mean()}, most: 0.9},
		{what: "over LRU, highest", in: asRatio, measured: sample{shipped.lru.percentile(100)}, most: 1.05},
		{what: "over Belady's bound", in: asRatio, measured: shipped.belady, spread: true},
		{what: "seeds 101 to 103, Zipf: over the best static set, highest", in: asRatio, measured: sample{others.static.percentile(100)}},
		{what: "seeds 101 to 103: over LRU, mean of all", in: asRatio, measured: sample{others.lru.mean()}},
		{what: "seeds 101 to 103: over LRU, highest", in: asRatio, measured: sample{others.lru.percentile(100)}},
		{what: "seeds 101 to 103: of them above 1.05x", in: asCount, measured: sample{others.lru.above(1.05)}},
	})
	return nil
}

// A replayed is how the default policy compares, replay by replay.
type replayed struct{ lru, static, belady sample } // static: of Zipf only

func replays(seeds ...uint64) (r replayed, err error) {
	for _, kind := range simulate.Kinds() {
		for _, models := range []int{20, 100, 1000} {
			for _, seed := range seeds {
				progress("policy: %s, %d models, seed %d", kind, models, seed)
				t, err := simulate.Generate(kind, models, seed)
				if err != nil {
					return r, err
				}
				for _, share := range []int64{10, 25, 50} {
					got := simulate.Compare(t, max(t.Bytes()*share/100, t.Largest()), simulate.Policies())
					lru, cost := got.Rows[0].Seconds, got.Rows[1].Seconds
					r.lru, r.belady = append(r.lru, cost/lru), append(r.belady, cost/got.Belady)
					if kind == simulate.Zipf {
						r.static = append(r.static, cost/got.Static.Seconds)
					}
				}
			}
		}
	}
	return r, nil
}
