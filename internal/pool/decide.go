package pool

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"lazyolo/yolo"
)

// maxSpared bounds how many spared models a decision lists: those that would have
// been next.
const maxSpared = 8

// decideRoomLocked tells that e gives memory back for the load or run of another
// model; nil: because the budget is exceeded.
func (p *Pool) decideRoomLocked(kind yolo.DecisionKind, e, room *entry, spared []yolo.Candidate) {
	if p.o.Decide == nil {
		return
	}
	c := e.candidate(time.Now())
	d := yolo.Decision{Kind: kind, Model: e.model, Cause: yolo.OverBudget, Bytes: e.gain(), Chosen: c, Spared: spared}
	state := "idle " + span(c.Idle)
	if e.leases > 0 {
		state = "in use"
	}
	why := "over the budget"
	if room != nil {
		d.Cause, why = yolo.ForRoom, "room for "+cmp.Or(room.model.ID, "a picture") // see Pool.Reserve
	}
	d.Reason = fmt.Sprintf("%s: %s, reload costs %s", why, state, span(c.Reload))
	if kind == yolo.Cooled {
		d.Bytes = e.cost.Mapped
		d.Reason = fmt.Sprintf("%s: %s, its pages return from the file", why, state)
	}
	p.o.Decide(d)
}

// decideCoolIdleLocked tells that e gives its pages back because nothing is used.
func (p *Pool) decideCoolIdleLocked(e *entry) {
	if p.o.Decide == nil {
		return
	}
	c := e.candidate(time.Now())
	p.o.Decide(yolo.Decision{Kind: yolo.Cooled, Model: e.model, Cause: yolo.Unused, Bytes: e.cost.Mapped, Chosen: c,
		Reason: fmt.Sprintf("idle %s, its pages return from the file", span(c.Idle))})
}

// decideCloseLocked tells that e is closed for another reason than to make room.
func (p *Pool) decideCloseLocked(e *entry, why string) {
	if p.o.Decide == nil {
		return
	}
	c := e.candidate(time.Now())
	reason, cause := why, yolo.Cause(why)
	switch why {
	case "keep-alive":
		cause = yolo.Unused
		reason = fmt.Sprintf("idle %s, its keep-alive is over", span(c.Idle))
	case "new revision":
		cause = yolo.Replaced
	case "removed":
		cause = yolo.Removed
	case "asked":
		cause = yolo.Asked
		reason = "asked to unload"
	}
	p.o.Decide(yolo.Decision{Kind: yolo.Closed, Model: e.model, Cause: cause, Reason: reason, Bytes: e.gain(), Chosen: c})
}

// decideLoadedLocked tells that e was loaded, before those who wait get it.
func (p *Pool) decideLoadedLocked(e *entry, took time.Duration) {
	if p.o.Decide == nil {
		return
	}
	reason := fmt.Sprintf("loaded in %s", span(took))
	if n := len(e.waiters); n > 0 {
		reason += fmt.Sprintf(", %d waiting", n)
	}
	p.o.Decide(yolo.Decision{Kind: yolo.Loaded, Model: e.model, Reason: reason, Bytes: e.cost.Mapped + e.cost.Private})
}

// decideRefuseLocked tells that e is not loaded, or a request for it not served.
func (p *Pool) decideRefuseLocked(e *entry, err error, bytes int64) {
	if p.o.Decide == nil {
		return
	}
	reason := string(yolo.CodeOf(err))
	if known, ok := errors.AsType[*yolo.Error](err); ok {
		reason = known.Msg
	}
	p.o.Decide(yolo.Decision{Kind: yolo.Refused, Model: e.model, Cause: yolo.Cause(yolo.CodeOf(err)), Reason: reason, Bytes: bytes})
}

// overloadedLocked refuses a caller because the queues are full. That they are is
// told once, not with each caller.
func (p *Pool) overloadedLocked(e *entry) error {
	err := errOverloaded()
	if !p.refusing {
		p.refusing = true
		p.o.Log.Warn("too many requests wait: more are refused", "waiting", p.waiting)
		p.decideRefuseLocked(e, err, 0)
	}
	return err
}

// sparedLocked lists the models in memory that were not chosen, those first that
// the policy would have taken next.
func (p *Pool) sparedLocked(room *entry, chosen []*entry) []yolo.Candidate {
	if p.o.Decide == nil {
		return nil
	}
	return p.candidatesLocked(room, chosen)
}

// candidatesLocked is sparedLocked, whoever asks.
func (p *Pool) candidatesLocked(room *entry, chosen []*entry) []yolo.Candidate {
	var found []*entry
	for _, e := range p.entries {
		if e != room && e.state == yolo.Ready && !slices.Contains(chosen, e) {
			found = append(found, e)
		}
	}
	now := time.Now()
	p.sortLocked(found, now, (*entry).gain)
	found = found[:min(len(found), maxSpared)]
	out := make([]yolo.Candidate, len(found))
	for i, e := range found {
		out[i] = e.candidate(now)
		out[i].Why = p.keptLocked(e, now)
	}
	return out
}

// keptLocked says what keeps a model from being closed to make room, other than
// its value.
func (p *Pool) keptLocked(e *entry, now time.Time) string {
	young := p.o.MinResident - now.Sub(e.loadedAt)
	switch {
	case e.pinned:
		return "pinned"
	case e.speculative:
		return ""
	case p.o.NeverEvict:
		return "nothing is closed to make room"
	case e.leases > 0:
		return "in use"
	case young > 0:
		return "loaded " + span(now.Sub(e.loadedAt)) + " ago"
	}
	return ""
}

// candidate is e as a decision shows it.
func (e *entry) candidate(now time.Time) yolo.Candidate {
	r := e.resident(now, e.gain())
	return yolo.Candidate{
		Model: e.model, Idle: max(0, now.Sub(e.lastUsed)), Rate: float64(time.Minute) / float64(max(r.Interval, time.Microsecond)), Bytes: r.Bytes, Reload: r.Cost,
		Value: r.value() * (1 << 20) * float64(time.Minute) / float64(time.Millisecond),
	}
}

// span writes a duration for people: 15 ms, 4 min.
func span(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1000)
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	}
	return fmt.Sprintf("%d h", int(d.Hours()))
}
