// Package pooltest checks that an Engine, its Sessions and a Memory keep what
// package pool relies on. The fake of the pool's own tests and the real engine run
// the same checks, so that what the pool is tested against is what it meets.
package pooltest

import (
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"lazyolo/internal/pool"
	"lazyolo/yolo"
)

// Options says what is checked. New and Model are required.
type Options struct {
	// New returns the ports. Every check calls it once, and may get the same ones
	// as the last: ONNX Runtime is opened once in a process.
	New func(t *testing.T) (pool.Engine, pool.Memory)
	// Model makes a model that is not prepared: of two that differ, number i. A check
	// calls it once for each; what two checks get has nothing in common.
	Model func(t *testing.T, i int) *yolo.Model
	// Input makes what a session is run on, always the same values; nil: sessions
	// have neither inputs nor outputs.
	Input func(pool.Session) []yolo.Tensor
	// Broken makes a model that cannot be prepared or cannot be opened; nil: there
	// is none.
	Broken func(t *testing.T) *yolo.Model
	// Forget loses what was prepared of m; nil: it cannot be lost.
	Forget func(t *testing.T, m *yolo.Model)
	// Tolerance is how many resident bytes may come and go beside what is measured:
	// Go's heap, stacks, what an allocator keeps. 0: memory is exact.
	Tolerance int64
	// Waste is the part by which the arena may hold more than runs beside each other
	// reserve together; 0: it never does, which is what the pool reckons with.
	Waste float64
	// Wrap calls check in surroundings of its own, such as a synctest bubble; nil:
	// there are none.
	Wrap func(t *testing.T, check func(t *testing.T))
}

// Run checks everything, each thing as a subtest.
func Run(t *testing.T, o Options) {
	if o.Wrap == nil {
		o.Wrap = func(t *testing.T, check func(*testing.T)) { check(t) }
	}
	for _, c := range []struct {
		name  string
		check func(*kit, *testing.T)
	}{
		{"memory is counted before the first load", (*kit).counts},
		{"a model is prepared once it has memory", (*kit).prepares},
		{"what is prepared may be lost", (*kit).forgets},
		{"opening takes what was predicted", (*kit).opens},
		{"runs take what was predicted", (*kit).runs},
		{"a model is open for several numbers of threads", (*kit).widens},
		{"cooling gives pages back", (*kit).cools},
		{"cooling and shrinking do not disturb runs", (*kit).disturbs},
		{"a run ends with its context", (*kit).ends},
		{"what use answers is returned", (*kit).answers},
		{"closing gives everything back", (*kit).closes},
		{"two models do not know each other", (*kit).pairs},
		{"opening may find its context ended", (*kit).opensTooLate},
		{"a broken model is an error", (*kit).breaks},
	} {
		t.Run(c.name, func(t *testing.T) {
			o.Wrap(t, func(t *testing.T) {
				k := &kit{o: o}
				k.engine, k.memory = o.New(t)
				c.check(k, t)
			})
		})
	}
}

// A kit is what one check works with.
type kit struct {
	o      Options
	engine pool.Engine
	memory pool.Memory
	kept   []subject // whose tensors the collector is to leave alone while memory is measured
}

// threads is how many the models are opened for, but where it is said.
const threads = 2

// doublings is how often a preparation that needs more memory gets twice as much:
// with the first guess that is 32 times as much, and any budget ends before.
const doublings = 5

// prepare prepares m as the pool does and returns the memory that this took.
func (k *kit) prepare(t *testing.T, m *yolo.Model, speculative bool) (memory int64, err error) {
	memory = k.engine.PrepareCost(m)
	for range doublings {
		err = k.engine.Prepare(t.Context(), m, memory, speculative)
		if !errors.Is(err, pool.ErrMemory) {
			return memory, err
		}
		memory *= 2
	}
	return memory, err
}

// A subject is a prepared model and what it answers to one input.
type subject struct {
	model *yolo.Model
	cost  pool.Cost
	in    []yolo.Tensor // made once: what is measured is not to contain it
	want  []yolo.Tensor
}

// ready prepares model i and opens it once: what the first load and the first run of
// a process take for good is taken.
func (k *kit) ready(t *testing.T, i int) subject {
	t.Helper()
	x := subject{model: k.o.Model(t, i)}
	if _, err := k.prepare(t, x.model, false); err != nil {
		t.Fatalf("prepare: %v", err)
	}
	var ok bool
	if x.cost, ok = k.engine.Cost(x.model); !ok {
		t.Fatal("no cost of a prepared model")
	}
	s := k.open(t, x.model)
	defer k.close(t, s)
	if k.o.Input != nil {
		x.in = k.o.Input(s)
	}
	err := s.Run(t.Context(), threads, x.in, func(out []yolo.Tensor) error {
		for _, o := range out { // gone after the run
			x.want = append(x.want, yolo.Tensor{Name: o.Name, Shape: slices.Clone(o.Shape), Data: slices.Clone(o.Data)})
		}
		return nil
	})
	if err != nil {
		t.Fatalf("run: %v", err)
	}
	k.kept = append(k.kept, x)
	return x
}

func (k *kit) open(t *testing.T, m *yolo.Model) pool.Session {
	t.Helper()
	s, err := k.engine.Open(t.Context(), m, threads)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return s
}

func (k *kit) close(t *testing.T, s pool.Session) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// run runs s; same tells whether it answered as the first time.
func (x subject) run(ctx context.Context, s pool.Session) (same bool, err error) {
	return x.runOn(ctx, s, threads)
}

// runOn is run on another number of threads.
func (x subject) runOn(ctx context.Context, s pool.Session, threads int) (same bool, err error) {
	err = s.Run(ctx, threads, x.in, func(out []yolo.Tensor) error {
		same = equal(out, x.want)
		return nil
	})
	return same, err
}

// check checks that s runs and answers as the first time. It may be called beside
// the test.
func (x subject) check(t *testing.T, s pool.Session, when string) {
	t.Helper()
	if same, err := x.run(t.Context(), s); err != nil {
		t.Errorf("%s: run: %v", when, err)
	} else if !same {
		t.Errorf("%s: another answer to the same input", when)
	}
}

// equal compares bit for bit: a model may be closed and opened again without anybody
// noticing.
func equal(a, b []yolo.Tensor) bool {
	return slices.EqualFunc(a, b, func(a, b yolo.Tensor) bool {
		return a.Name == b.Name && slices.Equal(a.Shape, b.Shape) && slices.Equal(a.Data, b.Data)
	})
}

// resident is what is in memory with everything given back that nobody uses.
func (k *kit) resident() int64 {
	k.memory.Shrink()
	debug.FreeOSMemory()
	return k.memory.Resident()
}

// How long memory may take to come back, and how often it is looked at.
const (
	patience   = 5 * time.Second
	lookEvery  = 50 * time.Millisecond
	watchEvery = 500 * time.Microsecond
)

// returns checks that no more than before is resident, in a moment.
func (k *kit) returns(t *testing.T, before int64, when string) {
	t.Helper()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	end := time.After(patience)
	for {
		over := k.resident() - before
		if over <= k.o.Tolerance {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Errorf("%s: %d bytes more are resident than before", when, over)
			return
		}
	}
}

// peak returns the most that was seen resident while f ran.
func (k *kit) peak(f func()) int64 {
	done, most := make(chan struct{}), make(chan int64)
	go func() {
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		n := k.memory.Resident()
		for {
			select {
			case <-tick.C:
				n = max(n, k.memory.Resident())
			case <-done:
				most <- max(n, k.memory.Resident())
				return
			}
		}
	}()
	f()
	close(done)
	return <-most
}

// within checks that what is resident grew from before to now by no more than
// predicted.
func (k *kit) within(t *testing.T, before, now, predicted int64, what string) {
	t.Helper()
	if grown := now - before; grown > predicted+k.o.Tolerance {
		t.Errorf("%s: %d bytes more are resident, predicted were %d", what, grown, predicted)
	}
}

// arena is what the arena may hold of runs beside each other.
func (k *kit) arena(reserved int64) int64 {
	return reserved + int64(float64(reserved)*k.o.Waste)
}
