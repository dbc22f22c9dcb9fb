package simulate

import (
	"fmt"
	"io"
	"strings"

	"lazyolo/internal/pool"
)

// A Named is a policy with the name it is asked for by.
type Named struct {
	Name   string
	Policy pool.Policy
}

// Policies lists the policies of the pool.
func Policies() []Named {
	return []Named{{"lru", pool.LRU}, {"cost", pool.CostAware}}
}

// more is how much memory a report prices.
const more = 512 << 20

// A Row is what one policy made of a trace within one budget.
type Row struct {
	Name string
	Result
	Saved float64 // seconds of loading that 512 MB more would save
}

// A Report is one trace within one budget, under every policy asked for.
type Report struct {
	Budget int64
	Total  int64   // bytes of all models
	Belady float64 // seconds; see Belady
	Static Static  // with room for the others
	Ideal  Static  // without
	Rows   []Row
}

// Compare replays a trace within a budget under each policy.
func Compare(t *Trace, budget int64, policies []Named) Report {
	r := Report{
		Budget: budget, Total: t.Bytes(), Belady: Belady(t, budget),
		Static: BestStatic(t, budget, false), Ideal: BestStatic(t, budget, true),
	}
	for _, p := range policies {
		row := Row{Name: p.Name, Result: Replay(t, budget, p.Policy)}
		// A larger budget also serves models that were refused.
		row.Saved = row.Seconds - Replay(t, budget+more, p.Policy).Seconds
		r.Rows = append(r.Rows, row)
	}
	return r
}

// Print writes a report as a table.
func (r Report) Print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "budget %d MB, %.0f %% of the models' %d MB\n", r.Budget>>20, 100*float64(r.Budget)/float64(r.Total), r.Total>>20)
	fmt.Fprintf(&b, "  %-14s %9s %9s %9s %9s %12s\n", "policy", "hits", "cold s", "/ Belady", "/ static", "+512 MB")
	for _, row := range r.Rows {
		fmt.Fprintf(&b, "  %-14s %7.2f %% %9.2f %9s %9s %10.2f s\n", row.Name, 100*row.HitRatio(), row.Seconds,
			ratio(row.Seconds, r.Belady), ratio(row.Seconds, r.Static.Seconds), -row.Saved)
		if row.Refused > 0 {
			fmt.Fprintf(&b, "  %-14s %d uses of models larger than the budget were refused\n", "", row.Refused)
		}
	}
	fmt.Fprintf(&b, "  %-14s %9s %9.2f   no policy can be below\n", "Belady bound", "", r.Belady)
	fmt.Fprintf(&b, "  %-14s %9s %9.2f   %d models for ever, with room for one other at a time\n", "best static", "", r.Static.Seconds, r.Static.Models)
	fmt.Fprintf(&b, "  %-14s %9s %9.2f   %d models for ever, if the others took no memory\n\n", "ideal static", "", r.Ideal.Seconds, r.Ideal.Models)
	_, err := io.WriteString(w, b.String())
	return err
}

func ratio(a, b float64) string {
	if b <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", a/b)
}
