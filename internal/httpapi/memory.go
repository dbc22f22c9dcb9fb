package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"lazyolo/yolo"
)

// modelMemory is one model in a memory answer.
type modelMemory struct {
	State     string     `json:"state"`
	Warm      bool       `json:"warm"` // its weights are in memory; an open model may be cooled
	Pinned    bool       `json:"pinned"`
	Guess     bool       `json:"speculative"` // loaded ahead of a use that has not come yet
	Mapped    float64    `json:"mapped_mb"`
	Private   float64    `json:"private_mb"`
	Leases    int        `json:"leases"`
	Waiting   int        `json:"waiting"`
	Hits      int64      `json:"hits"`
	Loads     int64      `json:"loads"`
	Evictions int64      `json:"evictions"`
	LoadMS    float64    `json:"load_ms"`
	LastUsed  *time.Time `json:"last_used"`
	Expires   *time.Time `json:"expires"` // null: no keep-alive runs
	Error     string     `json:"error,omitempty"`
}

func newModelMemory(s yolo.Status) modelMemory {
	m := modelMemory{
		State: s.State.String(), Warm: s.Warm, Pinned: s.Pinned, Guess: s.Speculative, Mapped: megabytes(s.Mapped), Private: megabytes(s.Private),
		Leases: s.Leases, Waiting: s.Waiting, Hits: s.Hits, Loads: s.Loads, Evictions: s.Evictions,
		LoadMS: float64(s.LoadTook) / float64(time.Millisecond), LastUsed: moment(s.LastUsed), Expires: moment(s.Expires),
	}
	if s.Err != nil && s.State == yolo.Failed {
		m.Error = publicText(s.Err)
	}
	return m
}

// publicText is what may be shown of an error.
func publicText(err error) string {
	var e *yolo.Error
	if errors.As(err, &e) {
		return e.Msg
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "the request was not answered in time (REQUEST_TIMEOUT)"
	}
	return string(yolo.CodeOf(err))
}

// moment is a time in UTC, or null for one that never was.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Millisecond)
	return &t
}

// memoryQueue counts the requests that wait.
type memoryQueue struct {
	Load   int `json:"load"`
	Memory int `json:"memory"`
}

// preheat is what became of the models loaded ahead of their use.
type preheat struct {
	Loaded    int64    `json:"loaded"`
	Used      int64    `json:"used"`
	Precision *float64 `json:"precision"` // used of loaded; null: none was loaded
}

func newPreheat(m Memory) preheat {
	p := preheat{Loaded: m.Preheated, Used: m.PreheatUsed}
	if p.Loaded > 0 {
		p.Precision = new(float64(p.Used) / float64(p.Loaded))
	}
	return p
}

// numbered is the number of a model, with which head it is if it is the other one.
func numbered(m *yolo.Model) string {
	number := strconv.Itoa(m.Index)
	if _, head := m.Folder(); head != "" {
		number += "/" + head
	}
	return number
}

// ledgerMB is what is charged to the budget, by kind.
func ledgerMB(m Memory) map[string]float64 {
	ledger := make(map[string]float64, len(m.Ledger))
	for kind, n := range m.Ledger {
		ledger[kind] = megabytes(n)
	}
	return ledger
}

// memoryStatus answers GET /api/v2/memory_status: what the old server's README
// promised, then the budget in detail.
func (s *server) memoryStatus(w http.ResponseWriter, _ *http.Request) error {
	mem := s.o.Memory()
	models := make(object, 0, len(mem.Models))
	for _, m := range mem.Models {
		models = append(models, member{numbered(m.Model), newModelMemory(m)})
	}
	return writeJSON(w, http.StatusOK, struct {
		Loaded      []int              `json:"loaded_models"`
		Used        float64            `json:"memory_used_mb"`
		Available   int                `json:"available_models"`
		Max         float64            `json:"max_memory_mb"`
		Percent     float64            `json:"memory_usage_percent"`
		Free        float64            `json:"free_mb"`
		Ledger      map[string]float64 `json:"ledger_mb"`
		Unexplained float64            `json:"unexplained_mb"`
		Queue       memoryQueue        `json:"queue"`
		Preheat     preheat            `json:"preheat"`
		Models      object             `json:"models"`
	}{
		s.loaded(), megabytes(mem.Used), len(s.models.All()), megabytes(mem.Limit), mem.percent(),
		megabytes(mem.Free), ledgerMB(mem), megabytes(mem.Unexplained), memoryQueue{mem.WaitLoad, mem.WaitMemory}, newPreheat(mem), models,
	})
}
