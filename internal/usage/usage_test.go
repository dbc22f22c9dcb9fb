package usage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lazyolo/internal/usage"
	"lazyolo/yolo"
)

// A life is one models folder over several servers, with a clock of its own.
type life struct {
	t    *testing.T
	dir  string
	now  time.Time
	log  bytes.Buffer
	hits map[string]int64
}

func newLife(t *testing.T) *life {
	return &life{t: t, dir: t.TempDir(), now: time.Date(2026, 3, 2, 9, 10, 0, 0, time.Local), hits: make(map[string]int64)}
}

// open starts a server: the pool counts from 0.
func (l *life) open() *usage.Store {
	clear(l.hits)
	return l.join()
}

// join starts another server beside the first.
func (l *life) join() *usage.Store {
	return usage.Open(usage.Options{
		Dir: l.dir, Models: "/models", Now: func() time.Time { return l.now },
		Log: slog.New(slog.NewTextHandler(&l.log, nil)),
	})
}

// status says that these models were used once more, and are all in memory.
func (l *life) status(used ...string) []yolo.Status {
	for _, id := range used {
		l.hits[id]++
	}
	var all []yolo.Status
	for id, n := range l.hits {
		all = append(all, yolo.Status{
			Model: &yolo.Model{ID: id, Rev: "1"}, State: yolo.Ready, Hits: n, Loads: 1,
			LoadTook: 20 * time.Millisecond, RunTook: 5 * time.Millisecond, Mapped: 8 << 20, Private: 2 << 20,
			Ran: map[int64]int64{640 * 640: 7 << 20},
		})
	}
	return all
}

func (l *life) file() string {
	l.t.Helper()
	found, err := filepath.Glob(filepath.Join(l.dir, "usage-*.json"))
	if err != nil || len(found) != 1 {
		l.t.Fatalf("files %q, %v", found, err)
	}
	return found[0]
}

func (l *life) stop(s *usage.Store, used ...string) {
	l.t.Helper()
	if err := s.Stop(l.status(used...)); err != nil {
		l.t.Error(err)
	}
}

func (l *life) wantWarnings(n int) {
	l.t.Helper()
	if got := strings.Count(l.log.String(), "level=WARN"); got != n {
		l.t.Errorf("%d warnings, want %d:\n%s", got, n, l.log.String())
	}
}

func wantIDs(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestTheResidentSetComesBackInValueOrder(t *testing.T) {
	l := newLife(t)
	s := l.open()
	s.Record(l.status("rare", "often", "often", "often", "some", "some"))
	l.stop(s)
	s = l.open()
	wantIDs(t, "resident", s.Resident(), "often", "some", "rare")
	if took, ok := s.Took(&yolo.Model{ID: "rare", Rev: "1"}); !ok || !reflect.DeepEqual(took, usage.Took{Load: 20 * time.Millisecond, Run: 5 * time.Millisecond, Bytes: 10 << 20, Ran: map[int64]int64{640 * 640: 7 << 20}}) {
		t.Errorf("took %+v, %v", took, ok)
	}
	if _, ok := s.Took(&yolo.Model{ID: "rare", Rev: "2"}); ok {
		t.Error("another revision's measurements were taken")
	}
	l.stop(s) // without a use
	wantIDs(t, "nothing was in memory", l.open().Resident())
	l.wantWarnings(0)
}

// What brought a server down must not be loaded again and again.
func TestAfterACrashNothingComesBack(t *testing.T) {
	l := newLife(t)
	s := l.open()
	l.stop(s, "a")
	crashed := l.open()
	wantIDs(t, "after a good end", crashed.Resident(), "a")
	b, err := os.ReadFile(l.file())
	if err != nil {
		t.Fatal(err)
	}
	other := newLife(t) // what the crashed one left, without its lock
	if err := os.WriteFile(filepath.Join(other.dir, filepath.Base(l.file())), b, 0o600); err != nil {
		t.Fatal(err)
	}
	wantIDs(t, "after a crash", other.open().Resident())
}

func TestUsualHours(t *testing.T) {
	l := newLife(t)
	s := l.open()
	start := l.now
	for day := range 5 {
		l.now = start.AddDate(0, 0, day)
		used := []string{"daily"}
		if day == 2 {
			used = append(used, "once", "once", "once")
		}
		s.Record(l.status(used...))
		l.now = l.now.Add(12 * time.Hour)
		s.Record(l.status("evening"))
	}
	s.Flush()
	l.stop(s)
	s = l.open()
	wantIDs(t, "nine", s.Likely(start), "daily")
	wantIDs(t, "twenty-one", s.Likely(start.Add(12*time.Hour)), "evening")
	wantIDs(t, "noon", s.Likely(start.Add(3*time.Hour)))
	for day := range 30 { // it is no longer asked for
		l.now = start.AddDate(0, 0, 5+day)
		s.Record(l.status())
	}
	wantIDs(t, "a month later", s.Likely(start))
}

func TestACorruptFileIsToldOnceAndReplaced(t *testing.T) {
	for name, content := range map[string]string{
		"cut off": `{"format":1,"mod`, "empty": "", "binary": "\x00\xff", "another format": `{"format":2}`, "wrong types": `{"format":1,"models":[1]}`,
		"huge": strings.Repeat(" ", 5<<20),
	} {
		t.Run(name, func(t *testing.T) {
			l := newLife(t)
			l.stop(l.open(), "a")
			if err := os.WriteFile(l.file(), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			s := l.open()
			wantIDs(t, "resident", s.Resident())
			l.wantWarnings(1)
			l.stop(s, "b")
			wantIDs(t, "after that", l.open().Resident(), "b")
			l.wantWarnings(1)
		})
	}
}

func TestValuesBeyondReasonAreBounded(t *testing.T) {
	l := newLife(t)
	l.stop(l.open(), "a")
	text := `{"format":1,"at":"2026-03-02T09:00:00Z","resident":["a"],"models":{"a":{"uses":1e300,"hours":[-5,1e300],"load_ms":1e300,"run_ms":-1,"bytes":-7,"ran":{"5":-1,"-5":1,"7":9223372036854775807,"8":8}}}}`
	if err := os.WriteFile(l.file(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := l.open()
	if took, _ := s.Took(&yolo.Model{ID: "a"}); !reflect.DeepEqual(took, usage.Took{Load: 24 * time.Hour, Ran: map[int64]int64{8: 8}}) {
		t.Errorf("took %+v", took)
	}
	s.Record(l.status("b"))
	l.stop(s)
	l.wantWarnings(0)
}

func TestASecondServerOnlyReadsUntilTheFirstEnds(t *testing.T) {
	l := newLife(t)
	first := l.open()
	first.Record(l.status("a", "a", "a", "a"))
	first.Flush()
	second := l.join()
	before, err := os.ReadFile(l.file())
	if err != nil {
		t.Fatal(err)
	}
	second.Record([]yolo.Status{{Model: &yolo.Model{ID: "b"}, State: yolo.Ready, Hits: 1, Loads: 1}})
	second.Flush()
	if after, err := os.ReadFile(l.file()); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the second server wrote: %v\n%s", err, after)
	}
	l.stop(first, "c")
	second.Flush() // it has the file now, with what the first one knew
	if err := second.Stop([]yolo.Status{{Model: &yolo.Model{ID: "b"}, State: yolo.Ready, Hits: 1, Loads: 1}}); err != nil {
		t.Error(err)
	}
	b, err := os.ReadFile(l.file())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"a":{"uses":4`, `"b":{"uses":1`, `"c":{"uses":1`, `"resident":["b"]`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in %s", want, b)
		}
	}
	l.wantWarnings(0)
}

func TestClockJumps(t *testing.T) {
	for name, jump := range map[string]time.Duration{"back": -40 * 365 * 24 * time.Hour, "forth": 40 * 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			l := newLife(t)
			s := l.open()
			start := l.now
			for day := range 6 {
				l.now = start.AddDate(0, 0, day)
				s.Record(l.status("much", "much", "much", "little"))
			}
			l.stop(s)
			l.now = l.now.Add(jump)
			s = l.open()
			wantIDs(t, "resident", s.Resident(), "much", "little")
			s.Record(l.status("much"))
			l.now = l.now.Add(-jump) // corrected while it runs
			s.Record(l.status("much", "little"))
			l.stop(s)
			wantIDs(t, "afterwards", l.open().Resident(), "much", "little")
			l.wantWarnings(0)
		})
	}
}

func TestTheFileIsBounded(t *testing.T) {
	l := newLife(t)
	s := l.open()
	for i := range 5000 {
		l.hits[fmt.Sprintf("%s-%04d", strings.Repeat("m", 200), i)] = int64(1 + i%7)
	}
	l.stop(s)
	info, err := os.Stat(l.file())
	if err != nil || info.Size() > 2<<20 {
		t.Errorf("%d bytes, %v", info.Size(), err)
	}
	again := l.open()
	if n := len(again.Resident()); n == 0 || n > 2000 {
		t.Errorf("%d resident", n)
	}
	l.wantWarnings(0)
}

func TestWithoutAPlaceToRemember(t *testing.T) {
	l := newLife(t)
	l.dir = ""
	l.stop(l.open(), "a")
	l.wantWarnings(0)
	l.dir = filepath.Join(t.TempDir(), "file", "state")
	if err := os.WriteFile(filepath.Dir(l.dir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := l.open()
	s.Record(l.status("a"))
	s.Flush()
	l.stop(s)
	l.wantWarnings(1)
}

func TestKeepWritesEveryMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := usage.Open(usage.Options{Dir: dir, Models: "m", Log: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Keep(ctx, func() []yolo.Status {
				return []yolo.Status{{Model: &yolo.Model{ID: "a"}, State: yolo.Ready, Hits: 3, Loads: 1}}
			})
		}()
		written := func() bool {
			found, _ := filepath.Glob(filepath.Join(dir, "usage-*.json"))
			return len(found) > 0
		}
		time.Sleep(59 * time.Second)
		if synctest.Wait(); written() {
			t.Error("written before a minute was over")
		}
		time.Sleep(2 * time.Second)
		if synctest.Wait(); !written() {
			t.Error("not written after a minute")
		}
		cancel()
		<-done
		if err := s.Stop(nil); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "usage.json.tmp")); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	})
}
