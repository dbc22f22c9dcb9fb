package catalog_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lazyolo/internal/catalog"
)

// folder makes a complete model folder; extra is added to its labels.
func folder(t *testing.T, dir, name, extra string) {
	t.Helper()
	write(t, filepath.Join(dir, name, "labels.yaml"), good+extra)
	write(t, filepath.Join(dir, name, "best.onnx"), "weights")
}

// ids returns "id=index" for every model, in order.
func ids(c *catalog.Catalog) []string {
	var out []string
	for _, m := range c.All() {
		out = append(out, fmt.Sprintf("%s=%d", m.ID, m.Index))
	}
	return out
}

func TestIDs(t *testing.T) {
	for _, c := range []struct {
		name     string
		folders  map[string]string // name -> what is added to the labels
		want     []string
		problems []string
	}{
		{"natural order", map[string]string{"model_10": "", "model_2": "", "model_1": "", "a": "", "模型": ""},
			[]string{"a=0", "model_1=1", "model_2=2", "model_10=3", "模型=4"}, nil},
		{"zeros", map[string]string{"m01": "", "m1": "", "m1a": "", "m001": "", "m12345678901234567890123": "", "m2": ""},
			[]string{"m001=0", "m01=1", "m1=2", "m1a=3", "m2=4", "m12345678901234567890123=5"}, nil},
		{"hidden", map[string]string{".git": "", "..data": "", "a": ""}, []string{"a=0"}, nil},
		{"pins", map[string]string{"a": "", "b": "id: 0\n", "c": "", "d": "id: 7\n", "e": ""},
			[]string{"b=0", "a=1", "c=2", "e=3", "d=7"}, nil},
		{"pinned twice", map[string]string{"a": "id: 1\n", "b": "id: 1\n", "c": ""},
			[]string{"c=0", "a=1"}, []string{"b: id pins 1, which a pins too; give a or b another id"}},
		{"empty", nil, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "README"), "not a folder")
			for name, extra := range c.folders {
				folder(t, dir, name, extra)
			}
			cat := open(t, catalog.Options{Dir: dir})
			if d := cmp.Diff(c.want, ids(cat)); d != "" {
				t.Error(d)
			}
			var problems []string
			for _, p := range cat.Problems() {
				problems = append(problems, p.String())
			}
			if d := cmp.Diff(c.problems, problems); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestReservedNames: a folder called like a part of a path is refused, by this exact
// name, and the others keep their numbers.
func TestReservedNames(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"api", "API", "apis", "infer", "zebra"} {
		folder(t, dir, name, "")
	}
	if err := os.Symlink(filepath.Join(dir, "zebra"), filepath.Join(dir, "v2")); err != nil {
		t.Fatal(err)
	}
	cat := open(t, catalog.Options{Dir: dir, Reserved: []string{"api", "infer", "v2"}})
	if d := cmp.Diff([]string{"API=0", "apis=1", "zebra=2"}, ids(cat)); d != "" {
		t.Error(d)
	}
	var problems []string
	for _, p := range cat.Problems() {
		problems = append(problems, p.String())
	}
	want := []string{
		"api: folder has a name that the HTTP APIs use in their paths; rename it, for example to api_model",
		"infer: folder has a name that the HTTP APIs use in their paths; rename it, for example to infer_model",
		"v2: folder has a name that the HTTP APIs use in their paths; rename it, for example to v2_model",
	}
	if d := cmp.Diff(want, problems); d != "" {
		t.Error(d)
	}
}

func TestLookup(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"1", "5", "x"} {
		folder(t, dir, name, "")
	}
	var log bytes.Buffer
	c := open(t, catalog.Options{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
	for id, want := range map[string]string{"x": "x", "1": "1", "5": "5", "0": "1", "2": "x", "3": "", "-1": "", "02": "", "+2": "", "": "", "y": ""} {
		m, ok := c.Model(id)
		if ok != (want != "") || ok && m.ID != want {
			t.Errorf("Model(%q) = %v, %v, want %q", id, m, ok, want)
		}
	}
	if m, ok := c.ByIndex(1); !ok || m.ID != "5" {
		t.Errorf("ByIndex(1) = %v, %v, want folder 5", m, ok)
	}
	if _, ok := c.ByIndex(3); ok {
		t.Error("ByIndex(3) is there")
	}
	if n := strings.Count(log.String(), "called like another model's id"); n != 1 || !strings.Contains(log.String(), "folder=1 id=0 other=5") {
		t.Errorf("log: %s", log.String())
	}
}

func TestMoved(t *testing.T) {
	dir, state := t.TempDir(), filepath.Join(t.TempDir(), "new", "state")
	var log bytes.Buffer
	o := catalog.Options{Dir: dir, StateDir: state, Log: slog.New(slog.NewTextHandler(&log, nil))}
	moved := func(o catalog.Options, want ...catalog.Move) {
		t.Helper()
		log.Reset()
		c := open(t, o)
		if d := cmp.Diff(want, c.Moved()); d != "" {
			t.Error(d)
		}
		if n := strings.Count(log.String(), "level=WARN"); n != len(want) {
			t.Errorf("%d warnings: %s", n, log.String())
		}
	}
	folder(t, dir, "b", "")
	folder(t, dir, "c", "")
	moved(o)
	moved(o)
	folder(t, dir, "a", "")
	folder(t, dir, "d", "")
	peek := o
	peek.ReadOnly = true
	moved(peek, catalog.Move{"b", 0, 1}, catalog.Move{"c", 1, 2})
	moved(o, catalog.Move{"b", 0, 1}, catalog.Move{"c", 1, 2})
	moved(o)
	if err := os.RemoveAll(filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	folder(t, dir, "c", "id: 2\n")
	moved(o, catalog.Move{"b", 1, -1}, catalog.Move{"d", 3, 1})

	files, err := os.ReadDir(state)
	if err != nil || len(files) != 1 {
		t.Fatalf("state folder: %v, %v", files, err)
	}
	info, err := files[0].Info()
	if err != nil || info.Mode().Perm() != 0o600 || !strings.HasPrefix(info.Name(), "ids-") {
		t.Errorf("state file %s %v, %v", info.Name(), info.Mode(), err)
	}
	write(t, filepath.Join(state, info.Name()), "{broken")
	log.Reset()
	if c := open(t, o); len(c.Moved()) != 0 || strings.Count(log.String(), "level=WARN") != 1 {
		t.Errorf("moved %v, log %s", c.Moved(), log.String())
	}
	moved(o)
}

func TestStateDirUnusable(t *testing.T) {
	dir := t.TempDir()
	folder(t, dir, "a", "")
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	var log bytes.Buffer
	c := open(t, catalog.Options{Dir: dir, StateDir: file, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if len(c.All()) != 1 || strings.Count(log.String(), "level=WARN") != 1 || !strings.Contains(log.String(), "STATE_DIR") {
		t.Errorf("%d models, log %s", len(c.All()), log.String())
	}
}

func TestOpenError(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "")
	for _, c := range []struct{ dir, msg, hint string }{
		{filepath.Join(dir, "none"), "no such file", "MODELS_PATH"},
		{filepath.Join(dir, "file"), "not a folder", "MODELS_PATH"},
		{"", "does not exist", "MODELS_PATH"},
	} {
		_, err := catalog.Open(catalog.Options{Dir: c.dir})
		var oe *catalog.OpenError
		if !errors.As(err, &oe) || !strings.Contains(err.Error(), c.msg) || !strings.Contains(oe.Hint, c.hint) || !strings.Contains(err.Error(), c.dir) {
			t.Errorf("Open(%q) = %v, hint %q", c.dir, err, oe.Hint)
		}
	}
	if _, err := catalog.Open(catalog.Options{Dir: filepath.Join(dir, "none")}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("cause lost: %v", err)
	}
}

func TestProblemsLoggedOnce(t *testing.T) {
	dir := t.TempDir()
	folder(t, dir, "ok", "")
	write(t, filepath.Join(dir, "bad", "labels.yaml"), "version: 1\n")
	var log bytes.Buffer
	open(t, catalog.Options{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if s := log.String(); strings.Count(s, "\n") != 1 || !strings.Contains(s, `level=ERROR msg="skip model folder" folder=bad field="model_name, model_path, task, names"`) {
		t.Errorf("log: %s", s)
	}
}

func TestRev(t *testing.T) {
	dir := t.TempDir()
	folder(t, dir, "m", "")
	rev := func() string { return open(t, catalog.Options{Dir: dir}).All()[0].Rev }
	first := rev()
	if rev() != first {
		t.Error("Rev changes by itself")
	}
	write(t, filepath.Join(dir, "m", "best.onnx"), "weights, longer")
	second := rev()
	folder(t, dir, "m", "# changed\n")
	if third := rev(); first == second || second == third {
		t.Errorf("Rev stays: %s %s %s", first, second, third)
	}
}

func TestThousand(t *testing.T) {
	c := open(t, catalog.Options{Dir: thousand(t, 1000)})
	if len(c.All()) != 1000 || len(c.Problems()) != 0 {
		t.Fatalf("%d models, problems %v", len(c.All()), c.Problems())
	}
	sets := make(map[string]bool)
	for i, m := range c.All() {
		if m.Index != i || m.ID != fmt.Sprintf("model_%d", i) || len(m.Labels) != 80 {
			t.Fatalf("model %d: %+v", i, m)
		}
		sets[fmt.Sprintf("%p", m.Labels)] = true
	}
	if len(sets) != 101 {
		t.Errorf("%d label sets in memory, want 101", len(sets))
	}
}

// TestOldServer opens the folder that the old server was recorded with.
func TestOldServer(t *testing.T) {
	dir := filepath.Join("..", "..", "..", "shared", "fixtures", "compat", "models")
	if _, err := os.Stat(dir); err != nil {
		if os.Getenv("REQUIRE_SHARED") == "1" {
			t.Fatalf("REQUIRE_SHARED=1: %v", err)
		}
		t.Skipf("the shared fixtures are not there: %v", err)
	}
	c := open(t, catalog.Options{Dir: dir})
	if d := cmp.Diff([]string{"model_0=0", "model_1=1", "model_2=2"}, ids(c)); d != "" {
		t.Error(d)
	}
	if m, ok := c.Model("0"); !ok || m.Name != "shapes-0" || m.Labels[1] != "方块" || m.InputSize != 320 || filepath.Ext(m.Weights) != ".pt" || m.Bytes < 1e6 {
		t.Errorf("model 0: %+v", m)
	}
	if p := c.Problems(); len(p) != 1 || p[0].Folder != "model_3" || p[0].Field != "version, model_path, task, names" {
		t.Errorf("problems: %v", p)
	}
}
