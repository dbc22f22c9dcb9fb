package pool_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"lazyolo/internal/pool"
	"lazyolo/yolo"
)

// A record is what a pool's hooks were told. They are called one at a time.
type record struct {
	t           *testing.T
	decisions   []yolo.Decision
	transitions map[yolo.State]int
	states      map[string]yolo.State // by model, whichever revision
	made        map[yolo.DecisionKind]int
	revisions   bool // a model may be in memory twice, as after a change and back
}

// hooks has a pool tell what it decides.
func hooks(t *testing.T, o *pool.Options) *record {
	r := &record{t: t, transitions: make(map[yolo.State]int), states: make(map[string]yolo.State), made: make(map[yolo.DecisionKind]int)}
	o.Decide = func(d yolo.Decision) {
		r.decisions = append(r.decisions, d)
		r.made[d.Kind]++
		if d.Reason == "" || d.Kind != yolo.Refused && d.Bytes <= 0 {
			t.Errorf("%+v", d)
		}
		for _, c := range d.Spared {
			if c.Model == d.Model && !r.revisions {
				t.Errorf("%s: %s is spared from itself", d.Kind, d.Model.ID)
			}
		}
	}
	o.Observe = func(c yolo.Transition) {
		r.transitions[c.To]++
		if was := r.states[c.Model.ID]; was != c.From {
			t.Errorf("%s became %s from %s, it was %s", c.Model.ID, c.To, c.From, was)
		}
		r.states[c.Model.ID] = c.To
		if want := map[yolo.State]yolo.DecisionKind{yolo.Ready: yolo.Loaded, yolo.Draining: yolo.Closed}[c.To]; want != "" {
			if last := r.last(want); last.Model != c.Model {
				t.Errorf("%s became %s undecided", c.Model.ID, c.To)
			}
		}
	}
	return r
}

// last is the last decision of a kind.
func (r *record) last(kind yolo.DecisionKind) yolo.Decision {
	for _, d := range slices.Backward(r.decisions) {
		if d.Kind == kind {
			return d
		}
	}
	return yolo.Decision{}
}

// causes counts the causes of the decisions.
func (r *record) causes() map[yolo.Cause]int {
	n := make(map[yolo.Cause]int)
	for _, d := range r.decisions {
		n[d.Cause]++
	}
	return n
}

// lines are the decisions as people read them.
func (r *record) lines() []string {
	var out []string
	for _, d := range r.decisions {
		out = append(out, fmt.Sprintf("%s %s: %s", d.Kind, d.Model.ID, d.Reason))
	}
	return out
}

func TestDecisionsSayWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 300)
		m.load = 15 * time.Millisecond
		m.costs["a"], m.costs["b"], m.costs["c"], m.costs["huge"] = cost(100, 50), cost(100, 50), cost(100, 50), cost(900, 50)
		o := pool.Options{KeepAlive: 10 * time.Minute, MinResident: time.Second}
		told := hooks(t, &o)
		p := m.newPool(o)
		ask := func(id string) error { return request(t.Context(), p, id, 5, 0) }
		for _, id := range []string{"a", "b"} {
			if err := ask(id); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(4 * time.Minute)
		for _, id := range []string{"b", "b", "c"} {
			if err := ask(id); err != nil {
				t.Fatal(err)
			}
		}
		cooled := told.last(yolo.Cooled)
		if cooled.Model.ID != "a" || cooled.Bytes != 100 || cooled.Chosen.Idle < 4*time.Minute || cooled.Chosen.Reload != m.load {
			t.Errorf("%+v", cooled)
		}
		if len(cooled.Spared) != 1 || cooled.Spared[0].Model.ID != "b" || cooled.Spared[0].Value <= cooled.Chosen.Value {
			t.Errorf("%+v, spared of %v", cooled.Spared, cooled.Chosen.Value)
		}
		if err := ask("huge"); yolo.CodeOf(err) != yolo.TooBig {
			t.Error(err)
		}
		if err := p.Unload(t.Context(), model("c")); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		want := []string{
			"loaded a: loaded in 15 ms, 1 waiting", "loaded b: loaded in 15 ms, 1 waiting",
			"cooled a: room for c: idle 4 min, its pages return from the file", "loaded c: loaded in 15 ms, 1 waiting",
			"refused huge: needs 0 MiB", "closed c: asked to unload",
			"closed a: idle 10 min, its keep-alive is over", "closed b: idle 10 min, its keep-alive is over",
		}
		causes := map[yolo.Cause]int{"": 3, yolo.ForRoom: 1, yolo.Cause(yolo.TooBig): 1, yolo.Asked: 1, yolo.Unused: 2}
		if d := cmp.Diff(causes, told.causes()); d != "" {
			t.Error(d)
		}
		got := told.lines()
		slices.Sort(got[len(got)-2:]) // whichever the timer found first
		for i, line := range got {
			if i >= len(want) || !strings.HasPrefix(line, want[i]) {
				t.Errorf("%q, want %q", got, want)
				break
			}
		}
		closePool(t, p)
	})
}

// Of a full queue is told once, when it fills, not with each caller.
func TestAFullQueueIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 300)
		m.costs["a"], m.costs["b"] = cost(60, 30), cost(60, 30)
		o := pool.Options{KeepAlive: -1, MaxQueue: 1}
		told := hooks(t, &o)
		p := m.newPool(o)
		for i, id := range []string{"a", "b"} {
			go request(t.Context(), p, id, 1, 0)
			synctest.Wait()
			for range 5 {
				if _, _, err := p.Acquire(t.Context(), model(id)); yolo.CodeOf(err) != yolo.Overloaded {
					t.Error(err)
				}
			}
			time.Sleep(2 * m.load)
			synctest.Wait()
			if told.made[yolo.Refused] != i+1 {
				t.Errorf("%q", told.lines())
			}
		}
	})
}

// TestPlan: what a plan says is what a load then does, and it does nothing itself.
func TestPlan(t *testing.T) {
	planned, refused := 0, 0
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 3))
			m := newMachine(t, 300+int64(r.IntN(300)))
			m.closing = time.Millisecond // so that what is cooled is so before
			for i := range 8 {
				c := cost(30+int64(r.IntN(120)), 10+int64(r.IntN(60)))
				if r.IntN(2) == 0 {
					c.Private, c.LoadPeak = c.Mapped/2, 0
				}
				m.costs[fmt.Sprint(i)] = c
			}
			o := pool.Options{KeepAlive: -1, MinResident: time.Second, Policy: []pool.Policy{pool.LRU, pool.CostAware}[r.IntN(2)], NeverEvict: r.IntN(4) == 0}
			told := hooks(t, &o)
			p := m.newPool(o)
			for range 30 {
				id := fmt.Sprint(r.IntN(8))
				if r.IntN(12) == 0 {
					_ = p.Pin(model(id)) // refused: so much the better
				}
				time.Sleep(time.Duration(1+r.IntN(20)) * time.Second)
				steps, ok := planAndLoad(t, p, told, id)
				if planned += steps; !ok {
					refused++
				}
			}
			closePool(t, p)
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if planned < 300 || refused < 30 {
		t.Errorf("only %d steps were planned and %d loads refused", planned, refused)
	}
}

// planAndLoad compares a plan with the load; ok is false where both refuse.
func planAndLoad(t *testing.T, p *pool.Pool, told *record, id string) (steps int, ok bool) {
	t.Helper()
	before := statuses(p)
	plan := p.Plan(model(id), yolo.Load)
	if d := cmp.Diff(before, statuses(p), cmp.Comparer(func(a, b error) bool { return errors.Is(a, b) })); d != "" {
		t.Fatalf("planning changed %s", d)
	}
	n := len(told.decisions)
	err := p.Load(t.Context(), model(id))
	if (err != nil) != (plan.Err != nil) || err != nil && yolo.CodeOf(err) != yolo.CodeOf(plan.Err) {
		t.Fatalf("load %s: %v; planned %v", id, err, plan.Err)
	}
	if err != nil {
		return 0, false
	}
	time.Sleep(time.Second)
	synctest.Wait()
	compare(t, plan, told.decisions[n:])
	if err := request(t.Context(), p, id, 1, 0); err != nil && yolo.CodeOf(err) != yolo.TooLarge {
		t.Error(err)
	}
	return len(plan.Cool) + len(plan.Close), true
}

// statuses is p.Status by model.
func statuses(p *pool.Pool) map[string]yolo.Status {
	out := make(map[string]yolo.Status)
	for _, s := range p.Status() {
		out[s.Model.ID] = s
	}
	return out
}

// compare checks that what was decided is what was planned.
func compare(t *testing.T, plan yolo.Plan, made []yolo.Decision) {
	t.Helper()
	var want, got []string
	for _, c := range plan.Cool {
		want = append(want, fmt.Sprint("cooled ", c.Model.ID, " ", c.Bytes))
	}
	for _, c := range plan.Close {
		want = append(want, fmt.Sprint("closed ", c.Model.ID, " ", c.Bytes))
	}
	for _, d := range made {
		if d.Kind == yolo.Cooled || d.Kind == yolo.Closed {
			got = append(got, fmt.Sprint(d.Kind, " ", d.Model.ID, " ", d.Bytes))
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("planned for %s, but decided %s", plan.Model.ID, d)
	}
}

func TestAPlanNamesWhatMustBeWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 200)
		m.costs["a"], m.costs["b"], m.childOf = cost(100, 50), cost(100, 50), map[string]int64{"c": 100}
		p := m.newPool(pool.Options{KeepAlive: -1, MinResident: time.Minute})
		l, _, err := p.Acquire(t.Context(), model("a"))
		if err != nil {
			t.Fatal(err)
		}
		plan := p.Plan(model("b"), yolo.Load)
		if plan.Err != nil || plan.Need != 120 || plan.Keep != 110 || plan.Free != 90 || len(plan.Cool) != 1 || len(plan.Close) != 0 {
			t.Errorf("%+v", plan)
		}
		if plan.Time != m.load { // as a's, which is as large
			t.Errorf("expected %v", plan.Time)
		}
		l.Release()
		if err := p.Pin(model("a")); err != nil {
			t.Fatal(err)
		}
		if plan = p.Plan(model("b"), yolo.Load); yolo.CodeOf(plan.Err) != yolo.NoRoom || len(plan.Cool)+len(plan.Close) != 0 {
			t.Errorf("%+v", plan)
		}
		if plan = p.Plan(model("c"), yolo.Load); plan.Prepared || plan.Need != 50 || plan.Keep != 0 || plan.Err != nil || plan.Time != 0 {
			t.Errorf("%+v", plan)
		}
		if plan = p.Plan(model("a"), yolo.Load); plan.State != yolo.Ready || plan.Need != 0 || plan.Keep != 110 {
			t.Errorf("%+v", plan)
		}
		if err := p.Unload(t.Context(), model("a")); yolo.CodeOf(err) != yolo.Conflict {
			t.Errorf("a pinned model: %v", err)
		}
		closePool(t, p)
		if plan = p.Plan(model("b"), yolo.Load); yolo.CodeOf(plan.Err) != yolo.Unavailable {
			t.Errorf("%+v", plan)
		}
	})
}

func TestPlansOfTheOtherActions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 260)
		m.costs["a"], m.costs["b"] = cost(100, 50), cost(100, 50)
		p := m.newPool(pool.Options{KeepAlive: time.Minute})
		if plan := p.Plan(model("a"), yolo.Unload); plan.State != yolo.Unloaded || plan.Err != nil || len(plan.Close) != 0 {
			t.Errorf("not in memory: %+v", plan)
		}
		l, _, err := p.Acquire(t.Context(), model("a"))
		if err != nil {
			t.Fatal(err)
		}
		if plan := p.Plan(model("a"), yolo.Unload); plan.Err != nil || len(plan.Close) != 1 || plan.Close[0].Bytes != 110 || plan.Close[0].Why != "in use" {
			t.Errorf("in use: %+v", plan)
		}
		l.Release()
		if plan := p.Plan(model("a"), yolo.Pin); plan.Err != nil || len(plan.Close) != 0 {
			t.Errorf("the only pin: %+v", plan)
		}
		if err := p.Pin(model("a")); err != nil {
			t.Fatal(err)
		}
		if plan := p.Plan(model("a"), yolo.Unload); yolo.CodeOf(plan.Err) != yolo.Conflict || len(plan.Close) != 0 {
			t.Errorf("pinned: %+v", plan)
		}
		if plan := p.Plan(model("b"), yolo.Pin); plan.Err == nil || m.open() != 1 {
			t.Errorf("a pin too many: %+v", plan)
		}
		if plan := p.Plan(model("a"), yolo.Unpin); len(plan.Close) != 0 {
			t.Errorf("used a moment ago: %+v", plan)
		}
		time.Sleep(2 * time.Minute)
		if plan := p.Plan(model("a"), yolo.Unpin); len(plan.Close) != 1 || m.open() != 1 {
			t.Errorf("its keep-alive is over: %+v", plan)
		}
		closePool(t, p)
	})
}

func TestWhoWaitsForNoLoadIsToldToComeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 300)
		m.costs["a"] = cost(60, 30)
		m.load = 5 * time.Second
		p := m.newPool(pool.Options{KeepAlive: -1, LoadTimeout: time.Minute})
		start := time.Now()
		for range 3 {
			_, _, err := p.AcquireWithin(t.Context(), model("a"), 0)
			if known, ok := errors.AsType[*yolo.Error](err); !ok || known.Code != yolo.Unavailable || known.Retry < time.Second || time.Since(start) != 0 {
				t.Errorf("%v after %v", err, time.Since(start))
			}
		}
		_, _, err := p.AcquireWithin(t.Context(), model("a"), 2*time.Second)
		if yolo.CodeOf(err) != yolo.Unavailable || time.Since(start) != 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if err := p.Unload(t.Context(), model("a")); yolo.CodeOf(err) != yolo.Conflict {
			t.Errorf("a model being loaded: %v", err)
		}
		l, cold, err := p.AcquireWithin(t.Context(), model("a"), 4*time.Second)
		if err != nil || !cold || time.Since(start) != m.load || m.count("a") != 1 {
			t.Fatalf("%v, cold %v, after %v", err, cold, time.Since(start))
		}
		l.Release()
		l, cold, err = p.AcquireWithin(t.Context(), model("a"), 0)
		if err != nil || cold {
			t.Fatal(err, cold)
		}
		l.Release()
		if loads, working := p.Queue(); loads+working != 0 {
			t.Errorf("%d and %d still wait", loads, working)
		}
		closePool(t, p)
	})
}

// A load that an operator asks for does not wait for a backoff to end.
func TestLoadTriesAtOnceWhatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 300)
		m.costs["a"] = cost(60, 30)
		m.fail = func(_ string, n int) error {
			if n == 1 {
				return errors.New("bad luck")
			}
			return nil
		}
		p := m.newPool(pool.Options{KeepAlive: -1})
		if err := p.Load(t.Context(), model("a")); err == nil {
			t.Error("loaded")
		}
		if _, _, err := p.AcquireWithin(t.Context(), model("a"), 0); err == nil || err.Error() != "bad luck" {
			t.Error(err)
		}
		if err := p.Load(t.Context(), model("a")); err != nil {
			t.Error(err)
		}
		closePool(t, p)
	})
}

// Memory for a picture is nobody's: the reason says what it is for.
func TestDecisionsForAPicture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 300)
		m.costs["a"] = cost(100, 50)
		o := pool.Options{KeepAlive: time.Hour}
		told := hooks(t, &o)
		p := m.newPool(o)
		if err := request(t.Context(), p, "a", 5, 0); err != nil {
			t.Fatal(err)
		}
		r, err := p.Reserve(t.Context(), 250)
		if err != nil {
			t.Fatal(err)
		}
		r.Release()
		if cooled := told.last(yolo.Cooled); !strings.HasPrefix(cooled.Reason, "room for a picture: ") {
			t.Errorf("%q", told.lines())
		}
		closePool(t, p)
	})
}
