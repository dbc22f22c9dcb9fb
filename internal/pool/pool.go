// Package pool decides which models are in memory. It loads one on its first
// use, lends it out by leases, and makes room before memory is taken, cheapest
// first: the arena's free memory, then the mapped pages of models that are not
// running, and only then whole sessions.
//
// # One order, so that no wait is circular
//
// A request holds its encoded body, then a lease (Acquire), then its working
// memory in one piece (Lease.Reserve), then the cores of its run (Lease.Run). Whoever
// waits for a model holds neither lease nor working memory; whoever waits for working memory waits for runs, which
// end, never for a load. One largest run always fits beside all open sessions: a
// load that would break this closes others first, or is refused.
//
// # One decision function
//
// One mutex guards all state. After every event schedule decides what happens
// next and never blocks; what takes time runs in goroutines outside the lock and
// reports back.
package pool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"lazyolo/internal/ledger"
	"lazyolo/yolo"
)

// An Engine turns a model into a Session: the port that hides ONNX Runtime.
type Engine interface {
	// Cost predicts what m takes, from measurements; it errs high. It may read a file,
	// so it is not called under the pool's lock. ok is false while m is not prepared.
	Cost(m *yolo.Model) (c Cost, ok bool)
	// Prepare makes the Cost of m known, in a process of its own that may take
	// memory bytes. ErrMemory in its error's chain says that this was too little.
	// Speculative work has the lowest priority.
	Prepare(ctx context.Context, m *yolo.Model, memory int64, speculative bool) error
	// PrepareCost predicts the memory Prepare needs.
	PrepareCost(m *yolo.Model) int64
	// Open loads m, which is prepared; ErrNotPrepared says that it no longer is.
	// It is never called twice at once for one model, unless that was removed and came back
	// (Pool.Remove); ctx ends when the pool closes, not when a caller leaves. Runs take so many threads.
	Open(ctx context.Context, m *yolo.Model, threads int) (Session, error)
}

// ErrMemory marks a preparation that needed more memory than it was given.
var ErrMemory = errors.New("needs more memory")

// ErrNotPrepared sends a model back to be prepared.
var ErrNotPrepared = errors.New("not prepared")

// A Session is a loaded model. All but Close may be concurrent; Close is called
// once, after the last Run.
type Session interface {
	Inputs() []yolo.TensorInfo
	Outputs() []yolo.TensorInfo
	// Metadata is what the weights file says of itself, under Ultralytics' keys.
	Metadata() map[string]string
	// Run hands the outputs to use, which must not keep them. It takes so many threads,
	// its caller among them, for which the model is open. The data of in may be changed.
	Run(ctx context.Context, threads int, in []yolo.Tensor, use func(out []yolo.Tensor) error) error
	// Open opens the model for runs on another number of threads too, over the same
	// mapped weights: it takes Cost.Private once more. It is not called twice at once.
	Open(threads int) error
	// Shut takes back what Open did or the model was opened for. No run computes on it;
	// the outputs of earlier ones may still be read.
	Shut(threads int) error
	// Cool gives the pages of the mapped weights back; the next Run brings them in again.
	Cool() error
	// Close frees the model; its memory counts as used until Close returns.
	Close() error
}

// A Memory is the part of the process's memory that the pool does not own but
// must know.
type Memory interface {
	Resident() int64 // RSS of the process and its children
	Held() int64     // what the arena of all sessions holds
	Buffers() int64  // what holds pictures and tensors, or did
	Shrink()         // gives back what arena and buffers hold and nobody uses
}

// A Cost is what a model takes, in bytes.
type Cost struct {
	Mapped   int64 // pages of the weights file once touched
	Private  int64 // of an open session beside them, for each number of threads
	LoadPeak int64 // highest while loading, beside Mapped
	Run      int64 // arena of one run at the model's own input size
	Pixels   int64 // of that input, width times height; a larger one takes more in proportion

	// Ran is what runs really took, by the pixels of their input, where that is known
	// from before. It is not changed.
	Ran map[int64]int64
}

// runAt predicts what a run takes at an input of the given pixels: what one took, and
// a little more, else in proportion to what was measured.
func (c Cost) runAt(pixels int64) int64 {
	if took := c.Ran[pixels]; took > 0 {
		return took + took/16
	}
	if c.Pixels <= 0 || pixels <= c.Pixels {
		return c.Run
	}
	return int64(float64(c.Run) * float64(pixels) / float64(c.Pixels))
}

// Options configures a Pool. Engine, Memory, Ledger and Log are required.
type Options struct {
	Engine Engine
	Memory Memory
	Ledger *ledger.Ledger
	Log    *slog.Logger

	MaxLoads    int           // loads at once; 0: 2
	MaxRuns     int           // reservations at once; 0: as many as there is memory for
	Cores       int           // that runs may compute on together; 0: no bound
	Threads     int           // of a run that is alone, at most Cores; 0: 1
	MaxQueue    int           // callers that may wait; beyond it Overloaded at once; 0: no bound
	LoadTimeout time.Duration // how long a caller waits for a load; 0: as long as its context
	MinResident time.Duration // a model is not closed to make room when younger than this
	KeepAlive   time.Duration // a model unused for so long is closed; 0: at once, negative: never
	NeverEvict  bool          // nothing is closed to make room: what does not fit is refused
	Policy      Policy        // orders victims; nil: CostAware
	WorkingRoom int64         // pictures and tensors of one ordinary request: always kept possible

	// Costs tells what is known of all models, by id: pins leave room for the largest of
	// the others. nil: they leave room for the pinned model's own runs.
	Costs func() map[string]Cost

	IdleAfter time.Duration         // Idle is called when no lease was held for so long
	Idle      func()                // gives memory back; may be nil; must stand being called twice at once
	Observe   func(yolo.Transition) // told of every change of state, in order; may be nil; must not block
	Decide    func(yolo.Decision)   // told of every decision, in order and before what follows from it; may be nil; must not block
	// Used is told of every use of a model, with what it has in memory while it is warm
	// and what its last load took; may be nil; must not block.
	Used func(m *yolo.Model, bytes int64, load time.Duration)
}

// A Pool holds the loaded models.
type Pool struct {
	o    Options
	ctx  context.Context // ends when the pool closes
	stop context.CancelFunc
	work sync.WaitGroup // loads, closings, coolings and a pending or running Idle

	mu        sync.Mutex
	closed    bool
	entries   map[string]*entry      // by model id, only those that were ever asked for; others under keys of their own
	keys      int                    // of such keys given out
	inForce   map[string]*yolo.Model // revisions that replaced others, by id; nil: removed
	loads     []*entry               // that wait to be loaded, in order
	loading   int                    // loads and preparations under way
	ahead     int                    // preparations that nobody waits for
	working   []*request             // that wait for working memory, in order
	active    int                    // reservations held now
	running   int                    // those of them that run a model
	runs      shared                 // the arena: what they reserve of it, and what it holds
	works     shared                 // the same of the buffers
	turns     []*turn                // that wait for cores, in order
	computing int                    // cores that runs compute on now
	short     time.Time              // when a request last waited for memory that runs hold
	spread    float64                // how much more than they reserve runs beside each other were seen to take; 0: not yet
	alone     *request               // it began to run with an empty arena, and no other began since
	shrinking bool
	residue   int64     // slack that the last shrink left; a request that ends may change that
	leases    int       // held now, over all models
	waiting   int       // callers in either queue
	refusing  bool      // the queues were full when last asked
	order     int64     // of the last load
	observed  time.Time // when memory was last looked at
	idleSince time.Time // when the last lease came back
	rested    bool      // Idle was called since
	preheat   preheat
	timer     *time.Timer
	wakeAt    time.Time     // when it rings
	drained   chan struct{} // closed when closed and no lease is held
}

// A shared is memory that outlives its use: what is reserved of it, and what it was
// last seen to hold. It counts as the larger of the two.
type shared struct {
	reserved, held int64
	peak           int64 // most that was reserved since it was last given back
}

func (s shared) counted() int64 { return max(s.held, s.reserved) }

// slack is what could be given back.
func (s shared) slack() int64 { return max(0, s.held-s.reserved) }

// grow is by how much more it counts with n more reserved.
func (s shared) grow(n int64) int64 { return max(s.held, s.reserved+n) - s.counted() }

func (s *shared) reserve(n int64) {
	s.reserved += n
	s.peak = max(s.peak, s.reserved)
}

// release ends a reservation; what it took is held on until it is looked at.
func (s *shared) release(n int64) {
	s.held = s.counted()
	s.reserved -= n
}

// New makes a Pool. Its resources are freed by Close.
func New(o Options) (*Pool, error) {
	if o.Engine == nil || o.Memory == nil || o.Ledger == nil || o.Log == nil {
		return nil, errors.New("pool: Engine, Memory, Ledger and Log are required")
	}
	if o.MaxLoads == 0 {
		o.MaxLoads = 2
	}
	if o.Cores == 0 {
		o.Cores = 1 << 30
	}
	o.Threads = max(1, min(o.Threads, o.Cores))
	if o.Policy == nil {
		o.Policy = CostAware
	}
	p := &Pool{o: o, entries: make(map[string]*entry), inForce: make(map[string]*yolo.Model), drained: make(chan struct{})}
	p.ctx, p.stop = context.WithCancel(context.Background())
	return p, nil
}

// Close refuses new work, ends loads, waits for the leases held until ctx ends
// and closes every session that nobody uses any more.
func (p *Pool) Close(ctx context.Context) error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	p.stopTimerLocked()
	p.refuseAllLocked()
	if p.leases == 0 {
		close(p.drained)
	}
	p.mu.Unlock()
	p.stop()
	select {
	case <-p.drained:
	case <-ctx.Done():
		// A session in use cannot be closed; the process is about to end.
		return fmt.Errorf("close models: requests still run: %w", ctx.Err())
	}
	p.work.Wait()
	var errs []error
	for _, s := range p.takeSessions() {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// takeSessions removes every open session from its entry.
func (p *Pool) takeSessions() []Session {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []Session
	for _, e := range p.entries {
		if e.session != nil {
			out = append(out, e.session)
			e.session = nil
		}
	}
	return out
}

// refuseAllLocked answers everybody who waits for a load: the pool has closed.
// Those who wait for working memory hold a lease and are served.
func (p *Pool) refuseAllLocked() {
	for _, e := range p.loads {
		p.answerLocked(e, errClosed())
		p.moveLocked(e, yolo.Unloaded, nil)
	}
	p.loads = nil
}

func errClosed() error { return yolo.Errorf(yolo.Unavailable, "the server is stopping") }
