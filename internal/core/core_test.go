package core

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lazyolo/internal/catalog"
	"lazyolo/internal/config"
	"lazyolo/internal/ledger"
	"lazyolo/internal/ort"
	"lazyolo/yolo"
)

const demo = "../../cmd/lazyolo/demo"

// settings are those of args, with a cache of the test's own.
func settings(t *testing.T, args ...string) *config.Config {
	t.Helper()
	args = append([]string{"--cache-dir", filepath.Join(t.TempDir(), "cache")}, args...)
	getenv := func(name string) string {
		if name == "ORT_LIBRARY" {
			return os.Getenv(name)
		}
		return ""
	}
	c, err := config.Load(args, getenv, func(string) ([]byte, error) { return nil, os.ErrNotExist })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func models(t *testing.T) *catalog.Catalog {
	t.Helper()
	m, err := catalog.Open(catalog.Options{Dir: filepath.Join(demo, "models")})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// opened is a Core over the demo model, closed after the test.
func opened(t *testing.T, o Options) *Core {
	t.Helper()
	if _, err := ort.Locate(o.Config.ORTLibrary); err != nil {
		if os.Getenv("REQUIRE_ORT") == "1" {
			t.Fatal(err)
		}
		t.Skip("needs ONNX Runtime: ", err)
	}
	o.Models, o.Log = models(t), slog.New(slog.DiscardHandler)
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return s
}

func TestBudget(t *testing.T) {
	if n := Budget(settings(t, "--max-memory-mb", "500")); n != 500*mib {
		t.Errorf("as set: %d", n)
	}
	if n := Budget(settings(t)); n < 64*mib {
		t.Errorf("of the machine: %d", n)
	}
	const aside = 10 * mib
	least := int64(baseMemory + aside + workingRoom + smallModel)
	if err := Enough(least, aside); err != nil {
		t.Errorf("just enough: %v", err)
	}
	var usage *config.UsageError
	if err := Enough(least-1, aside); !errors.As(err, &usage) || usage.Setting != "MAX_MEMORY_MB" || !strings.Contains(usage.Msg, "requests 10 (MAX_QUEUE_MB)") {
		t.Errorf("a byte less: %v", err)
	}
	if n := BudgetFor(smallModel, 20*mib, aside); Enough(n-20*mib, aside) != nil || n < least+20*mib+margin(least) {
		t.Errorf("for a model and its run: %d", n)
	}
}

func TestOpenNamesWhatIsMissing(t *testing.T) {
	if _, err := Open(Options{Models: models(t), Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "Config") {
		t.Errorf("%v", err)
	}
	o := Options{Config: settings(t, "--max-memory-mb", "150"), Models: models(t), Log: slog.New(slog.DiscardHandler), Aside: 100 * mib}
	var usage *config.UsageError
	if _, err := Open(o); !errors.As(err, &usage) {
		t.Errorf("nothing fits: %v", err)
	}
}

// The parts are joined: a request is answered, told to those who want to hear of it, and
// counted in the ledger, of which the caller's share is kept.
func TestServes(t *testing.T) {
	picture, err := os.ReadFile(filepath.Join(demo, "pictures", "shapes.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	var states []yolo.State
	loaded, used := 0, 0
	s := opened(t, Options{
		Config: settings(t, "--max-memory-mb", "400"), Aside: 20 * mib,
		Observe: func(t yolo.Transition) { states = append(states, t.To) },
		Decide:  func(d yolo.Decision) { loaded++ },
		Used:    func(*yolo.Model, int64, time.Duration) { used++ },
	})
	if got := s.Ledger.Snapshot(); got.Used[ledger.Bodies.String()] != 20*mib || got.Used[ledger.Base.String()] != baseMemory+margin(400*mib) {
		t.Errorf("at the start: %v", got.Used)
	}
	if m, _ := s.models.Model("0"); m == nil || len(s.costs()) != 0 {
		t.Errorf("known before: %v", s.costs())
	}
	r, err := s.Detector.Detect(t.Context(), yolo.Request{Model: "0", Image: picture})
	if err != nil || len(r.Objects) == 0 {
		t.Fatalf("%+v %v", r, err)
	}
	if len(s.costs()) != 1 {
		t.Errorf("known after: %v", s.costs())
	}
	if sig, ok := s.signature(r.Model); !ok || len(sig.Inputs) != 1 {
		t.Errorf("signature: %v %v", sig, ok)
	}
	var drawn bytes.Buffer
	if err := s.Painter.Render(t.Context(), &drawn, "x.jpg", picture, r); err != nil || drawn.Len() == 0 {
		t.Errorf("drawn: %v", err)
	}
	s.SetBudget(300 * mib)
	if got := s.Ledger.Snapshot(); got.Budget != 300*mib || got.Used[ledger.Base.String()] != baseMemory+margin(300*mib) {
		t.Errorf("with less: %v", got)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(states) < 3 || loaded == 0 || used != 1 {
		t.Errorf("heard of %v, %d decisions, %d uses", states, loaded, used)
	}
}

// Drawing waits for memory like every other work.
func TestDrawingTakesFromTheBudget(t *testing.T) {
	s := opened(t, Options{Config: settings(t, "--max-memory-mb", "200")})
	release, err := s.room(t.Context(), 10*mib)
	if err != nil {
		t.Fatal(err)
	}
	if n := s.Ledger.Snapshot().Used[ledger.Working.String()]; n < 10*mib {
		t.Errorf("held: %d", n)
	}
	release()
	if _, err := s.room(t.Context(), 1<<40); err == nil {
		t.Error("a terabyte was free")
	}
}
