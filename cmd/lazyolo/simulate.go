package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"

	"lazyolo/internal/config"
	"lazyolo/internal/simulate"
)

// simulateFlags are the flags of the simulate command.
type simulateFlags struct {
	policies, shares, kind, out string
	budgetMB                    int64
	models                      int
	seed                        uint64
}

// simulateCommand makes the simulate command with its flags.
func simulateCommand() command {
	var f simulateFlags
	return command{
		name: "simulate", args: "TRACE", does: "replay recorded or generated uses: what a policy or more memory would save",
		more:     "serve records uses where TRACE_FILE is set.",
		examples: []string{"lazyolo simulate trace.jsonl --budget-mb 2048", "lazyolo simulate --generate zipf --models 50 --share 10,25"},
		settings: noSettings,
		needs:    map[string]string{"models": "generate", "seed": "generate"},
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&f.policies, "policy", "lru,cost", "policies to compare, with commas between them")
			fs.Int64Var(&f.budgetMB, "budget-mb", 0, "memory for models in MB; default: see --share")
			fs.StringVar(&f.shares, "share", "10,25,50", "memory for models in % of all of them, at least the largest; several with commas between them")
			fs.StringVar(&f.kind, "generate", "", "make the trace instead of reading it: zipf, scan, diurnal or ping-pong")
			fs.IntVar(&f.models, "models", 100, "models of a generated trace")
			fs.Uint64Var(&f.seed, "seed", 1, "seed of a generated trace: the same seed, the same trace")
			fs.StringVar(&f.out, "o", "", "also write the trace to this file")
		},
		run: func(ctx context.Context, c *config.Config, s sys) error { return runSimulate(ctx, f, c.Args, s) },
	}
}

func runSimulate(ctx context.Context, f simulateFlags, args []string, s sys) error {
	policies, err := f.named()
	if err != nil {
		return err
	}
	shares, err := f.parts()
	if err != nil {
		return err
	}
	t, err := f.trace(args)
	if err != nil {
		return err
	}
	if f.out != "" {
		if err := writeTrace(f.out, t); err != nil {
			return err
		}
	}
	budgets := []int64{f.budgetMB * mib}
	if f.budgetMB == 0 {
		budgets = nil
		for _, share := range shares {
			budgets = append(budgets, max(int64(float64(t.Bytes())*share/100), t.Largest()))
		}
	}
	last := t.Accesses[len(t.Accesses)-1].At
	fmt.Fprintf(s.stdout, "%d uses of %d models in %.1f hours\n\n", len(t.Accesses), len(t.Models), last.Hours())
	for _, budget := range budgets {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := simulate.Compare(t, budget, policies).Print(s.stdout); err != nil {
			return err
		}
	}
	return nil
}

// named are the policies asked for.
func (f simulateFlags) named() ([]simulate.Named, error) {
	var out []simulate.Named
next:
	for name := range strings.SplitSeq(f.policies, ",") {
		for _, p := range simulate.Policies() {
			if p.Name == strings.TrimSpace(name) {
				out = append(out, p)
				continue next
			}
		}
		return nil, &config.UsageError{Setting: "--policy", Msg: fmt.Sprintf("--policy: no policy %q", name), Hint: "there are lru and cost"}
	}
	return out, nil
}

// parts are the shares of memory asked for, in percent.
func (f simulateFlags) parts() ([]float64, error) {
	if f.budgetMB < 0 || f.budgetMB > 1<<30 {
		return nil, &config.UsageError{Setting: "--budget-mb", Msg: fmt.Sprintf("--budget-mb %d is no size in MB", f.budgetMB)}
	}
	var out []float64
	for text := range strings.SplitSeq(f.shares, ",") {
		v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err != nil || !(v > 0 && v <= 100) {
			return nil, &config.UsageError{Setting: "--share", Msg: fmt.Sprintf("--share: %q is no share in %%", text), Hint: "give numbers up to 100 such as 10,25,50"}
		}
		out = append(out, v)
	}
	return out, nil
}

// trace reads or makes the trace.
func (f simulateFlags) trace(args []string) (*simulate.Trace, error) {
	if f.kind == "" {
		if len(args) != 1 {
			return nil, &config.UsageError{Setting: "simulate", Msg: fmt.Sprintf("simulate takes one trace, got %d", len(args)),
				Hint: "lazyolo simulate trace.jsonl, or: lazyolo simulate --generate zipf"}
		}
		return readTrace(args[0])
	}
	if len(args) > 0 {
		return nil, &config.UsageError{Setting: "simulate", Msg: "--generate takes no trace, got " + args[0], Hint: "leave one of them out"}
	}
	kind, err := simulate.ParseKind(f.kind)
	if err != nil {
		return nil, &config.UsageError{Setting: "--generate", Msg: "--generate: " + err.Error()}
	}
	t, err := simulate.Generate(kind, f.models, f.seed)
	if err != nil {
		return nil, &config.UsageError{Setting: "--models", Msg: "--" + err.Error()}
	}
	return t, nil
}

func readTrace(path string) (*simulate.Trace, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read trace: %w", err)
	}
	defer file.Close()
	t, err := simulate.Read(file)
	if err != nil {
		return nil, hinted{fmt.Errorf("%s: %w", path, err), "lazyolo simulate --generate zipf -o FILE shows what a trace looks like"}
	}
	return t, nil
}

func writeTrace(path string, t *simulate.Trace) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write trace: %w", err)
	}
	return errors.Join(simulate.Write(file, t), file.Close())
}
