package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"lazyolo/internal/compare"
	"lazyolo/internal/config"
	"lazyolo/internal/core"
	"lazyolo/internal/engine"
	"lazyolo/yolo"
)

// listFlags are the flags of the models command.
type listFlags struct {
	url    string
	key    string
	watch  bool
	asJSON bool
	every  time.Duration
}

// modelsCommand makes the models command with its flags.
func modelsCommand() command {
	var f listFlags
	return command{
		name: "models", args: "[list] | show MODEL", does: "list the models of a folder or of a running server, or show one",
		more: "list is what models does without a word behind it. A model is named by folder, name or number. Of a running server\n" +
			"states and memory are told, of a folder what is prepared.",
		examples: []string{
			"lazyolo models --models-path /srv/models", "lazyolo models show fire",
			"lazyolo models --url http://127.0.0.1:8000 --watch", "lazyolo models show fire --url http://127.0.0.1:8000 --json",
		},
		settings: append(findSettings(), "ORT_LIBRARY", "CACHE_DIR"), interruptible: true,
		needs: map[string]string{"key": "url", "every": "watch"},
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&f.url, "url", "", "running server to ask, a `URL`; default: the folder MODELS_PATH is read")
			fs.BoolVar(&f.watch, "watch", false, "go on showing the server's, until interrupted (needs --url)")
			fs.DurationVar(&f.every, "every", 2*time.Second, "time between two looks with --watch")
			fs.BoolVar(&f.asJSON, "json", false, "print JSON")
			fs.StringVar(&f.key, "key", "", "API key to send; default: LAZYOLO_KEY")
		},
		run: func(ctx context.Context, c *config.Config, s sys) error { return runModels(ctx, f, c, s) },
	}
}

func runModels(ctx context.Context, f listFlags, c *config.Config, s sys) error {
	only, err := shownModel(c.Args)
	switch {
	case err != nil:
		return err
	case f.watch && f.url == "":
		return &config.UsageError{Setting: "--watch", Msg: "--watch needs a running server", Hint: "lazyolo models --watch --url http://127.0.0.1:8000"}
	case f.every < 100*time.Millisecond:
		return &config.UsageError{Setting: "--every", Msg: fmt.Sprintf("--every must be at least 100ms, got %v", f.every)}
	}
	look := func(context.Context) ([]row, error) { return folderRows(c, s, only) }
	if f.url != "" {
		if f.key == "" {
			f.key = s.getenv("LAZYOLO_KEY")
		}
		look = func(ctx context.Context) ([]row, error) { return serverRows(ctx, f, only) }
	}
	if !f.watch {
		return showOnce(ctx, s.stdout, look, only, f.asJSON)
	}
	return watchModels(ctx, f, s, func(w io.Writer) error { return showOnce(ctx, w, look, only, f.asJSON) })
}

// watchModels shows what look writes until ctx ends. A look that failed is told in place:
// the server may come back.
func watchModels(ctx context.Context, f listFlags, s sys, look func(io.Writer) error) error {
	for {
		var b bytes.Buffer
		err := look(&b)
		var usage *config.UsageError
		if errors.As(err, &usage) {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		if terminal(s.stdout) {
			fmt.Fprint(s.stdout, "\x1b[H\x1b[2J") // home, clear
		}
		if err != nil {
			report(s.stderr, err)
		} else if _, err := b.WriteTo(s.stdout); err != nil {
			return err
		}
		select {
		case <-time.After(f.every):
			fmt.Fprintln(s.stdout)
		case <-ctx.Done():
			return nil
		}
	}
}

// A row is one model as it is shown: names and values in the order of the columns.
type row []cell

// A cell is a value under its name. Right says that it is a number.
type cell struct {
	name  string
	value any
	right bool
}

// text is the value as the table shows it.
func (c cell) text() string {
	switch v := c.value.(type) {
	case nil:
		return "-"
	case float64:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return plain(fmt.Sprint(c.value))
}

// shownModel is the model that the arguments ask to be shown; "": all are listed. A
// model alone is shown, too.
func shownModel(args []string) (string, error) {
	const hint = "lazyolo models show fire"
	switch {
	case len(args) == 0 || len(args) == 1 && args[0] == "list":
		return "", nil
	case len(args) == 1 && args[0] == "show":
		return "", &config.UsageError{Setting: "models", Msg: "models show needs a model", Hint: hint}
	case len(args) == 1:
		return args[0], nil
	case len(args) == 2 && args[0] == "show":
		return args[1], nil
	}
	return "", &config.UsageError{Setting: "models", Msg: fmt.Sprintf("models takes list, or show and one model, got %q", args), Hint: hint}
}

// showOnce prints all rows, or the one of the model that is asked for.
func showOnce(ctx context.Context, w io.Writer, look func(context.Context) ([]row, error), only string, asJSON bool) error {
	rows, err := look(ctx)
	if err != nil {
		return err
	}
	switch {
	case asJSON && only != "":
		return printJSON(w, rows[0].object())
	case asJSON:
		out := make([]map[string]any, len(rows))
		for i, r := range rows {
			out[i] = r.object()
		}
		return printJSON(w, out)
	case only != "":
		return printDetails(w, rows[0])
	}
	return printTable(w, rows)
}

// object is a row as JSON has it.
func (r row) object() map[string]any {
	out := make(map[string]any, len(r))
	for _, c := range r {
		out[c.name] = c.value
	}
	return out
}

func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// printTable aligns columns by what a terminal shows: a Chinese letter is two wide.
func printTable(w io.Writer, rows []row) error {
	if len(rows) == 0 {
		_, err := fmt.Fprintln(w, "no models")
		return err
	}
	head := make([]string, len(rows[0]))
	lines := [][]string{head}
	wide := make([]int, len(head))
	for i, c := range rows[0] {
		head[i], wide[i] = strings.ToUpper(c.name), compare.Columns(c.name)
	}
	for _, r := range rows {
		line := make([]string, len(r))
		for i, c := range r {
			line[i] = c.text()
			wide[i] = max(wide[i], compare.Columns(line[i]))
		}
		lines = append(lines, line)
	}
	for _, line := range lines {
		var b strings.Builder
		for i, text := range line {
			pad := strings.Repeat(" ", wide[i]-compare.Columns(text))
			if i > 0 {
				b.WriteString("  ")
			}
			if rows[0][i].right {
				b.WriteString(pad + text)
			} else {
				b.WriteString(text + pad)
			}
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(b.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

// folderRows reads the models folder: what serve would serve, and what is prepared; of
// all models, or everything of one.
func folderRows(c *config.Config, s sys, only string) (rows []row, err error) {
	models, err := openModels(c, slog.New(slog.DiscardHandler), true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, models.remove()) }()
	if models.isDemo {
		fmt.Fprintln(s.stderr, "No models in", plain(c.ModelsPath)+": this is the demo model.")
	}
	for _, p := range models.Problems() {
		fmt.Fprintln(s.stderr, "lazyolo: refused:", plain(p.String()))
	}
	e, err := core.NewEngine(c, slog.New(slog.DiscardHandler))
	if err != nil {
		e = nil // what is prepared cannot be told
	} else {
		defer e.Close()
	}
	if only != "" {
		m, err := pickModel(models.All(), only)
		if err != nil {
			return nil, err
		}
		return []row{append(folderRow(m, e), folderDetails(m, e)...)}, nil
	}
	for _, m := range models.All() {
		rows = append(rows, folderRow(m, e))
	}
	return rows, nil
}

func folderRow(m *yolo.Model, e *engine.Engine) row {
	r := row{
		{"id", m.Index, true}, {"folder", m.ID, false}, {"name", m.Name, false}, {"version", m.Version, false},
		{"task", m.TaskName, false}, {"weights", m.WeightsRef, false}, {"file_mb", float64(m.Bytes) / mib, true},
	}
	prepared, mapped, run := any(false), any(nil), any(nil)
	if e != nil {
		if cost, ok := e.Known(m); ok {
			prepared, mapped, run = true, float64(cost.Mapped+cost.Private)/mib, float64(cost.Run)/mib
		}
	}
	return append(r, cell{"prepared", prepared, false}, cell{"loaded_mb", mapped, true}, cell{"run_mb", run, true})
}
