package httpapi

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// How a stream of events is kept going.
const (
	heartbeatEvery = 15 * time.Second // a comment, so that nobody takes silence for an end
	eventTimeout   = 10 * time.Second // for a client to take what is sent
)

// eventInfo is an event as it is sent.
type eventInfo struct {
	Seq    int64     `json:"seq"`
	Time   time.Time `json:"time"`
	Index  int       `json:"model_id"`
	Folder string    `json:"folder"`
}

// transitionInfo is a change of state.
type transitionInfo struct {
	eventInfo
	From  string  `json:"from"`
	To    string  `json:"to"`
	Used  float64 `json:"used_mb"`
	Error string  `json:"error,omitempty"`
}

// decisionInfo is a decision. Chosen is the model itself as the policy saw it.
type decisionInfo struct {
	eventInfo
	Kind   string          `json:"kind"`
	Reason string          `json:"reason"`
	Bytes  float64         `json:"mb"`
	Chosen *candidateInfo  `json:"chosen,omitempty"`
	Spared []candidateInfo `json:"spared,omitempty"`
}

// changeInfo is a change of the catalog.
type changeInfo struct {
	eventInfo
	Change   string `json:"change"`
	Revision string `json:"revision"` // that is served, or was
	Error    string `json:"error,omitempty"`
}

// info is a change as it is sent.
func (c *change) info(e eventInfo) changeInfo {
	info := changeInfo{e, c.kind, c.model.Rev, ""}
	if c.err != nil {
		info.Error = publicText(c.err)
	}
	return info
}

// frame writes an event as server-sent events do.
func (v event) frame() ([]byte, error) {
	at := v.at.UTC().Truncate(time.Millisecond)
	name, data := "transition", any(nil)
	if t := v.transition; t != nil {
		info := transitionInfo{eventInfo{v.seq, at, t.Model.Index, t.Model.ID}, t.From.String(), t.To.String(), megabytes(t.Used), ""}
		if t.Err != nil {
			info.Error = publicText(t.Err)
		}
		data = info
	} else if c := v.change; c != nil {
		name, data = "model", c.info(eventInfo{v.seq, at, c.model.Index, c.model.ID})
	} else {
		d := v.decision
		info := decisionInfo{
			eventInfo: eventInfo{v.seq, at, d.Model.Index, d.Model.ID}, Kind: string(d.Kind), Reason: d.Reason, Bytes: megabytes(d.Bytes),
		}
		if d.Chosen.Model != nil {
			info.Chosen = new(newCandidate(d.Chosen))
		}
		if len(d.Spared) > 0 {
			info.Spared = candidates(d.Spared)
		}
		name, data = "decision", info
	}
	text, err := encode(data)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "id: %d\nevent: %s\ndata: %s\n\n", v.seq, name, text), nil
}

// events answers GET /api/v2/events: what happens from now on, and, with since or
// Last-Event-ID, what happened after that number, as far as it is kept. With memory=1
// it also tells each second what has changed in memory.
func (s *server) events(w http.ResponseWriter, r *http.Request) error {
	since, err := s.since(r)
	if err != nil {
		return err
	}
	a := &asker{form: &form{query: r.URL.Query()}}
	withMemory := a.yes("memory")
	if len(a.bad) > 0 {
		return &wireError{http.StatusUnprocessableEntity, detailBody{a.bad}, nil}
	}
	watch, past, lost, err := s.o.Events.watch(since)
	if err != nil {
		return err
	}
	defer s.o.Events.leave(watch)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	var first bytes.Buffer
	first.WriteString(": lazyolo\n\n")
	if lost > 0 {
		fmt.Fprintf(&first, "event: lost\ndata: {\"events\":%d}\n\n", lost)
	}
	out := &stream{w: w, conn: http.NewResponseController(w)}
	if out.send(first.Bytes()) != nil {
		return nil // it left
	}
	for _, v := range past {
		if out.event(v) != nil {
			return nil
		}
	}
	return s.follow(r.Context(), out, watch, withMemory)
}

// follow sends what happens from now on, until the client leaves or is dropped.
func (s *server) follow(ctx context.Context, out *stream, watch *watcher, withMemory bool) (err error) {
	beat := time.NewTicker(heartbeatEvery)
	defer beat.Stop()
	var look <-chan time.Time
	memory := newMemoryWatch(s)
	if withMemory {
		every := time.NewTicker(watchEvery)
		defer every.Stop()
		look = every.C
		err = out.memory(memory)
	}
	for err == nil {
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
			err = out.send([]byte(": heartbeat\n\n"))
		case <-look:
			err = out.memory(memory)
		case v, ok := <-watch.events:
			if !ok { // too slow, or the server stops
				return nil
			}
			err = out.event(v)
		}
	}
	return nil // it left
}

// since reads which event a client has seen last.
func (s *server) since(r *http.Request) (int64, error) {
	text, where := r.URL.Query().Get("since"), "query"
	if last := r.Header.Get("Last-Event-ID"); last != "" { // a browser that comes back
		text, where = last, "header"
	}
	if text == "" {
		return s.o.Events.last(), nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, &wireError{http.StatusUnprocessableEntity, detailBody{[]fieldError{{
			Type: "int_parsing", Loc: []any{where, "since"}, Input: text, Msg: "Input should be the seq of an event, or 0 for all that are kept",
		}}}, nil}
	}
	return n, nil
}

// A stream sends to a client that must take what it gets.
type stream struct {
	w    http.ResponseWriter
	conn *http.ResponseController
}

func (s *stream) send(b []byte) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(eventTimeout)); err != nil {
		return err
	}
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	return s.conn.Flush()
}

func (s *stream) event(v event) error {
	b, err := v.frame()
	if err != nil {
		return err
	}
	return s.send(b)
}

// memory sends what has changed in memory, if anything has.
func (s *stream) memory(m *memoryWatch) error {
	b, err := m.frame(time.Now())
	if err != nil || b == nil {
		return err
	}
	return s.send(b)
}
