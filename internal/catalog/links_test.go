package catalog_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lazyolo/internal/catalog"
)

func link(t *testing.T, target, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

// TestLinks follows links inside the models folder and the allowed ones, and
// refuses the others by link, target and setting.
func TestLinks(t *testing.T) {
	for _, c := range []struct {
		name  string
		make  func(t *testing.T, dir, outside string)
		field string // of the refusal
		names []string
	}{
		{"weights", func(t *testing.T, dir, outside string) {
			write(t, filepath.Join(dir, "m", "labels.yaml"), good)
			link(t, filepath.Join(outside, "w", "best.onnx"), filepath.Join(dir, "m", "best.onnx"))
		}, "model_path", []string{"m/best.onnx", "w/best.onnx"}},
		{"labels", func(t *testing.T, dir, outside string) {
			link(t, filepath.Join(outside, "w", "labels.yaml"), filepath.Join(dir, "m", "labels.yaml"))
			write(t, filepath.Join(dir, "m", "best.onnx"), "weights")
		}, "labels.yaml", []string{"m/labels.yaml", "w/labels.yaml"}},
		{"folder", func(t *testing.T, dir, outside string) {
			link(t, filepath.Join(outside, "w"), filepath.Join(dir, "m"))
		}, "folder", []string{"/m)", "/w,"}},
		{"folder on the way", func(t *testing.T, dir, outside string) {
			write(t, filepath.Join(dir, "m", "labels.yaml"), with("model_path", "model_path: sub/best.onnx"))
			link(t, filepath.Join(outside, "w"), filepath.Join(dir, "m", "sub"))
		}, "model_path", []string{"sub/best.onnx", "w/best.onnx"}},
		{"chain", func(t *testing.T, dir, outside string) {
			write(t, filepath.Join(dir, "m", "labels.yaml"), good)
			link(t, "hop", filepath.Join(dir, "m", "best.onnx"))
			link(t, filepath.Join(outside, "w", "best.onnx"), filepath.Join(dir, "m", "hop"))
		}, "model_path", []string{"m/best.onnx", "w/best.onnx"}},
		{"folder of a similar name", func(t *testing.T, dir, outside string) {
			write(t, filepath.Join(dir, "m", "labels.yaml"), good)
			write(t, dir+"2/best.onnx", "weights")
			link(t, dir+"2/best.onnx", filepath.Join(dir, "m", "best.onnx"))
		}, "model_path", []string{"m/best.onnx", "models2/best.onnx"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			base := realPath(t, t.TempDir())
			dir, outside := filepath.Join(base, "models"), filepath.Join(base, "outside")
			folder(t, dir, "ok", "")
			folder(t, outside, "w", "")
			c.make(t, dir, outside)
			cat := open(t, catalog.Options{Dir: dir})
			refused(t, cat, "m", c.field, "outside the models folder", "ALLOW_MODEL_DIRS")
			for _, s := range c.names {
				if !strings.Contains(cat.Problems()[0].Msg, s) {
					t.Errorf("%q is not named: %s", s, cat.Problems()[0].Msg)
				}
			}
			cat = open(t, catalog.Options{Dir: dir, AllowDirs: []string{outside, dir + "2"}})
			if len(cat.Problems()) > 0 || len(cat.All()) != 2 {
				t.Errorf("allowed, but: %v", cat.Problems())
			}
		})
	}
}

// TestConfigMap is the layout Kubernetes makes: everything is a link into a
// dated folder behind ..data.
func TestConfigMap(t *testing.T) {
	dir := realPath(t, t.TempDir())
	m := filepath.Join(dir, "m")
	folder(t, m, "..2026_01_01", "")
	link(t, "..2026_01_01", filepath.Join(m, "..data"))
	link(t, "..data/labels.yaml", filepath.Join(m, "labels.yaml"))
	link(t, "..data/best.onnx", filepath.Join(m, "best.onnx"))
	link(t, "m", filepath.Join(dir, "same"))
	link(t, filepath.Join(m, "best.onnx"), filepath.Join(dir, "link_to_a_file"))

	cat := open(t, catalog.Options{Dir: dir})
	if d := cmp.Diff([]string{"m=0", "same=1"}, ids(cat)); d != "" || len(cat.Problems()) > 0 {
		t.Errorf("%s %v", d, cat.Problems())
	}
	if got, want := cat.All()[0].Weights, filepath.Join(m, "..2026_01_01", "best.onnx"); got != want {
		t.Errorf("Weights = %s, want %s", got, want)
	}
}

func TestModelsFolderIsLink(t *testing.T) {
	dir, other := t.TempDir(), filepath.Join(t.TempDir(), "models")
	folder(t, dir, "m", "")
	link(t, dir, other)
	if cat := open(t, catalog.Options{Dir: other}); len(cat.All()) != 1 {
		t.Errorf("problems: %v", cat.Problems())
	}
}

func TestBrokenLinks(t *testing.T) {
	dir := t.TempDir()
	folder(t, dir, "ok", "")
	link(t, "gone", filepath.Join(dir, "m"))
	refused(t, open(t, catalog.Options{Dir: dir}), "m", "folder", "is a link to gone that cannot be followed", "correct the link")
}

func TestAllowDirMissing(t *testing.T) {
	dir := t.TempDir()
	folder(t, dir, "ok", "")
	var log bytes.Buffer
	cat := open(t, catalog.Options{Dir: dir, AllowDirs: []string{filepath.Join(dir, "none")}, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if len(cat.All()) != 1 || !strings.Contains(log.String(), "ALLOW_MODEL_DIRS") {
		t.Errorf("log: %s", log.String())
	}
}

// TestSingle is the old server's first layout: one model in the folder itself.
func TestSingle(t *testing.T) {
	const short = "names: [fire]\n"
	for _, c := range []struct {
		name   string
		files  map[string]string
		want   []string // ids
		ref    string   // WeightsRef of the first model
		reason string   // of the refusal
		warns  string
	}{
		{"onnx", map[string]string{"labels.yaml": short, "best.onnx": "w", "best.pt": "w"}, []string{"config=0"}, "best.onnx", "", ""},
		{"pt", map[string]string{"labels.yaml": short, "best.pt": "w"}, []string{"config=0"}, "best.pt", "", ""},
		{"complete", map[string]string{"labels.yaml": good, "best.onnx": "w"}, []string{"config=0"}, "./best.onnx", "", ""},
		{"no weights", map[string]string{"labels.yaml": short}, nil, "", "model_path is missing", ""},
		{"no names", map[string]string{"labels.yaml": "version: 1", "best.pt": "w"}, nil, "", "names is missing", ""},
		{"folders inside", map[string]string{"labels.yaml": short, "best.pt": "w", "m/labels.yaml": good, "m/best.onnx": "w"},
			[]string{"config=0"}, "best.pt", "", "not served"},
		{"stray labels", map[string]string{"labels.yaml": short, "m/labels.yaml": good, "m/best.onnx": "w"},
			[]string{"m=0"}, "./best.onnx", "", "ignore labels.yaml"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "config")
			for name, content := range c.files {
				write(t, filepath.Join(dir, name), content)
			}
			var log bytes.Buffer
			cat := open(t, catalog.Options{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
			if d := cmp.Diff(c.want, ids(cat)); d != "" {
				t.Fatal(d, cat.Problems())
			}
			if len(c.want) > 0 && cat.All()[0].WeightsRef != c.ref {
				t.Errorf("WeightsRef = %q, want %q", cat.All()[0].WeightsRef, c.ref)
			}
			if c.reason != "" && (len(cat.Problems()) != 1 || !strings.Contains(cat.Problems()[0].String(), "config: "+c.reason)) {
				t.Errorf("problems: %v", cat.Problems())
			}
			if c.warns != "" && !strings.Contains(log.String(), c.warns) {
				t.Errorf("log: %s", log.String())
			}
		})
	}
}
