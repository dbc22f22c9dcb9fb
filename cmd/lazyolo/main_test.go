package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lazyolo/internal/config"
	"lazyolo/internal/load"
	"lazyolo/yolo"
)

func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		"火 焰.jpg":             "火 焰.jpg",
		"say \"a\\b\"":        "say \"a\\b\"",
		"e\x1b[2J.jpg":        `e\x1b[2J.jpg`,
		"a\u202egpj.jpg":      `a\u202egpj.jpg`,
		"two\nlines \"\x07\"": "two\nlines \"\\a\"",
		"no \xff UTF-8":       `no \xff UTF-8`,
		"a\tb":                `a\tb`,
	} {
		if got := plain(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// A device is no terminal for being one of characters.
func TestTerminal(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if terminal(f) || terminal(new(strings.Builder)) {
		t.Error("taken for a terminal")
	}
}

// A model is named by folder, number or name, in this order; a name of several is none.
func TestPickModel(t *testing.T) {
	all := []*yolo.Model{{ID: "a", Index: 0, Name: "fire"}, {ID: "fire", Index: 1, Name: "x"}, {ID: "b", Index: 2, Name: "x"}, {ID: "0", Index: 3, Name: "smoke"}}
	for asked, want := range map[string]string{"a": "a", "fire": "fire", "1": "fire", "0": "0", "3": "0", "smoke": "0"} {
		if m, err := pickModel(all, asked); err != nil || m.ID != want {
			t.Errorf("%s: %v %v", asked, m, err)
		}
	}
	var usage *config.UsageError
	if _, err := pickModel(all, "x"); !errors.As(err, &usage) || !strings.Contains(usage.Hint, "fire or b") {
		t.Errorf("two of the name: %v", err)
	}
	var h hinted
	if _, err := pickModel(all, "none"); !errors.As(err, &h) {
		t.Errorf("none of the name: %v", err)
	}
}

func TestMoment(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		at         time.Time
		text, json string
	}{
		{now.Add(-2 * time.Second), "2s ago", `"2026-01-02T03:04:03Z"`},
		{now.Add(time.Minute), "in 1m0s", `"2026-01-02T03:05:05Z"`},
	} {
		m := moment{c.at, now}
		if text := (cell{"used", m, false}).text(); text != c.text {
			t.Errorf("%q, want %q", text, c.text)
		}
		if b, err := json.Marshal(m); err != nil || string(b) != c.json {
			t.Errorf("%s %v, want %s", b, err, c.json)
		}
	}
}

// A look that failed is told, and the next one is taken; a wrong URL ends it.
func TestWatchGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var out, log strings.Builder
		looks := 0
		err := watchModels(ctx, listFlags{every: time.Second}, sys{stdout: &out, stderr: &log}, func(w io.Writer) error {
			switch looks++; looks {
			case 1:
				return errors.New("no server")
			case 3:
				cancel()
			}
			_, err := io.WriteString(w, "models\n")
			return err
		})
		if err != nil || looks != 3 || out.String() != "\nmodels\n\n" || !strings.Contains(log.String(), "no server") {
			t.Errorf("%v after %d looks: %q %q", err, looks, out.String(), log.String())
		}
	})
	wrong := &config.UsageError{Msg: "no URL"}
	if err := watchModels(t.Context(), listFlags{}, sys{}, func(io.Writer) error { return wrong }); !errors.Is(err, wrong) {
		t.Errorf("%v", err)
	}
}

// What a signal ended says so, whatever the command made of it.
func TestInterruptedLoad(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := loadFlags{Options: load.Options{URL: "http://127.0.0.1:9", Clients: 1, Timeout: time.Second, Sample: time.Second}}
	s := sys{stdout: new(strings.Builder), stderr: new(strings.Builder), getenv: func(string) string { return "" }}
	if err := runBench(ctx, f, []string{"demo/pictures/shapes.jpg"}, s); !errors.Is(err, errInterrupted) {
		t.Errorf("%v", err)
	}
	var log strings.Builder
	if code := report(&log, errInterrupted); code != 130 || log.String() != "lazyolo: error: interrupted\n" {
		t.Errorf("%d %q", code, log.String())
	}
}
