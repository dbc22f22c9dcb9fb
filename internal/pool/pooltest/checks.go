package pooltest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"lazyolo/internal/pool"
	"lazyolo/yolo"
)

// counts: what the pool asks of memory has an answer at any time.
func (k *kit) counts(t *testing.T) {
	k.memory.Shrink() // nothing to give back is no trouble
	if n := k.memory.Resident(); n <= 0 {
		t.Errorf("%d bytes resident", n)
	}
	if n := k.memory.Held(); n < 0 {
		t.Errorf("the arena holds %d bytes", n)
	}
	if n := k.memory.Buffers(); n < 0 {
		t.Errorf("the buffers hold %d bytes", n)
	}
}

// prepares: a preparation that fails leaves nothing known; ErrMemory is what more
// memory helps against; afterwards the cost is known. What this takes is not measured:
// it is another process's, and gone with it.
func (k *kit) prepares(t *testing.T) {
	for i, speculative := range []bool{false, true} {
		m := k.o.Model(t, i)
		k.unknown(t, m, "before it is prepared")
		if _, err := k.engine.Open(t.Context(), m, threads); !errors.Is(err, pool.ErrNotPrepared) {
			t.Errorf("open before it is prepared: got %v", err)
		}
		guess := k.engine.PrepareCost(m)
		if guess <= 0 {
			t.Fatalf("preparing is said to take %d bytes", guess)
		}
		if err := k.engine.Prepare(t.Context(), m, max(1, guess/64), speculative); !errors.Is(err, pool.ErrMemory) {
			t.Errorf("with far too little memory: got %v", err)
		}
		k.unknown(t, m, "after too little memory")
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := k.engine.Prepare(ended, m, guess, speculative); err == nil || errors.Is(err, pool.ErrMemory) {
			t.Errorf("with a context that has ended: got %v", err)
		}
		k.unknown(t, m, "after its context ended")
		memory, err := k.prepare(t, m, speculative)
		if err != nil {
			t.Fatalf("with %d bytes: %v", memory, err)
		}
		if c, ok := k.engine.Cost(m); !ok || c.Mapped <= 0 || c.Private <= 0 || c.Run <= 0 || c.Pixels <= 0 || c.LoadPeak < 0 {
			t.Errorf("cost %+v, known %v", c, ok)
		}
	}
}

// unknown checks that nothing is known of m.
func (k *kit) unknown(t *testing.T, m *yolo.Model, when string) {
	t.Helper()
	if c, ok := k.engine.Cost(m); ok {
		t.Errorf("%s: its cost is known: %+v", when, c)
	}
}

// forgets: a cache folder may lose a model whose cost is known. Open then says so,
// and the model can be prepared again: otherwise the pool would go round in circles.
func (k *kit) forgets(t *testing.T) {
	if k.o.Forget == nil {
		t.Skip("nothing is lost here")
	}
	x := k.ready(t, 0)
	k.o.Forget(t, x.model)
	if _, err := k.engine.Open(t.Context(), x.model, threads); !errors.Is(err, pool.ErrNotPrepared) {
		t.Fatalf("open what was lost: got %v", err)
	}
	k.unknown(t, x.model, "lost")
	if _, err := k.prepare(t, x.model, false); err != nil {
		t.Fatalf("prepare again: %v", err)
	}
	if _, ok := k.engine.Cost(x.model); !ok {
		t.Error("prepared again, its cost is not known")
	}
	s := k.open(t, x.model)
	x.check(t, s, "prepared again")
	k.close(t, s)
}

// opens: what is resident stays below what the pool charges for the load, for the
// open session and for its run.
func (k *kit) opens(t *testing.T) {
	x := k.ready(t, 0)
	before := k.resident()
	var s pool.Session
	var err error
	most := k.peak(func() { s, err = k.engine.Open(t.Context(), x.model, threads) })
	if err != nil {
		t.Fatal(err)
	}
	defer k.close(t, s)
	k.within(t, before, most, x.cost.Mapped+max(x.cost.Private, x.cost.LoadPeak), "while it is opened")
	k.within(t, before, k.resident(), x.cost.Mapped+x.cost.Private, "open")
	if c, ok := k.engine.Cost(x.model); !ok || c.Mapped <= 0 {
		t.Errorf("open, its cost is %+v, known %v", c, ok)
	}
	k.describes(t, s, x.want)
	most = k.peak(func() { _, err = x.run(t.Context(), s) })
	if err != nil {
		t.Fatal(err)
	}
	k.within(t, before, most, x.cost.Mapped+x.cost.Private+x.cost.Run, "while it runs")
}

// describes: a session says what it takes and gives.
func (k *kit) describes(t *testing.T, s pool.Session, answer []yolo.Tensor) {
	t.Helper()
	if k.o.Input == nil {
		return
	}
	if len(s.Inputs()) == 0 || len(s.Outputs()) == 0 {
		t.Fatalf("inputs %v, outputs %v", s.Inputs(), s.Outputs())
	}
	names := make([]string, 0, len(s.Outputs()))
	for _, info := range s.Outputs() {
		names = append(names, info.Name)
	}
	var got []string
	for _, out := range answer {
		got = append(got, out.Name)
		if len(out.Shape) == 0 || len(out.Data) == 0 {
			t.Errorf("output %s has shape %v and %d values", out.Name, out.Shape, len(out.Data))
		}
	}
	if !slices.Equal(got, names) {
		t.Errorf("outputs %q, described as %q", got, names)
	}
}

const (
	atOnce = 4  // runs beside each other
	rounds = 5  // of what may come out differently
	cycles = 10 // of opening and closing: what each leaves adds up
)

// beside calls f atOnce times beside each other.
func beside(f func()) {
	var all sync.WaitGroup
	for range atOnce {
		all.Go(f)
	}
	all.Wait()
}

// runs: the answer does not depend on what runs beside; the arena holds no more than
// what the pool reserves for the runs, and gives it back.
func (k *kit) runs(t *testing.T) {
	x := k.ready(t, 0)
	before := k.resident()
	s := k.open(t, x.model)
	defer k.close(t, s)
	x.check(t, s, "alone")
	if held := k.memory.Held(); held <= 0 || held > x.cost.Run {
		t.Errorf("the arena holds %d bytes after a run that takes %d", held, x.cost.Run)
	}
	most := k.peak(func() {
		beside(func() {
			for range rounds {
				x.check(t, s, "beside others")
			}
		})
	})
	reserved := k.arena(atOnce * x.cost.Run)
	k.within(t, before, most, x.cost.Mapped+x.cost.Private+reserved, "four runs at once")
	held := k.memory.Held()
	if held <= 0 || held > reserved {
		t.Errorf("the arena holds %d bytes after %d runs at once that take %d", held, atOnce, x.cost.Run)
	}
	k.memory.Shrink()
	if left := k.memory.Held(); left > held/8 {
		t.Errorf("the arena held %d bytes, shrunk still %d", held, left)
	}
	x.check(t, s, "with a shrunk arena")
}

// widens: opened for other numbers of threads too, a model gives the same answers on
// each, beside one another, and takes what was predicted once more for each.
func (k *kit) widens(t *testing.T) {
	x := k.ready(t, 0)
	before := k.resident()
	s := k.open(t, x.model)
	check := func(threads int, when string) {
		t.Helper()
		if same, err := x.runOn(t.Context(), s, threads); err != nil || !same {
			t.Errorf("%s, %d threads: same answer %v, %v", when, threads, same, err)
		}
	}
	if err := s.Open(1); err != nil {
		t.Fatal(err)
	}
	if err := s.Open(3); err != nil {
		t.Fatal(err)
	}
	k.within(t, before, k.resident(), x.cost.Mapped+3*x.cost.Private, "open three times")
	var all sync.WaitGroup
	for n := 1; n <= 3; n++ {
		all.Go(func() {
			for range rounds {
				check(n, "beside others")
			}
		})
	}
	all.Wait()
	err := s.Run(t.Context(), threads, x.in, func(out []yolo.Tensor) error {
		err := s.Shut(threads) // computed it is
		if !equal(out, x.want) {
			t.Error("shut while the outputs are read: they change")
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	check(1, "another shut")
	if err := s.Open(threads); err != nil {
		t.Fatal(err)
	}
	check(threads, "open again")
	if err := s.Shut(1); err != nil {
		t.Error(err)
	}
	check(threads, "the other shut")
	k.close(t, s)
	k.returns(t, before, "closed with two of three open")
}

// cools: the pages of the weights are no longer resident, until the next run. The
// median counts, as other memory may come or go meanwhile.
func (k *kit) cools(t *testing.T) {
	x := k.ready(t, 0)
	s := k.open(t, x.model)
	defer k.close(t, s)
	var fell []int64
	for range rounds {
		x.check(t, s, "with all its pages")
		warm := k.resident()
		if err := s.Cool(); errors.Is(err, errors.ErrUnsupported) {
			t.Skip("this system keeps the pages")
		} else if err != nil {
			t.Fatalf("cool: %v", err)
		}
		fell = append(fell, warm-k.memory.Resident())
		if err := s.Cool(); err != nil {
			t.Errorf("cool again: %v", err)
		}
		x.check(t, s, "cooled")
	}
	slices.Sort(fell)
	if got := fell[rounds/2]; got < x.cost.Mapped*3/4 {
		t.Errorf("cooling %d bytes gave %d back (of %v)", x.cost.Mapped, got, fell)
	}
}

// disturbs: the arena is shrunk while models run, and Run and Cool may be concurrent.
func (k *kit) disturbs(t *testing.T) {
	x := k.ready(t, 0)
	s := k.open(t, x.model)
	defer k.close(t, s)
	running, stop := context.WithCancel(t.Context())
	var disturber sync.WaitGroup
	disturber.Go(func() {
		for running.Err() == nil {
			if err := s.Cool(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("cool: %v", err)
			}
			k.memory.Shrink()
		}
	})
	beside(func() {
		for range rounds {
			x.check(t, s, "disturbed")
		}
	})
	stop()
	disturber.Wait()
	x.check(t, s, "no longer disturbed")
}

// ends: a run whose context has ended does not answer, whenever it ended, and the
// session is as good as before.
func (k *kit) ends(t *testing.T) {
	x := k.ready(t, 0)
	s := k.open(t, x.model)
	defer k.close(t, s)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	<-late.Done()
	for _, ctx := range []context.Context{canceled, late} {
		err := s.Run(ctx, threads, x.in, func([]yolo.Tensor) error {
			t.Error("it answered")
			return nil
		})
		if !errors.Is(err, ctx.Err()) {
			t.Errorf("got %v, the context's error is %v", err, ctx.Err())
		}
	}
	beside(func() { // somewhere in a run, or after it
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go cancel()
		if same, err := x.run(ctx, s); err == nil && !same || err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("ended meanwhile: got %v", err)
		}
	})
	x.check(t, s, "after runs that ended early")
}

// answers: the error of whoever reads the outputs is the run's.
func (k *kit) answers(t *testing.T) {
	x := k.ready(t, 0)
	s := k.open(t, x.model)
	defer k.close(t, s)
	mine := errors.New("mine")
	if err := s.Run(t.Context(), threads, x.in, func([]yolo.Tensor) error { return mine }); !errors.Is(err, mine) {
		t.Errorf("got %v", err)
	}
	x.check(t, s, "afterwards")
}

// closes: a model can come and go for ever.
func (k *kit) closes(t *testing.T) {
	x := k.ready(t, 0)
	before := k.resident()
	for range cycles {
		s := k.open(t, x.model)
		x.check(t, s, "opened again")
		k.close(t, s)
	}
	k.returns(t, before, "closed")
}

// pairs: two models are opened, run and closed beside each other.
func (k *kit) pairs(t *testing.T) {
	a := k.ready(t, 0)
	b := k.ready(t, 1)
	if k.o.Input != nil && equal(a.want, b.want) {
		t.Error("both give the same answer: nothing is compared")
	}
	before := k.resident()
	use := func(x subject) func() {
		return func() {
			s, err := k.engine.Open(t.Context(), x.model, threads)
			if err != nil {
				t.Errorf("open: %v", err)
				return
			}
			for range rounds {
				x.check(t, s, "beside another model")
			}
			k.close(t, s)
		}
	}
	most := k.peak(func() {
		var both sync.WaitGroup
		both.Go(use(a))
		both.Go(use(b))
		both.Wait()
	})
	reserved := k.arena(a.cost.Run + b.cost.Run)
	if held := k.memory.Held(); held > reserved {
		t.Errorf("the arena holds %d bytes after runs that take %d and %d", held, a.cost.Run, b.cost.Run)
	}
	open := a.cost.Mapped + max(a.cost.Private, a.cost.LoadPeak) + b.cost.Mapped + max(b.cost.Private, b.cost.LoadPeak)
	k.within(t, before, most, open+reserved, "two models")
	k.returns(t, before, "both closed")
}

// opensTooLate: a load whose context has ended may fail or not; what it does not
// return it does not keep.
func (k *kit) opensTooLate(t *testing.T) {
	x := k.ready(t, 0)
	before := k.resident()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := k.engine.Open(ended, x.model, threads); err == nil {
		x.check(t, s, "opened nevertheless")
		k.close(t, s)
	} else if errors.Is(err, pool.ErrNotPrepared) {
		t.Errorf("it is prepared: %v", err)
	}
	k.returns(t, before, "opened too late")
	s := k.open(t, x.model)
	x.check(t, s, "opened in time")
	k.close(t, s)
}

// breaks: what lies in the model is an error, which more memory does not help
// against, each time anew; it costs nothing and the other models do not notice.
func (k *kit) breaks(t *testing.T) {
	if k.o.Broken == nil {
		t.Skip("nothing is broken here")
	}
	x := k.ready(t, 0)
	s := k.open(t, x.model)
	defer k.close(t, s)
	broken := k.o.Broken(t)
	before := k.resident()
	for range 3 {
		_, err := k.prepare(t, broken, false)
		if err == nil {
			var opened pool.Session
			if opened, err = k.engine.Open(t.Context(), broken, threads); err == nil {
				k.close(t, opened)
			}
		}
		if err == nil || errors.Is(err, pool.ErrMemory) || errors.Is(err, pool.ErrNotPrepared) {
			t.Errorf("got %v", err)
		}
	}
	k.returns(t, before, "after a broken model")
	x.check(t, s, "beside a broken model")
}
