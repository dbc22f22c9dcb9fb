package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"lazyolo/internal/config"
	"lazyolo/internal/core"
	"lazyolo/internal/detect"
	"lazyolo/internal/prepare"
	"lazyolo/yolo"
)

// prepareCommand makes the prepare command.
func prepareCommand() command {
	return command{
		name: "prepare", args: "[MODEL...]", does: "prepare all or some models ahead of their first use",
		more:     "Models are named by folder, number or name. What is prepared is kept in CACHE_DIR and used by serve and detect.",
		examples: []string{"lazyolo prepare", "lazyolo prepare fire smoke --models-path /srv/models"},
		settings: slices.Concat(findSettings(), makeSettings(), logSettings()), interruptible: true,
		run: prepareModels,
	}
}

// prepareModels prepares the named models, or all, one after the other and says
// how each went. It fails when one of them could not be prepared, or cannot serve.
func prepareModels(ctx context.Context, c *config.Config, s sys) (err error) {
	if c.Origin("LOG_LEVEL").Source == config.Default {
		c.LogLevel = slog.LevelWarn // progress is told on stdout
	}
	log := newLogger(c, s.stderr, c.LogLevel)
	models, err := openModels(c, log, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, models.remove()) }()
	e, err := core.NewEngine(c, log)
	if err != nil {
		return err
	}
	defer e.Close()
	if err := e.Ready(); err != nil {
		return err
	}
	chosen := models.All()
	if len(c.Args) > 0 {
		chosen = nil
		for _, asked := range c.Args {
			m, err := pickModel(models.All(), asked)
			if err != nil {
				return err
			}
			chosen = append(chosen, m)
		}
	}
	failed := 0
	for i, m := range chosen {
		fmt.Fprintf(s.stdout, "[%d/%d] %s ", i+1, len(chosen), plain(m.ID))
		said, kept, err := prepareOne(ctx, e.Cache(), m)
		switch {
		case ctx.Err() != nil:
			fmt.Fprintln(s.stdout)
			return ctx.Err()
		case err != nil:
			failed++
			fmt.Fprintln(s.stdout, "failed")
			fmt.Fprintf(s.stderr, "lazyolo: error: %s: %s\n", plain(m.ID), plain(err.Error()))
		case !kept:
			fmt.Fprintln(s.stdout, "cannot be kept")
			return hinted{fmt.Errorf("what is prepared cannot be kept in %s", cmp.Or(c.CacheDir, "a cache folder: there is none")), "set CACHE_DIR to a folder that can be written"}
		default:
			fmt.Fprintln(s.stdout, said)
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d models could not be prepared or cannot serve", failed, len(chosen))
	}
	return nil
}

func prepareAndTell(ctx context.Context, cache *prepare.Cache, m *yolo.Model) (string, error) {
	said, _, err := prepareOne(ctx, cache, m)
	return said, err
}

// prepareOne prepares a model and says how it went, and whether it is kept after this
// process.
func prepareOne(ctx context.Context, cache *prepare.Cache, m *yolo.Model) (said string, kept bool, err error) {
	if info, ok := cache.Known(m); ok {
		return fmt.Sprintf("is prepared (%d MiB)", info.Bytes>>20), true, cannotServe(m, info)
	}
	start := time.Now()
	f, err := cache.Prepare(ctx, m, prepare.How{})
	if err != nil {
		return "", false, err
	}
	said = fmt.Sprintf("prepared in %v: %.1f MiB mapped, %.1f MiB private, %.1f MiB for a run at %v",
		time.Since(start).Round(time.Millisecond), float64(f.Sizes.Mapped)/mib, float64(f.Sizes.Private)/mib,
		float64(f.Sizes.RunPeak)/mib, f.Sizes.RunShape)
	return said, !f.InMemory, errors.Join(cannotServe(m, f.Info), f.Unmap())
}

// cannotServe says why m, prepared as info tells, cannot serve; nil: it can.
func cannotServe(m *yolo.Model, info prepare.Info) error {
	err := detect.Check(m, info.Inputs, info.Outputs, info.Metadata)
	var known *yolo.Error
	if errors.As(err, &known) {
		return errors.New(known.Msg) // which names the model
	}
	return err
}
