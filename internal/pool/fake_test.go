package pool_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"lazyolo/internal/ledger"
	"lazyolo/internal/pool"
	"lazyolo/yolo"
)

// A machine is a fake engine and a fake process memory in one: it takes memory
// when a real one would, at the start of what needs it, and checks at each step
// that the process stays within its budget.
type machine struct {
	t       *testing.T
	budget  int64
	base    int64
	ledger  *ledger.Ledger
	load    time.Duration // what Open takes
	slow    time.Duration // what Close, Shut and Cool take
	closing time.Duration // what Close takes beyond that
	shuts   time.Duration // what Shut takes beyond that
	run     time.Duration // what a run takes whose context carries no job

	costs   map[string]pool.Cost
	takes   map[string]int64             // arena of a run, where that is not what it costs
	fail    func(id string, n int) error // n counts the loads of id from 1
	residue int64                        // arena that Shrink leaves
	rigid   bool                         // pages cannot be given back
	gaps    int64                        // arena that runs beside each other take more
	deaf    bool                         // loads succeed although the pool has closed
	cores   int                          // that runs may compute on together; 0: no bound

	failMore func(id string, threads int) error // of Session.Open; nil: it does not fail
	// coolsBeside lets a model be cooled while it runs, which a Session must stand and
	// the pool never does.
	coolsBeside bool
	revisions   bool                 // a model may be open twice, as after a change and back, or a removal and back
	revised     map[string]pool.Cost // of a model@revision, where it is another than the model's
	bad         map[string]bool      // revisions, as model@revision, that cannot be opened
	childOf     map[string]int64     // memory that preparing takes; not in it: prepared

	mu        sync.Mutex
	total     int64       // resident, without arena and buffers
	inUse     int64       // arena in runs
	arena     int64       // arena held
	runs      int64       // under way
	computing int         // cores of them
	widths    map[int]int // runs begun, by threads
	lent      int64       // buffers of requests
	buffers   int64       // buffers held
	peak      int64
	opens     map[string]int
	sessions  map[*session]bool
	opening   map[string]bool
	prepared  map[string]bool
}

func newMachine(t *testing.T, budget int64) *machine {
	return &machine{
		t: t, budget: budget, load: time.Second,
		costs: make(map[string]pool.Cost), opens: make(map[string]int),
		sessions: make(map[*session]bool), opening: make(map[string]bool), prepared: make(map[string]bool), widths: make(map[int]int),
	}
}

// newPool makes a pool over the machine; o may set anything but the ports.
func (m *machine) newPool(o pool.Options) *pool.Pool {
	m.t.Helper()
	m.total = m.base
	m.ledger = ledger.New(m.budget)
	m.ledger.Charge(ledger.Base, m.base)
	o.Engine, o.Memory, o.Ledger = m, m, m.ledger
	m.cores = o.Cores
	o.Log = slog.New(slog.DiscardHandler)
	p, err := pool.New(o)
	if err != nil {
		m.t.Fatal(err)
	}
	return p
}

// takeLocked changes what is resident and checks the budget.
func (m *machine) takeLocked(n int64, why string) {
	m.total += n
	m.checkLocked(why)
}

func (m *machine) checkLocked(why string) {
	now := m.total + m.arena + m.buffers
	m.peak = max(m.peak, now)
	if m.budget > 0 && now > m.budget {
		m.t.Errorf("%s: %d resident, budget %d", why, now, m.budget)
	}
}

func (m *machine) take(n int64, why string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.takeLocked(n, why)
}

func (m *machine) count(id string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.opens[id]
}

func (m *machine) open() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.sessions)
}

// Resident implements pool.Memory.
func (m *machine) Resident() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.total + m.arena + m.buffers
}

// Held implements pool.Memory.
func (m *machine) Held() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.arena
}

// Buffers implements pool.Memory.
func (m *machine) Buffers() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.buffers
}

// pass lets d of the bubble's time go by. Never a timer of 0: Go 1.26 fires one on
// the caller's thread, in the race context of the bubble's other timers, and -race
// crashes.
func pass(d time.Duration) {
	if d > 0 {
		<-time.After(d)
	}
}

// passIn is pass unless ctx ends before.
func passIn(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Shrink implements pool.Memory.
func (m *machine) Shrink() {
	pass(m.slow)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.arena, m.buffers = max(m.inUse, min(m.arena, m.residue)), m.lent
}

// forget loses what was prepared of a model.
func (m *machine) forget(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.prepared, id)
}

// costOf is what y takes: what its revision does, where that is another than the model's.
func (m *machine) costOf(y *yolo.Model) pool.Cost {
	if c, ok := m.revised[y.ID+"@"+y.Rev]; ok {
		return c
	}
	return m.costs[y.ID]
}

// Cost implements pool.Engine.
func (m *machine) Cost(y *yolo.Model) (pool.Cost, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, unprepared := m.childOf[y.ID]
	return m.costOf(y), !unprepared || m.prepared[y.ID]
}

// PrepareCost implements pool.Engine: half of what it really takes.
func (m *machine) PrepareCost(y *yolo.Model) int64 { return m.childOf[y.ID] / 2 }

// Prepare implements pool.Engine.
func (m *machine) Prepare(ctx context.Context, y *yolo.Model, memory int64, _ bool) error {
	need := m.childOf[y.ID]
	m.take(min(need, memory), "prepare "+y.ID)
	defer m.take(-min(need, memory), "prepared")
	select {
	case <-time.After(m.load):
	case <-ctx.Done():
		return ctx.Err()
	}
	if memory < need {
		return fmt.Errorf("prepare: %w", pool.ErrMemory)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.prepared[y.ID] = true
	return nil
}

// Open implements pool.Engine.
func (m *machine) Open(ctx context.Context, y *yolo.Model, threads int) (pool.Session, error) {
	c := m.costOf(y)
	m.mu.Lock()
	if _, ok := m.childOf[y.ID]; ok && !m.prepared[y.ID] {
		m.mu.Unlock()
		return nil, pool.ErrNotPrepared
	}
	m.opens[y.ID]++
	n := m.opens[y.ID]
	if m.opening[y.ID] && !m.revisions {
		m.t.Errorf("%s: opened twice at once", y.ID)
	}
	m.opening[y.ID] = true
	same := 0
	for s := range m.sessions {
		if s.id == y.ID && s.rev == y.Rev {
			same++
		}
	}
	if same > 0 && !m.revisions {
		m.t.Errorf("%s: opened twice", y.ID)
	}
	loading := c.Mapped + max(c.Private, c.LoadPeak)
	m.takeLocked(loading, "open "+y.ID)
	m.mu.Unlock()
	err := error(nil)
	select {
	case <-time.After(m.load):
	case <-ctx.Done():
		if !m.deaf {
			err = ctx.Err()
		}
	}
	if err == nil && m.fail != nil {
		err = m.fail(y.ID, n)
	}
	if err == nil && m.bad[y.ID+"@"+y.Rev] {
		err = errors.New("bad revision")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.opening, y.ID)
	if err != nil {
		m.takeLocked(-loading, "failed")
		return nil, err
	}
	m.takeLocked(c.Mapped+c.Private-loading, "opened")
	s := &session{m: m, id: y.ID, rev: y.Rev, cost: c, warm: true, open: map[int]int{threads: 0}}
	m.sessions[s] = true
	return s, nil
}

type session struct {
	m       *machine
	id      string
	rev     string
	cost    pool.Cost
	warm    bool
	running int
	open    map[int]int // by threads: runs now
	closed  bool
}

func (s *session) Inputs() []yolo.TensorInfo   { return nil }
func (s *session) Outputs() []yolo.TensorInfo  { return nil }
func (s *session) Metadata() map[string]string { return nil }

// Run takes the arena, fills buffers and touches the weights for as long as the
// context says, or until it ends.
func (s *session) Run(ctx context.Context, threads int, _ []yolo.Tensor, use func([]yolo.Tensor) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m := s.m
	m.mu.Lock()
	if s.closed {
		m.mu.Unlock()
		return errors.New("run after close")
	}
	if _, ok := s.open[threads]; !ok {
		m.t.Errorf("%s: run on %d threads, open for %v", s.id, threads, s.open)
	}
	s.running++
	s.open[threads]++
	m.computing += threads
	if m.cores > 0 && m.computing > m.cores {
		m.t.Errorf("%s: runs compute on %d cores of %d", s.id, m.computing, m.cores)
	}
	m.widths[threads]++
	if !s.warm {
		s.warm = true
		m.takeLocked(s.cost.Mapped, "touch "+s.id)
	}
	job, ok := ctx.Value(job{}).(job)
	if !ok {
		job.time = m.run
	}
	takes, ok := m.takes[s.id]
	if !ok || s.rev != "" {
		takes = s.cost.Run
	}
	m.inUse += takes
	m.runs++
	m.arena = max(m.arena, m.inUse+m.gaps*min(1, m.runs-1))
	m.lent += job.work
	m.buffers = max(m.buffers, m.lent)
	m.checkLocked("run " + s.id)
	m.mu.Unlock()
	err := passIn(ctx, job.time)
	m.mu.Lock()
	m.runs--
	m.inUse -= takes
	m.lent -= job.work
	m.computing -= threads
	s.open[threads]--
	s.running--
	m.mu.Unlock()
	if err != nil {
		return err
	}
	return use(nil)
}

// A job is what a run takes; a context carries it under the key job{}.
type job struct {
	time time.Duration
	work int64 // bytes of buffers
}

func (s *session) Cool() error {
	pass(s.m.slow)
	if s.m.rigid {
		return errors.ErrUnsupported
	}
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.running > 0 {
		if !s.m.coolsBeside {
			s.m.t.Errorf("%s: cooled while it runs", s.id)
		}
		return nil // the run brings the pages in again
	}
	if s.warm {
		s.warm = false
		s.m.takeLocked(-s.cost.Mapped, "cool")
	}
	return nil
}

// Open takes as long as a load.
func (s *session) Open(threads int) error {
	s.m.take(max(s.cost.Private, s.cost.LoadPeak), "open "+s.id+" once more")
	pass(s.m.load)
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if _, ok := s.open[threads]; ok || s.closed {
		s.m.t.Errorf("%s: opened for %d threads twice or after close", s.id, threads)
	}
	s.m.takeLocked(s.cost.Private-max(s.cost.Private, s.cost.LoadPeak), "opened once more")
	if s.m.failMore != nil {
		if err := s.m.failMore(s.id, threads); err != nil {
			s.m.takeLocked(-s.cost.Private, "not opened once more")
			return err
		}
	}
	s.open[threads] = 0
	return nil
}

func (s *session) Shut(threads int) error {
	pass(s.m.slow + s.m.shuts)
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if runs, ok := s.open[threads]; !ok || runs > 0 || s.closed {
		s.m.t.Errorf("%s: shut for %d threads that it is not open for or runs on: %v", s.id, threads, s.open)
	}
	delete(s.open, threads)
	s.m.takeLocked(-s.cost.Private, "shut "+s.id)
	return nil
}

func (s *session) Close() error {
	pass(s.m.slow + s.m.closing)
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.closed || s.running > 0 {
		s.m.t.Errorf("%s: closed twice or while it runs", s.id)
	}
	s.closed = true
	delete(s.m.sessions, s)
	back := s.cost.Private * int64(len(s.open))
	if s.warm {
		back += s.cost.Mapped
	}
	s.m.takeLocked(-back, "close")
	return nil
}
