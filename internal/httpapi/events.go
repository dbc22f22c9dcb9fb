package httpapi

import (
	"sync"
	"time"

	"lazyolo/yolo"
)

// The bounds of what events take.
const (
	keptEvents  = 512 // in the ring
	readAhead   = 64  // that a client may be behind before it is dropped
	maxWatchers = 32
)

// An event is a transition, a decision or a change of the catalog, as it happened.
type event struct {
	seq        int64
	at         time.Time
	transition *yolo.Transition
	decision   *yolo.Decision
	change     *change
}

// A change is what became of a model's folder.
type change struct {
	kind  string
	model *yolo.Model
	err   error
}

// Events keeps the last transitions and decisions and passes them on to who
// watches. Its methods never wait for a watcher: one that is behind is dropped.
// Transition and Decide are a pool's hooks.
type Events struct {
	mu       sync.Mutex
	closed   bool
	seq      int64
	ring     []event // in order, at most keptEvents
	watchers map[*watcher]bool
}

// A watcher gets events. Its channel is closed when it is dropped, or at the end.
type watcher struct{ events chan event }

// NewEvents makes an empty Events.
func NewEvents() *Events { return &Events{watchers: make(map[*watcher]bool)} }

// Transition tells of a change of state.
func (e *Events) Transition(t yolo.Transition) { e.publish(event{transition: &t}) }

// Decide tells of a decision.
func (e *Events) Decide(d yolo.Decision) { e.publish(event{decision: &d}) }

// Changed tells what became of a model's folder, in a word, and why it could not be
// taken, if so.
func (e *Events) Changed(kind string, m *yolo.Model, err error) {
	e.publish(event{change: &change{kind, m, err}})
}

func (e *Events) publish(v event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seq++
	v.seq, v.at = e.seq, time.Now()
	if len(e.ring) == keptEvents {
		e.ring = append(e.ring[:0:keptEvents], e.ring[1:]...)
	}
	e.ring = append(e.ring, v)
	for w := range e.watchers {
		select {
		case w.events <- v:
		default:
			e.dropLocked(w)
		}
	}
}

// watch begins to watch. past are the events kept with a number above since, of
// which lost are gone. Refused is Overloaded or Unavailable.
func (e *Events) watch(since int64) (w *watcher, past []event, lost int64, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return nil, nil, 0, yolo.Errorf(yolo.Unavailable, "the server is stopping")
	case len(e.watchers) >= maxWatchers:
		return nil, nil, 0, &yolo.Error{Code: yolo.Overloaded, Msg: "too many watch the events", Retry: 10 * time.Second}
	}
	first := e.seq + 1 - int64(len(e.ring)) // the oldest that is kept
	if since > e.seq {
		since = 0 // of an earlier run of the server
	}
	lost = max(0, first-1-since)
	past = append(past, e.ring[max(0, since+1-first):]...)
	w = &watcher{make(chan event, readAhead)}
	e.watchers[w] = true
	return w, past, lost, nil
}

// last is the number of the last event.
func (e *Events) last() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.seq
}

// leave ends a watch.
func (e *Events) leave(w *watcher) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dropLocked(w)
}

func (e *Events) dropLocked(w *watcher) {
	if e.watchers[w] {
		delete(e.watchers, w)
		close(w.events)
	}
}

// Close ends every watch: a server that stops does not wait for them.
func (e *Events) Close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	for w := range e.watchers {
		e.dropLocked(w)
	}
}
