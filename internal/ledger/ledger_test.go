package ledger_test

import (
	"strings"
	"testing"

	"lazyolo/internal/ledger"
)

func TestLedger(t *testing.T) {
	l := ledger.New(100)
	free := func(want int64) {
		t.Helper()
		if got := l.Free(); got != want {
			t.Errorf("free %d, want %d", got, want)
		}
	}
	l.Charge(ledger.Base, 30)
	free(70)
	l.Charge(ledger.Working, 70)
	free(0)
	l.Charge(ledger.Working, -20)
	l.Charge(ledger.Bodies, 2)
	if l.Fixed() != 32 || l.Used() != 82 {
		t.Errorf("fixed %d, used %d", l.Fixed(), l.Used())
	}
	l.Charge(ledger.Bodies, -2)
	l.Set(ledger.Running, 10)
	l.Set(ledger.Running, 5)
	free(15)
	l.SetBudget(60)
	free(-25)
	if s := l.Snapshot(); s.Budget != 60 || s.Used["base"] != 30 || s.Used["working"] != 50 || s.Used["running"] != 5 || len(s.Used) != 8 || s.Free != -25 {
		t.Errorf("%+v", s)
	}
}

func TestWhatIsUnexplainedIsCharged(t *testing.T) {
	l := ledger.New(1000)
	l.Charge(ledger.Base, 100)
	l.Observe(164, true)
	if l.Free() != 836 || l.Fixed() != 164 {
		t.Errorf("free %d, fixed %d", l.Free(), l.Fixed())
	}
	l.Observe(100, false) // what is charged ahead of its use may hide it: it fades
	if got := l.Snapshot().Unexplained; got != 60 {
		t.Errorf("unexplained %d", got)
	}
	l.Observe(170, false) // more of it counts at once
	if got := l.Snapshot().Unexplained; got != 70 {
		t.Errorf("unexplained %d", got)
	}
	l.Observe(90, true) // quiet: it is gone
	if got := l.Snapshot().Unexplained; got != 0 {
		t.Errorf("unexplained %d", got)
	}
}

func TestTheArithmeticIsShown(t *testing.T) {
	l := ledger.New(250 << 20)
	l.Charge(ledger.Base, 56<<20)
	l.Charge(ledger.Mapped, 100<<20)
	l.Observe(166<<20, true)
	if got, want := l.String(), "budget 250 MiB, base 56, mapped 100, unexplained 10"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if s := ledger.Bodies.String() + ledger.Loading.String(); strings.Contains(s, "%") {
		t.Error(s)
	}
}
