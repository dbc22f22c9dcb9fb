package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"lazyolo/internal/compare"
	"lazyolo/internal/config"
)

// runBenchMemory measures three ways to serve the same models and reports.
func runBenchMemory(ctx context.Context, f loadFlags, c *config.Config, s sys) (err error) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	st, err := newStage(ctx, c, f.models, c.Args[1:], s.stderr)
	defer func() { err = errors.Join(err, st.close()) }()
	if err != nil {
		return err
	}
	eager, err := st.eager()
	if err != nil {
		return err
	}
	r, err := compare.Compare(ctx, compare.Options{
		Setups: []compare.Setup{
			{Name: "eager", Does: "every model is opened from its ONNX file at the start, as the old server did", Command: eager},
			{Name: "lazy", Does: "models are loaded when they are first asked for, and stay", Command: st.serve(unlimited)},
			{Name: "budget", Does: fmt.Sprintf("the same within MAX_MEMORY_MB=%d", st.budget()/mib), Command: st.serve(st.budget())},
		},
		Models: st.numbers(), Picture: st.picture, About: st.about, Weights: st.weights, Budget: st.budget(),
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
		encoder := json.NewEncoder(s.stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(r)
	}
	return r.Text(s.stdout)
}

// comparisonError adds the way out to an error of package compare.
func comparisonError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted")
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
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return hinted{fmt.Errorf("make folder: %w", err), "--out names a folder that can be written"}
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
