package usage

import (
	"cmp"
	"slices"
	"time"

	"lazyolo/yolo"
)

// When a model is likely to be used in an hour of the day.
const (
	leastDays  = 1.5 // recent days on which it was
	leastShare = 0.5 // of the days on which a server watched that hour
	leastUses  = 0.05
)

// Resident returns the ids of the models that were in memory when the last run
// ended, the most valuable first; none if it did not end by itself.
func (s *Store) Resident() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.resident)
}

// Likely returns the ids of the models that are usually used in the hour of at,
// the most valuable first.
func (s *Store) Likely(at time.Time) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	hour := at.Hour()
	values := make(map[string]float64)
	for id, m := range s.models {
		share := min(1, m.hours[hour]/max(s.days[hour], 1))
		if m.hours[hour] >= leastDays && share >= leastShare {
			values[id] = share * m.took.perByte()
		}
	}
	return byValue(values)
}

// orderLocked lists the models in memory, the most valuable first. One that was
// not used for days is left out.
func (s *Store) orderLocked(all []yolo.Status) []string {
	values := make(map[string]float64)
	for _, st := range all {
		if m := s.models[st.Model.ID]; m != nil && st.State == yolo.Ready && m.uses >= leastUses {
			values[st.Model.ID] = m.uses * m.took.perByte()
		}
	}
	ids := byValue(values)
	return ids[:min(len(ids), maxModels)]
}

// perByte is what having the model in memory saves at its next use, per byte.
func (t Took) perByte() float64 {
	return float64(max(t.Load, time.Millisecond)) / float64(max(t.Bytes, 1<<20))
}

func byValue(values map[string]float64) []string {
	ids := make([]string, 0, len(values))
	for id := range values {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int {
		return cmp.Or(cmp.Compare(values[b], values[a]), cmp.Compare(a, b))
	})
	return ids
}
