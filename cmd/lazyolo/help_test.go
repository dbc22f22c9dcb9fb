package main

import (
	"flag"
	"slices"
	"strings"
	"testing"

	"lazyolo/internal/config"
)

// Every command that is listed explains itself: its arguments, its flags, examples of its
// own that can be typed, and settings that exist.
func TestEveryCommandExplainsItself(t *testing.T) {
	known := make(map[string]bool)
	for _, s := range config.Settings() {
		known[s.Name] = true
	}
	var all strings.Builder
	if err := printUsage(&all); err != nil {
		t.Fatal(err)
	}
	for _, c := range commands() {
		listed := strings.Contains(all.String(), "\n  "+c.name+" ")
		if listed != (c.does != "") {
			t.Errorf("%s: listed: %v, does %q", c.name, listed, c.does)
		}
		if c.does == "" {
			continue
		}
		var b strings.Builder
		if err := printHelp(&b, c); err != nil {
			t.Fatal(err)
		}
		said := b.String()
		if len(c.examples) == 0 || !strings.Contains(said, "exit codes: 0 done") {
			t.Errorf("%s: no examples, or no exit codes", c.name)
		}
		for _, example := range c.examples {
			if !strings.Contains(example, "lazyolo "+c.name) || !strings.Contains(said, "\n  "+example+"\n") {
				t.Errorf("%s: %q is no example of it", c.name, example)
			}
		}
		if c.flags != nil {
			own := flag.NewFlagSet(c.name, flag.ContinueOnError)
			c.flags(own)
			own.VisitAll(func(f *flag.Flag) {
				if _, usage := flag.UnquoteUsage(f); usage == "" || !strings.Contains(said, usage) {
					t.Errorf("%s: --%s is not explained", c.name, f.Name)
				}
			})
		}
		if i := slices.IndexFunc(c.settings, func(g string) bool { return !known[g] }); i >= 0 {
			t.Errorf("%s: there are no settings of %q", c.name, c.settings[i])
		}
	}
}
