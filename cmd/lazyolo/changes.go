package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"lazyolo/internal/catalog"
	"lazyolo/internal/config"
	"lazyolo/internal/core"
	"lazyolo/internal/detect"
	"lazyolo/internal/pool"
	"lazyolo/internal/prepare"
	"lazyolo/yolo"
)

// How the preparation of a model that nobody waits for goes on when memory is not free.
const (
	aheadEvery = 200 * time.Millisecond // between two tries, and longer each time
	aheadSlow  = 5 * time.Second
	// aheadFor is how long a changed model waits for free memory and for no request to
	// wait, before it gets in line and models that are not used are closed for it: a server
	// that is full, or always busy, would never take it else.
	aheadFor = 2 * time.Second
	// backFor is how long a head may take to go back to the old revision.
	backFor = time.Minute
)

// watchModels follows the models folder until ctx ends.
func (s *server) watchModels(ctx context.Context) {
	var fresh sync.WaitGroup // added models being loaded or prepared
	defer fresh.Wait()
	s.models.Watch(ctx, catalog.Watching{
		Every: s.c.ModelPoll, Ask: s.ask, Pace: s.pace, Prepare: s.prepareChanged, Replace: s.replace,
		Changed: func(c catalog.Change) {
			s.changed(c)
			if c.Kind == catalog.Added {
				fresh.Go(func() { s.welcome(ctx, c.Model) })
			}
		},
	})
}

// changed follows a change of the catalog.
func (s *server) changed(c catalog.Change) {
	s.events.Changed(string(c.Kind), c.Model, c.Err)
	switch c.Kind {
	case catalog.Removed:
		for _, m := range core.Heads(c.Model) {
			s.pool.Remove(m)
			s.engine.Forget(m)
		}
	case catalog.Replaced:
		for _, old := range core.Heads(c.Old) {
			if other(c.Model, old) == nil {
				s.pool.Remove(old)
			}
			s.engine.Forget(old)
		}
		fallthrough
	case catalog.Added:
		for _, m := range core.Heads(c.Model) {
			s.pool.Admit(m) // the model, or only this head of it, may have been removed before
		}
	}
}

// other is the head of m that has the id of another revision's; nil: there is none.
func other(m, head *yolo.Model) *yolo.Model {
	for _, h := range core.Heads(m) {
		if h.ID == head.ID {
			return h
		}
	}
	return nil
}

// prepareChanged makes a new revision ready to be served.
func (s *server) prepareChanged(ctx context.Context, m *yolo.Model) error {
	if err := s.prepareHead(ctx, m); err != nil || m.OtherHead == nil {
		return err
	}
	for _, loaded := range s.pool.Loaded() {
		if loaded.ID == m.OtherHead.ID {
			return s.prepareHead(ctx, m.OtherHead)
		}
	}
	return nil
}

// prepareHead prepares a model when memory is free for it, or makes room for it after a
// while, and checks that it can serve.
func (s *server) prepareHead(ctx context.Context, m *yolo.Model) error {
	s.engine.Soon(m)
	began, more := time.Now(), false
	for {
		done, err := s.tryAhead(ctx, m, more || time.Since(began) > aheadFor)
		switch {
		case errors.Is(err, pool.ErrMemory) && !more: // Prepare tries with more
			more = true
			continue
		case err != nil && !errors.Is(err, prepare.ErrTakenOver): // a request prepares the same
			return err
		case done && err == nil:
			if info, ok := s.engine.Cache().Known(m); ok {
				return detect.Check(m, info.Inputs, info.Outputs, info.Metadata)
			}
			return nil
		}
		if !pause(ctx, aheadEvery) {
			return ctx.Err()
		}
	}
}

// tryAhead prepares a model if memory is free, or makes room for it. One is prepared at
// a time.
func (s *server) tryAhead(ctx context.Context, m *yolo.Model, makeRoom bool) (done bool, err error) {
	select {
	case s.slot <- struct{}{}:
		defer func() { <-s.slot }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	if makeRoom {
		s.log.Info("a changed model gets in line for the memory it takes to be prepared", "model", m.ID)
		return true, s.pool.Prepare(ctx, m)
	}
	return s.pool.Ahead(ctx, m)
}

// welcome does for a new model what the start does for those that are there: it pins or
// loads it if the settings say so, or else prepares it once memory is free. The first
// request does where it comes before.
func (s *server) welcome(ctx context.Context, m *yolo.Model) {
	for wait := aheadEvery; pause(ctx, wait); wait = min(2*wait, aheadSlow) { // the catalog has it by then
		if now, ok := s.models.Model(m.ID); !ok || now != m || s.engine.Ready() != nil {
			return // changed or removed since
		}
		if pinned := s.named(s.c.PinModels, m); pinned || s.named(s.c.PreloadModels, m) {
			s.keep(ctx, m, pinned)
			return
		}
		if s.c.Prepare != config.PrepareBackground {
			return
		}
		if done, err := s.tryAhead(ctx, m, false); done || err != nil {
			s.tellPrepared(ctx, m, err)
			return
		}
	}
}

// pause waits; false: ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// replace puts a prepared revision in the place of the old one, with all its heads or
// with none.
func (s *server) replace(ctx context.Context, old, m *yolo.Model) error {
	if m.OtherHead != nil && old.OtherHead != nil && m.OtherHead.ID == old.OtherHead.ID {
		if err := s.replaceHead(ctx, m.OtherHead); err != nil {
			return err
		}
	}
	err := s.replaceHead(ctx, m)
	if err != nil && m.OtherHead != nil && old.OtherHead != nil { // also where the files changed again meanwhile
		back, cancel := context.WithTimeout(context.WithoutCancel(ctx), backFor)
		defer cancel()
		err = errors.Join(err, s.replaceHead(back, old.OtherHead))
	}
	return err
}

// replaceHead is replace for one head. What was prepared may have gone from the cache.
func (s *server) replaceHead(ctx context.Context, m *yolo.Model) error {
	err := s.pool.Replace(ctx, m)
	if !errors.Is(err, pool.ErrNotPrepared) {
		return err
	}
	if err := s.prepareHead(ctx, m); err != nil {
		return err
	}
	return s.pool.Replace(ctx, m)
}
