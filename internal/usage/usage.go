// Package usage remembers how the models of a folder are used, so that a later
// run, or a later hour, can have the likely ones in memory before they are asked
// for: how often, at which hours of the day, and what loading and running them
// took. It keeps one small file per models folder in STATE_DIR.
//
// # Clocks
//
// Counts fade with time. What fades is measured by the monotonic clock while the
// process runs; between runs by the wall clock, where a step back counts as no time
// and no step forward as more than two weeks. All models fade alike, so a clock
// that jumps changes how much is known, never which model comes before which.
package usage

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"os"
	"sync"
	"time"

	"lazyolo/yolo"
)

// How fast counts fade, and what bounds them.
const (
	usesHalf  = 24 * time.Hour
	hoursHalf = 7 * 24 * time.Hour
	maxAge    = 14 * 24 * time.Hour
	maxUses   = 1e9
	maxDays   = 1000.0
	maxModels = 2000 // kept in the file: those used most
)

// every is how often what happened is recorded and written.
const every = time.Minute

// Options configures a Store; Log is required.
type Options struct {
	Dir    string // STATE_DIR; "": nothing is remembered
	Models string // the models folder
	Log    *slog.Logger
	Now    func() time.Time // nil: time.Now
}

// A Store holds the statistics of one models folder. Its methods may be called
// concurrently.
type Store struct {
	o    Options
	file string // "": nothing is written

	mu       sync.Mutex
	lock     *os.File // nil: another server writes the file, or there is none
	warned   bool     // that it cannot be written
	stopped  bool
	dirty    bool // changed since it was written
	at       time.Time
	slot     int64               // hour since 1970 that was counted in days last
	days     [24]float64         // how often each hour of the day was watched
	models   map[string]*record  // by id
	seen     map[string]counters // what the pool said last
	resident []string            // of the last run, most valuable first
}

// A record is what is known of one model.
type record struct {
	uses  float64
	hours [24]float64 // days on which it was used in that hour
	slot  int64       // hour since 1970 that was counted in hours last
	rev   string      // which revision the rest is about
	took  Took
}

// Took is what a revision of a model really took.
type Took struct {
	Load, Run time.Duration // 0: not known
	Bytes     int64         // in memory, all pages touched; 0: not known
	// Ran is what runs took of the memory that all share, in bytes, by the pixels of
	// their input; nil: not known. It must not be changed.
	Ran map[int64]int64
}

type counters struct{ hits, loads int64 }

// Open reads what is known. A file that cannot be read is told once and counts as
// empty. While another server has the file, this one only reads it.
func Open(o Options) *Store {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Store{o: o, models: make(map[string]*record), seen: make(map[string]counters)}
	if o.Dir == "" {
		return s
	}
	s.file = fileName(o)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ownLocked()
	s.readLocked()
	// A run that did not end by itself may have ended by what it loaded: its
	// resident models do not come back, nor this one's unless it ends well.
	if s.lock != nil && len(s.resident) > 0 {
		s.warnLocked(s.writeLocked(nil))
	}
	return s
}

// Keep records what status says and writes it, every minute until ctx ends.
func (s *Store) Keep(ctx context.Context, status func() []yolo.Status) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.Record(status())
			s.Flush()
		}
	}
}

// Record notes what happened since the last call.
func (s *Store) Record(all []yolo.Status) {
	now := s.o.Now()
	hour, slot := now.Hour(), now.Unix()/3600
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fadeLocked(now)
	if slot != s.slot {
		s.slot, s.dirty = slot, true
		s.days[hour] = min(s.days[hour]+1, maxDays)
	}
	for _, st := range all {
		last, id := s.seen[st.Model.ID], st.Model.ID
		s.seen[id] = counters{st.Hits, st.Loads}
		if st.Hits < last.hits || st.Loads < last.loads { // a new revision counts from 0
			last = counters{}
		}
		if st.Hits == last.hits && st.Loads == last.loads {
			continue
		}
		s.dirty = true
		m := s.models[id]
		if m == nil {
			m = &record{}
			s.models[id] = m
		}
		if uses := st.Hits - last.hits; uses > 0 {
			m.uses = min(m.uses+float64(uses), maxUses)
			if m.slot != slot {
				m.slot = slot
				m.hours[hour] = min(m.hours[hour]+1, maxDays)
			}
		}
		m.measure(st)
	}
}

// measure notes what the revision in use took.
func (m *record) measure(st yolo.Status) {
	if m.rev != st.Model.Rev {
		m.rev, m.took = st.Model.Rev, Took{}
	}
	if st.LoadTook > 0 {
		m.took.Load = st.LoadTook
	}
	if st.RunTook > 0 {
		m.took.Run = st.RunTook
	}
	m.took.Bytes = max(m.took.Bytes, st.Mapped+st.Private) // a cooled one holds less
	if st.Ran != nil {
		m.took.Ran = st.Ran
	}
}

// Took returns what a revision of a model really took.
func (s *Store) Took(m *yolo.Model) (Took, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.models[m.ID]
	if r == nil || r.rev != m.Rev {
		return Took{}, false
	}
	return r.took, true
}

// fadeLocked lets every count fade by the time since the last call.
func (s *Store) fadeLocked(now time.Time) {
	age := min(max(now.Sub(s.at), 0), maxAge)
	if s.at.IsZero() {
		age = 0
	}
	s.at = now
	uses, hours := fade(age, usesHalf), fade(age, hoursHalf)
	for i := range s.days {
		s.days[i] *= hours
	}
	for _, m := range s.models {
		m.uses *= uses
		for i := range m.hours {
			m.hours[i] *= hours
		}
	}
}

func fade(age, half time.Duration) float64 { return math.Exp2(-float64(age) / float64(half)) }

// Flush writes what is new, if this server has the file or can get it.
func (s *Store) Flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == "" || !s.dirty || s.stopped || !s.ownLocked() {
		return
	}
	s.warnLocked(s.writeLocked(nil))
}

// Stop records the last of a run, with the models in memory for the next one, and
// lets go of the file; nothing is written afterwards.
func (s *Store) Stop(all []yolo.Status) error {
	s.Record(all)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == "" || s.stopped || !s.ownLocked() {
		return nil
	}
	s.stopped = true
	err := s.writeLocked(s.orderLocked(all))
	if s.warned { // told already
		err = nil
	}
	return errors.Join(err, s.disownLocked())
}

// warnLocked tells once that nothing can be remembered.
func (s *Store) warnLocked(err error) {
	if err != nil && !s.warned {
		s.warned = true
		s.o.Log.Warn("remember how models are used", "err", err,
			"hint", "make STATE_DIR writable, or no model is loaded ahead of its use after the next start")
	}
}
