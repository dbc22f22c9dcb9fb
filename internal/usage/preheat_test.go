package usage_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"lazyolo/internal/usage"
	"lazyolo/yolo"
)

// openNow opens a store that keeps the bubble's time.
func openNow(dir string) *usage.Store {
	return usage.Open(usage.Options{Dir: dir, Models: "m", Log: slog.New(slog.DiscardHandler)})
}

func TestRestoreTriesAgainWhileOthersComeFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := openNow(dir)
		var all []yolo.Status
		for i, id := range []string{"a", "b", "c"} {
			all = append(all, yolo.Status{Model: &yolo.Model{ID: id}, State: yolo.Ready, Hits: int64(9 - i), Loads: 1})
		}
		if err := s.Stop(all); err != nil {
			t.Fatal(err)
		}
		s = openNow(dir)
		start := time.Now()
		var order []string
		s.Restore(t.Context(), func(_ context.Context, id string, keep time.Duration) bool {
			if keep != 0 {
				t.Errorf("keep %v", keep)
			}
			if id == "b" && time.Since(start) < time.Second {
				return true
			}
			order = append(order, id)
			return false
		})
		if !slices.Equal(order, []string{"a", "c", "b"}) || time.Since(start) > 1200*time.Millisecond {
			t.Errorf("%q after %v", order, time.Since(start))
		}
		start = time.Now()
		s.Restore(t.Context(), func(context.Context, string, time.Duration) bool { return true })
		if d := time.Since(start); d < 9*time.Second || d > 11*time.Second {
			t.Errorf("gave up after %v", d)
		}
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		s.Restore(ctx, func(context.Context, string, time.Duration) bool { n++; cancel(); return true })
		if n != 1 {
			t.Errorf("%d loads begun after the end", n)
		}
		if err := s.Stop(nil); err != nil {
			t.Error(err)
		}
	})
}

func TestPreheatComesBeforeTheUsualHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openNow("")
		until := func(hour, minute int) {
			now := time.Now()
			at := time.Date(now.Year(), now.Month(), now.Day(), hour, minute, 0, 0, now.Location())
			if !at.After(now) {
				at = at.AddDate(0, 0, 1)
			}
			time.Sleep(at.Sub(now))
		}
		hits := int64(0)
		for range 3 {
			until(9, 30)
			hits++
			s.Record([]yolo.Status{{Model: &yolo.Model{ID: "a"}, State: yolo.Ready, Hits: hits, Loads: hits}})
		}
		until(12, 0)
		ctx, cancel := context.WithCancel(t.Context())
		var loads []string
		busy := 2
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Preheat(ctx, func(_ context.Context, id string, keep time.Duration) bool {
				now := time.Now()
				end := now.Add(keep)
				loads = append(loads, fmt.Sprintf("%s at %d:%02d until %d:%02d", id, now.Hour(), now.Minute(), end.Hour(), end.Minute()))
				busy--
				return busy >= 0
			})
		}()
		until(11, 0)
		cancel()
		<-done
		want := []string{"a at 8:55 until 10:00", "a at 8:56 until 10:00", "a at 8:57 until 10:00"}
		if !slices.Equal(loads, want) {
			t.Errorf("loads %q, want %q", loads, want)
		}
	})
}
