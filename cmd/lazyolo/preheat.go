package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"lazyolo/internal/config"
	"lazyolo/internal/pool"
	"lazyolo/internal/usage"
	"lazyolo/yolo"
)

// openUsage reads how the models were used.
func (s *server) openUsage() {
	s.usage = usage.Open(usage.Options{Dir: s.c.StateDir, Models: s.c.ModelsPath, Log: s.log})
}

// ran is what runs of a model took in earlier processes.
func (s *server) ran(m *yolo.Model) map[int64]int64 {
	if s.usage == nil {
		return nil
	}
	took, _ := s.usage.Took(m)
	return took.Ran
}

// warmUp loads the models that are to be there from the start, then those that are
// likely to be used, then prepares the others ahead of their first use.
func (s *server) warmUp(ctx context.Context) {
	for _, id := range append(s.c.PinModels, s.c.PreloadModels...) {
		m, ok := s.models.Model(id)
		if !ok {
			s.log.Error("no such model", "model", id, "setting", "PIN_MODELS or PRELOAD_MODELS")
			continue
		}
		s.keep(ctx, m, slices.Contains(s.c.PinModels, id))
	}
	s.warmedUp.Store(true)
	if s.c.Preheat == config.PreheatAuto {
		s.usage.Restore(ctx, s.loadAhead)
	}
	if s.c.Prepare == config.PrepareBackground {
		s.prepareAll(ctx)
	}
}

// keep loads a model that the settings name, and pins it if they say so.
func (s *server) keep(ctx context.Context, m *yolo.Model, pinned bool) {
	what, err := "load", s.detector.Warm(ctx, m.ID)
	if err == nil && pinned {
		if what, err = "pin", s.pool.Pin(m); err == nil {
			err = s.pool.Load(ctx, m) // a short keep-alive may have been over before
		}
	}
	if err != nil && ctx.Err() == nil {
		s.log.Error("cannot "+what+" a model that the settings name", "model", m.ID, "err", err)
	}
}

// named reports whether one of ids, folders or numbers, is m's.
func (s *server) named(ids []string, m *yolo.Model) bool {
	return slices.ContainsFunc(ids, func(id string) bool {
		found, ok := s.models.Model(id)
		return ok && found == m
	})
}

// loadAhead loads a model that nobody asked for yet.
func (s *server) loadAhead(ctx context.Context, id string, keep time.Duration) (again bool) {
	m, ok := s.models.Model(id)
	if !ok || s.engine.Ready() != nil {
		return false // removed since then, or nothing can be loaded
	}
	err := s.detector.Preheat(ctx, m, keep)
	if errors.Is(err, pool.ErrNotPrepared) && s.c.Prepare == config.PrepareBackground {
		var done bool
		if done, err = s.pool.Ahead(ctx, m); !done {
			return err == nil
		}
		if err == nil {
			err = s.detector.Preheat(ctx, m, keep)
		}
	}
	switch {
	case err == nil:
		s.log.Debug("preheated", "model", id)
	case errors.Is(err, pool.ErrBusy), errors.Is(err, pool.ErrFull):
		return true
	case ctx.Err() == nil:
		s.log.Debug("not preheated", "model", id, "err", err)
	}
	return false
}
