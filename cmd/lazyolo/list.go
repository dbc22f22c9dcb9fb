package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/width"

	"lazyolo/internal/catalog"
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
		name: "models", args: "[MODEL]", does: "list the models of a folder, or of a running server with their states; or show one",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&f.url, "url", "", "running server to ask; default: the folder MODELS_PATH is read")
			fs.BoolVar(&f.watch, "watch", false, "go on showing the server's, until interrupted (needs --url)")
			fs.DurationVar(&f.every, "every", 2*time.Second, "time between two looks with --watch")
			fs.BoolVar(&f.asJSON, "json", false, "print JSON")
			fs.StringVar(&f.key, "key", "", "API key to send; default: LAZYOLO_KEY")
		},
		run: func(ctx context.Context, c *config.Config, s sys) error { return runModels(ctx, f, c, s) },
	}
}

func runModels(ctx context.Context, f listFlags, c *config.Config, s sys) error {
	switch {
	case len(c.Args) > 1:
		return &config.UsageError{Setting: "models", Msg: fmt.Sprintf("models shows one model, got %d", len(c.Args)), Hint: "lazyolo models fire"}
	case f.watch && f.url == "":
		return &config.UsageError{Setting: "--watch", Msg: "--watch needs a running server", Hint: "lazyolo models --watch --url http://127.0.0.1:8000"}
	case f.every < 100*time.Millisecond:
		return &config.UsageError{Setting: "--every", Msg: fmt.Sprintf("--every must be at least 100ms, got %v", f.every)}
	}
	look := func(context.Context) ([]row, error) { return folderRows(c, s) }
	if f.url != "" {
		if f.key == "" {
			f.key = s.getenv("LAZYOLO_KEY")
		}
		look = func(ctx context.Context) ([]row, error) { return serverRows(ctx, f) }
	}
	only := ""
	if len(c.Args) == 1 {
		only = c.Args[0]
	}
	if !f.watch {
		return showOnce(ctx, s.stdout, look, only, f.asJSON)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	for {
		if terminal(s.stdout) {
			fmt.Fprint(s.stdout, "\x1b[H\x1b[2J") // home, clear
		}
		if err := showOnce(ctx, s.stdout, look, only, f.asJSON); err != nil {
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
	return fmt.Sprint(c.value)
}

// is reports whether a row is the model that was asked for: by folder, name or number.
func (r row) is(model string) bool {
	for _, c := range r {
		if (c.name == "folder" || c.name == "name" || c.name == "id") && c.text() == model {
			return true
		}
	}
	return false
}

// showOnce prints all rows, or the one that is asked for.
func showOnce(ctx context.Context, w io.Writer, look func(context.Context) ([]row, error), only string, asJSON bool) error {
	rows, err := look(ctx)
	if err != nil {
		return err
	}
	if only != "" {
		var found []row
		for _, r := range rows {
			if r.is(only) {
				found = append(found, r)
			}
		}
		if len(found) == 0 {
			return hinted{fmt.Errorf("no model %q", only), "lazyolo models lists them"}
		}
		rows = found
	}
	if asJSON {
		return printJSON(w, rows)
	}
	if only != "" {
		for _, c := range rows[0] {
			if _, err := fmt.Fprintf(w, "%-10s %s\n", c.name, c.text()); err != nil {
				return err
			}
		}
		return nil
	}
	return printTable(w, rows)
}

func printJSON(w io.Writer, rows []row) error {
	out := make([]map[string]any, len(rows))
	for i, r := range rows {
		out[i] = make(map[string]any, len(r))
		for _, c := range r {
			out[i][c.name] = c.value
		}
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(out)
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
		head[i], wide[i] = strings.ToUpper(c.name), columns(c.name)
	}
	for _, r := range rows {
		line := make([]string, len(r))
		for i, c := range r {
			line[i] = c.text()
			wide[i] = max(wide[i], columns(line[i]))
		}
		lines = append(lines, line)
	}
	for _, line := range lines {
		var b strings.Builder
		for i, text := range line {
			pad := strings.Repeat(" ", wide[i]-columns(text))
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

// columns is how many columns of a terminal a text takes.
func columns(text string) int {
	n := 0
	for _, r := range text {
		n++
		if k := width.LookupRune(r).Kind(); k == width.EastAsianWide || k == width.EastAsianFullwidth {
			n++
		}
	}
	return n
}

// folderRows reads the models folder: what serve would serve, and what is prepared.
func folderRows(c *config.Config, s sys) ([]row, error) {
	models, err := catalog.Open(catalog.Options{Dir: c.ModelsPath, AllowDirs: c.AllowModelDirs, StateDir: c.StateDir, ReadOnly: true})
	if err != nil {
		return nil, hinted{err, "set MODELS_PATH to the folder of model folders"}
	}
	for _, p := range models.Problems() {
		fmt.Fprintln(s.stderr, "lazyolo: refused:", p)
	}
	e, err := core.NewEngine(c, slog.New(slog.DiscardHandler))
	if err != nil {
		e = nil // what is prepared cannot be told
	} else {
		defer e.Close()
	}
	var rows []row
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

// A servedModel is what a server says of a model in /api/v2/models.
type servedModel struct {
	Name    string `json:"model_name"`
	Version string `json:"version"`
	Task    string `json:"task"`
	Folder  string `json:"folder"`
}

// A servedState is what it says of it in /api/v2/memory_status.
type servedState struct {
	State    string     `json:"state"`
	Warm     bool       `json:"warm"`
	Pinned   bool       `json:"pinned"`
	Mapped   float64    `json:"mapped_mb"`
	Private  float64    `json:"private_mb"`
	Hits     int64      `json:"hits"`
	Loads    int64      `json:"loads"`
	LoadMS   float64    `json:"load_ms"`
	LastUsed *time.Time `json:"last_used"`
	Expires  *time.Time `json:"expires"`
}

// serverRows asks a running server. The old one has no states.
func serverRows(ctx context.Context, f listFlags) ([]row, error) {
	var models map[string]servedModel
	if err := askServer(ctx, f, "/api/v2/models", &models); err != nil {
		return nil, err
	}
	var memory struct{ Models map[string]servedState }
	if err := askServer(ctx, f, "/api/v2/memory_status", &memory); err != nil {
		memory.Models = nil
	}
	now := time.Now()
	var rows []row
	for id, m := range models {
		n, err := strconv.Atoi(id)
		if err != nil {
			return nil, fmt.Errorf("ask the server: %q is no number of a model", id)
		}
		rows = append(rows, serverRow(n, m, memory.Models[id], now))
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a[0].value.(int), b[0].value.(int)) })
	return rows, nil
}

func serverRow(n int, m servedModel, s servedState, now time.Time) row {
	state := s.State
	switch {
	case state == "":
		state = "unloaded"
	case state == "ready" && !s.Warm:
		state = "cool"
	}
	r := row{
		{"id", n, true}, {"folder", m.Folder, false}, {"name", m.Name, false}, {"version", m.Version, false}, {"task", m.Task, false},
		{"state", state, false}, {"mb", s.Mapped + s.Private, true}, {"hits", s.Hits, true}, {"loads", s.Loads, true}, {"load_ms", s.LoadMS, true},
	}
	used, expires := any(nil), any(nil)
	if s.LastUsed != nil {
		used = now.Sub(*s.LastUsed).Round(time.Second).String() + " ago"
	}
	if s.Expires != nil {
		expires = "in " + max(0, s.Expires.Sub(now)).Round(time.Second).String()
	}
	return append(r, cell{"used", used, false}, cell{"expires", expires, false}, cell{"pinned", s.Pinned, false})
}

// askServer reads one JSON answer of the server.
func askServer(ctx context.Context, f listFlags, path string, to any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	u, err := url.JoinPath(f.url, path)
	if err != nil {
		return &config.UsageError{Setting: "--url", Msg: err.Error()}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return &config.UsageError{Setting: "--url", Msg: err.Error()}
	}
	if f.key != "" {
		req.Header.Set("Authorization", "Bearer "+f.key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return hinted{fmt.Errorf("ask the server: %w", err), "is it running there? --url names it"}
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return hinted{fmt.Errorf("ask the server: %s", resp.Status), "give a key with --key or LAZYOLO_KEY"}
	default:
		return fmt.Errorf("ask the server: %s answers %s", u, resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<20)).Decode(to); err != nil {
		return fmt.Errorf("ask the server: %s: %w", u, err)
	}
	return nil
}
