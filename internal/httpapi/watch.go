package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"lazyolo/yolo"
)

// watchEvery is how often a stream that asked for memory looks at it.
const watchEvery = time.Second

// totalsInfo is the memory budget in an event "memory": what memory_status says of
// the whole, without what can be derived from it.
type totalsInfo struct {
	Used        float64            `json:"memory_used_mb"`
	Max         float64            `json:"max_memory_mb"`
	Free        float64            `json:"free_mb"`
	Ledger      map[string]float64 `json:"ledger_mb"`
	Unexplained float64            `json:"unexplained_mb"`
	Queue       memoryQueue        `json:"queue"`
	Requests    int64              `json:"request_count"`
	Available   int                `json:"available_models"`
	Metrics     bool               `json:"metrics"` // /metrics is there
}

// newTotals renders the budget as a whole.
func (s *server) newTotals(mem Memory) totalsInfo {
	return totalsInfo{
		Used: megabytes(mem.Used), Max: megabytes(mem.Limit), Free: megabytes(mem.Free), Ledger: ledgerMB(mem),
		Unexplained: megabytes(mem.Unexplained), Queue: memoryQueue{mem.WaitLoad, mem.WaitMemory},
		Requests: s.requests.Load(), Available: len(s.models.All()), Metrics: s.o.Metrics,
	}
}

// seen is what of a model's status a watcher is told, in a form that can be compared.
type seen struct {
	number                    string
	state                     yolo.State
	warm, pinned, speculative bool
	mapped, private           int64
	leases, waiting           int
	hits, loads, evictions    int64
	lastUsed, expires         time.Time
	loadTook                  time.Duration
	err                       string
}

func newSeen(s yolo.Status, number string) seen {
	v := seen{
		number, s.State, s.Warm, s.Pinned, s.Speculative, s.Mapped, s.Private, s.Leases, s.Waiting,
		s.Hits, s.Loads, s.Evictions, s.LastUsed, s.Expires, s.LoadTook, "",
	}
	if s.Err != nil && s.State == yolo.Failed {
		v.err = publicText(s.Err)
	}
	return v
}

// A memoryWatch tells one client how memory changes: all of it first, then only what
// is not as it was told last, so that a server where nothing happens sends nothing.
type memoryWatch struct {
	s      *server
	totals []byte // as sent last
	models map[string]seen
}

func newMemoryWatch(s *server) *memoryWatch {
	return &memoryWatch{s: s, models: make(map[string]seen)}
}

// frame is the next event, nil where nothing has changed.
func (m *memoryWatch) frame(now time.Time) ([]byte, error) {
	mem := m.s.o.Memory()
	totals, err := encode(m.s.newTotals(mem))
	if err != nil {
		return nil, err
	}
	changed := m.changes(mem.Models)
	if len(changed) == 0 && bytes.Equal(totals, m.totals) {
		return nil, nil
	}
	m.totals = totals
	text, err := encode(object{
		{"time", now.UTC().Truncate(time.Millisecond)}, {"memory", json.RawMessage(totals)}, {"models", changed},
	})
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "event: memory\ndata: %s\n\n", text), nil
}

// changes lists the models whose line is not as it was sent, and with null those that
// are no more.
func (m *memoryWatch) changes(all []yolo.Status) object {
	changed := object{}
	for _, s := range all {
		was, known := m.models[s.Model.ID]
		number := was.number
		if !known {
			number = numbered(s.Model)
		}
		if is := newSeen(s, number); is != was {
			m.models[s.Model.ID] = is
			changed = append(changed, member{number, newModelMemory(s)})
		}
	}
	if len(m.models) == len(all) {
		return changed
	}
	here := make(map[string]bool, len(all))
	for _, s := range all {
		here[s.Model.ID] = true
	}
	for id, was := range m.models {
		if !here[id] {
			delete(m.models, id)
			changed = append(changed, member{was.number, nil})
		}
	}
	return changed
}
