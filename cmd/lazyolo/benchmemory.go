package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"lazyolo/internal/compare"
	"lazyolo/internal/config"
)

// runBenchMemory measures three ways to serve the same models and reports.
func runBenchMemory(ctx context.Context, f loadFlags, c *config.Config, s sys) (err error) {
	if f.out != "" {
		if err := makeOut(f.out); err != nil {
			return err
		}
	}
	ctx, s, stop := tidy(ctx, s)
	defer stop()
	st, err := newStage(ctx, c, f.models, c.Args[1:], s.stderr)
	defer func() { err = errors.Join(err, st.close()) }()
	if err != nil {
		return comparisonError(ctx, err)
	}
	eager, leftOut, err := st.eager(ctx)
	if err != nil {
		return comparisonError(ctx, err)
	}
	setups := []compare.Setup{
		{Name: "eager", Does: "every model is opened from its ONNX file at the start, as the old server did", Command: eager},
		{Name: "lazy", Does: "models are loaded when they are first asked for, and stay", Command: st.serve(unlimited)},
		{Name: "budget", Does: fmt.Sprintf("the same within MAX_MEMORY_MB=%d", st.budget()/mib), Command: st.serve(st.budget())},
	}
	if eager == nil {
		setups, leftOut = setups[1:], "eager is left out: "+leftOut
	}
	r, err := compare.Compare(ctx, compare.Options{
		Setups: setups, LeftOut: leftOut, Models: st.numbers(), Picture: st.picture, About: st.about, Weights: st.weights, Budget: st.budget(),
		Progress: func(what string) { fmt.Fprintln(s.stderr, what) },
	})
	if err != nil {
		return comparisonError(ctx, err)
	}
	if f.out != "" {
		if err := writeReport(f.out, "memory", r, s); err != nil {
			return err
		}
	}
	if f.asJSON {
		return printJSON(s.stdout, r)
	}
	return r.Text(s.stdout)
}

// comparisonError adds the way out to an error of package compare.
func comparisonError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx) // a signal, or an output that nobody reads
	}
	if errors.Is(err, compare.ErrNoMemory) {
		return hinted{err, "run it on Linux, or in a container"}
	}
	return err
}

// A drawing is what can be shown as a picture and as a page.
type drawing interface {
	SVG() []byte
	HTML() ([]byte, error)
}

// writeReport writes name.svg and name.html to dir and says where.
func writeReport(dir, name string, d drawing, s sys) error {
	page, err := d.HTML()
	if err != nil {
		return err
	}
	for file, data := range map[string][]byte{name + ".svg": d.SVG(), name + ".html": page} {
		file = filepath.Join(dir, file)
		if err := os.WriteFile(file, data, 0o644); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		fmt.Fprintln(s.stderr, "wrote", file)
	}
	return nil
}
