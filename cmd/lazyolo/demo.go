package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"lazyolo/internal/compare"
	"lazyolo/internal/config"
)

// demoCommand makes the demo command with its flags.
func demoCommand() command {
	var out, models string
	return command{
		name: "demo", args: "[PICTURE]", does: "show a server in a small memory budget at work, in half a minute",
		more: "A server is asked for more models than its budget holds: 32 copies of the demo model, or those of --models-path.\n" +
			"Its memory and what it decides are shown while it works; a chart, a page and a picture with detections stay in --out.",
		examples: []string{
			"lazyolo demo",
			"lazyolo demo --models-path /srv/models --models 0-9 photo.jpg",
			"lazyolo demo --max-memory-mb 400 --out pictures/",
		},
		settings: stageSettings(),
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&out, "out", "lazyolo-demo", "folder for memory.svg, memory.html and the picture with what was found")
			fs.StringVar(&models, "models", "", "model numbers to ask for: 0,2,5 or 0-9; default: all")
		},
		run: func(ctx context.Context, c *config.Config, s sys) error { return runDemo(ctx, out, models, c, s) },
	}
}

func runDemo(ctx context.Context, out, models string, c *config.Config, s sys) (err error) {
	if err := makeOut(out); err != nil {
		return err
	}
	ctx, s, stop := tidy(ctx, s)
	defer stop()
	st, err := newStage(ctx, c, models, c.Args, s.stdout)
	defer func() { err = errors.Join(err, st.close()) }()
	if err != nil {
		return comparisonError(ctx, err)
	}
	eager, leftOut, err := st.eager(ctx)
	if err != nil {
		return comparisonError(ctx, err)
	}
	screen := newScreen(s)
	story, err := compare.Demonstrate(ctx, compare.DemoOptions{
		Command: st.serve(st.budget()), Eager: eager, LeftOut: leftOut, Models: st.numbers(), Picture: st.picture,
		About: st.about, Weights: st.weights, Budget: st.budget(), Screen: screen,
	})
	if err != nil {
		return comparisonError(ctx, err)
	}
	fmt.Fprintln(s.stdout)
	screen.Tell(story.Text())
	fmt.Fprintln(s.stdout)
	return writeStory(out, story, s.stdout)
}

// newScreen is where a demonstration is shown.
func newScreen(s sys) *compare.Screen {
	screen := &compare.Screen{Out: s.stdout, Terminal: terminal(s.stdout) && s.getenv("TERM") != "dumb"}
	screen.Color = screen.Terminal && s.getenv("NO_COLOR") == ""
	if f := fileOf(s.stdout); f != nil && screen.Terminal {
		screen.Size = func() (width, height int) {
			size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
			if err != nil {
				return 0, 0
			}
			return int(size.Col), int(size.Row)
		}
	}
	return screen
}

// makeOut makes the folder of --out, before the work whose results it is for.
func makeOut(dir string) error {
	err := os.MkdirAll(dir, 0o755)
	if err == nil && !writable(dir) {
		err = fmt.Errorf("%s cannot be written", dir)
	}
	if err != nil {
		return hinted{fmt.Errorf("make folder: %w", err), "--out names a folder that can be written"}
	}
	return nil
}

// writeStory writes the story's pictures and page to dir and says where.
func writeStory(dir string, story *compare.Story, w io.Writer) error {
	const found = "detections.jpg"
	page, err := story.HTML(found)
	if err != nil {
		return err
	}
	for _, file := range []struct {
		name, what string
		data       []byte
	}{
		{"memory.svg", "memory over time", story.SVG()},
		{"memory.html", "the same with every event", page},
		{found, "what was found: " + tally(story.Found), story.Picture},
	} {
		path := filepath.Join(dir, file.name)
		if err := os.WriteFile(path, file.data, 0o644); err != nil {
			return fmt.Errorf("write %s: %w", file.what, err)
		}
		fmt.Fprintf(w, "%s: %s\n", path, file.what)
	}
	return nil
}

// tally counts names: 2 star, 1 cross.
func tally(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	count := make(map[string]int)
	var order []string
	for _, n := range names {
		if count[n]++; !slices.Contains(order, n) {
			order = append(order, n)
		}
	}
	var parts []string
	for _, n := range order {
		parts = append(parts, fmt.Sprintf("%d %s", count[n], n))
	}
	return strings.Join(parts, ", ")
}
