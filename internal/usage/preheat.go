package usage

import (
	"context"
	"slices"
	"time"
)

// How early a usual hour is prepared for, and how long after the start what was in
// memory before is waited for.
const (
	lead         = 5 * time.Minute
	restoreFor   = 10 * time.Second
	restoreEvery = 200 * time.Millisecond
)

// A Loader loads a model ahead of its use, if memory is free and nobody waits, to
// stay at least keep; 0: no longer than usual. again says that it was not possible
// now and may be later.
type Loader func(ctx context.Context, id string, keep time.Duration) (again bool)

// Restore loads what was in memory when the last run ended, then what is likely to
// be used in this hour, the most valuable first. It gives up after ten seconds.
func (s *Store) Restore(ctx context.Context, load Loader) {
	ids := s.Resident()
	for _, id := range s.Likely(s.o.Now()) {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	tick := time.NewTicker(restoreEvery)
	defer tick.Stop()
	for start := time.Now(); len(ids) > 0 && time.Since(start) < restoreFor; {
		ids = slices.DeleteFunc(ids, func(id string) bool { return ctx.Err() == nil && !load(ctx, id, 0) })
		if len(ids) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Preheat loads models shortly before the hour in which they are usually used, to
// stay until its end, once an hour, until ctx ends.
func (s *Store) Preheat(ctx context.Context, load Loader) {
	tried := make(map[string]int64) // by id, the hour since 1970
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := s.o.Now()
		at := now.Add(lead)
		slot := at.Unix() / 3600
		keep := time.Unix((slot+1)*3600, 0).Sub(now)
		for _, id := range s.Likely(at) {
			if tried[id] != slot && ctx.Err() == nil && !load(ctx, id, keep) {
				tried[id] = slot
			}
		}
	}
}
