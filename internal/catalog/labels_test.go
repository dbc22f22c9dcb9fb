package catalog_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lazyolo/internal/catalog"
	"lazyolo/yolo"
)

const good = `model_name: shapes
model_family: YOLOv8
version: 1.10
model_path: ./best.onnx
task: detection
input_size: "640x640"
description: 火焰检测
metadata:
  training_data: synthetic
names:
  0: 明火
  1: smoke
`

// with returns the good labels with one line replaced, or removed for "".
func with(field, line string) string {
	var b strings.Builder
	for l := range strings.Lines(good) {
		switch {
		case !strings.HasPrefix(l, field+":"):
			b.WriteString(l)
		case line != "":
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// withNames returns the good labels with other names.
func withNames(names string) string {
	return good[:strings.Index(good, "names:")] + "names:" + names + "\n"
}

// open opens dir, which must work, without a log.
func open(t *testing.T, o catalog.Options) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// model opens a folder with one model with these labels, which must be good.
func model(t *testing.T, labels string) *yolo.Model {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "m", "labels.yaml"), labels)
	write(t, filepath.Join(dir, "m", "best.onnx"), "weights")
	c := open(t, catalog.Options{Dir: dir})
	if len(c.All()) != 1 {
		t.Fatalf("not served: %v", c.Problems())
	}
	return c.All()[0]
}

func TestModel(t *testing.T) {
	m := model(t, good)
	want := &yolo.Model{
		ID: "m", Name: "shapes", Family: "YOLOv8", Version: "1.10", Description: "火焰检测",
		TaskName: "detection", Task: yolo.Detect, Labels: yolo.Labels{0: "明火", 1: "smoke"},
		InputSize: 640, Weights: m.Weights, WeightsRef: "./best.onnx", Rev: m.Rev, Bytes: 7,
	}
	if d := cmp.Diff(want, m); d != "" {
		t.Error(d)
	}
	if !filepath.IsAbs(m.Weights) || filepath.Base(m.Weights) != "best.onnx" || len(m.Rev) != 12 {
		t.Errorf("Weights %q, Rev %q", m.Weights, m.Rev)
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		names string
		want  yolo.Labels
	}{
		{" [a, b]", yolo.Labels{0: "a", 1: "b"}},
		{"\n- a\n- b", yolo.Labels{0: "a", 1: "b"}},
		{"\n  7: a\n  1000: b", yolo.Labels{7: "a", 1000: "b"}},
		{"\n  0: on\n  1: 5\n  2: 1.50\n  3: no\n  4: 2024-01-01\n  5: 0x1F", yolo.Labels{0: "on", 1: "5", 2: "1.50", 3: "no", 4: "2024-01-01", 5: "0x1F"}},
		{"\n  \"0\": a\n  01: b", yolo.Labels{0: "a", 1: "b"}},
		{"\n  0:\n  1: ~\n  2: ''\n  3: 'null'", yolo.Labels{3: "null"}},
		{"\n  0: &x a\n  1: *x", yolo.Labels{0: "a", 1: "a"}},
		{" {0: a, 1: 'b: c'}", yolo.Labels{0: "a", 1: "b: c"}},
	} {
		if d := cmp.Diff(c.want, model(t, withNames(c.names)).Labels); d != "" {
			t.Errorf("names:%s: %s", c.names, d)
		}
	}
}

func TestAccepted(t *testing.T) {
	for _, c := range []struct {
		labels string
		size   int
	}{
		{with("input_size", "input_size: 320"), 320},
		{with("input_size", "input_size: '320'"), 320},
		{with("input_size", "input_size: 320X320"), 320},
		{with("input_size", "input_size: 320 x 320"), 320},
		{with("input_size", "input_size: 640x480"), 640},
		{with("input_size", "input_size: [480, 640]"), 640},
		{with("input_size", "input_size:"), 0},
		{with("input_size", ""), 0},
		{"\ufeff" + good, 640},
		{"---\n" + good, 640},
		{with("description", "description: |\n  two\n  lines"), 640},
		{strings.ReplaceAll(good, "\n", "\r\n"), 640},
		{good + "extra: {deep: [1, 2]}\nextra: again\n", 640},
		{"x: &n\n  0: a\n" + with("names", "names: *n\nrest:"), 640},
	} {
		if got := model(t, c.labels).InputSize; got != c.size {
			t.Errorf("%q: InputSize = %d, want %d", c.labels, got, c.size)
		}
	}
}

func TestHead(t *testing.T) {
	for labels, want := range map[string]bool{good: false, good + "head: one2one\n": true, good + "head: one2many\n": false, good + "head:\n": false} {
		if got := model(t, labels).OneToOne; got != want {
			t.Errorf("%q: OneToOne = %v", labels, got)
		}
	}
}

// A checkpoint may have another head, found by a name that no folder has.
func TestOtherHead(t *testing.T) {
	checkpoint := with("model_path", "model_path: ./best.pt")
	for labels, id := range map[string]string{good: "", checkpoint: "m/one2one", checkpoint + "head: one2one\n": "m/one2many"} {
		dir := t.TempDir()
		folder(t, dir, "m", "")
		write(t, filepath.Join(dir, "m", "labels.yaml"), labels)
		write(t, filepath.Join(dir, "m", "best.pt"), "weights")
		c := open(t, catalog.Options{Dir: dir})
		m, other := c.All()[0], c.All()[0].OtherHead
		if id == "" {
			if other != nil {
				t.Errorf("an export has another head, %s", other.ID)
			}
			continue
		}
		want := *m
		want.ID, want.OneToOne, want.OtherHead = id, !m.OneToOne, nil
		if d := cmp.Diff(&want, other); d != "" {
			t.Error(d)
		}
		if found, ok := c.Model(id); !ok || found != other || len(c.All()) != 1 {
			t.Errorf("%s is not found, or listed", id)
		}
	}
}

func TestKeepAlive(t *testing.T) {
	for value, want := range map[string]time.Duration{"10m": 10 * time.Minute, "0": 0, "-1": -1, "'90'": 90 * time.Second} {
		got := model(t, good+"keep_alive: "+value+"\n").KeepAlive
		if got == nil || *got != want {
			t.Errorf("%s: %v", value, got)
		}
	}
	for _, labels := range []string{good, good + "keep_alive:\n"} {
		if got := model(t, labels).KeepAlive; got != nil {
			t.Errorf("%q: %v, want none", labels, *got)
		}
	}
}

func TestProblems(t *testing.T) {
	bomb := "a: &a [x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += fmt.Sprintf("%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	for _, c := range []struct {
		name, labels, field, msg, remedy string
	}{
		{"two keys", "model_name: broken\nmodel_family: YOLOv8\n", "version, model_path, task, names", "missing", "add them"},
		{"no model_name", with("model_name", ""), "model_name", "missing", "add it"},
		{"wrong keep_alive", good + "keep_alive: soon\n", "keep_alive", `"soon" is not a keep-alive`, "5m (a plain"},
		{"wrong head", good + "head: both\n", "head", "is not a head", "one2one"},
		{"no version", with("version", "version:"), "version", "missing", "add it"},
		{"no task", with("task", "task: ''"), "task", "missing", "add it"},
		{"no model_path", with("model_path", ""), "model_path", "missing", "add it"},
		{"no names", withNames(" {}"), "names", "missing or empty", "add it"},
		{"unknown task", with("task", "task: Detection"), "task", `"Detection" is not a task`, "segment, pose, obb"},
		{"task list", with("task", "task: [detect]"), "task", "line 5 is not a text", "task: TEXT"},
		{"name too long", with("model_name", "model_name: "+strings.Repeat("x", 1001)), "model_name", "longer than 1000", "shorten"},
		{"given twice", good + "task: segment\n", "task", "twice, on lines 5 and 13", "keep one"},
		{"merge", "<<: {version: 1}\n" + good, "<<", "merges", "write those fields out"},
		{"absolute", with("model_path", "model_path: /etc/best.onnx"), "model_path", "is absolute", "relative"},
		{"dots", with("model_path", "model_path: ../m/best.onnx"), "model_path", "leads out", "remove the .."},
		{"backslash", with("model_path", `model_path: .\best.onnx`), "model_path", "backslash", "slashes"},
		{"extension", with("model_path", "model_path: best.engine"), "model_path", `"best.engine" is neither .onnx nor .pt`, "export"},
		{"no weights", with("model_path", "model_path: worst.pt"), "model_path", `"worst.pt" does not exist`, "copy the file"},
		{"weights folder", with("model_path", "model_path: dir.pt"), "model_path", "is a folder", "regular file"},
		{"zero byte", with("model_path", `model_path: "a\0.pt"`), "model_path", "cannot be read", "check the name"},
		{"no size", with("input_size", "input_size: big"), "input_size", `"big" is not a size`, "640x640"},
		{"zero size", with("input_size", "input_size: 0x640"), "input_size", "not a size", "640x640"},
		{"huge size", with("input_size", "input_size: 9000"), "input_size", "not a size", "8192"},
		{"four sizes", with("input_size", "input_size: [1, 3, 640, 640]"), "input_size", `"1x3x640x640" is not`, "640x640"},
		{"bad id", good + "id: -1\n", "id", `"-1" is not a model id`, "whole number"},
		{"text id", good + "id: first\n", "id", "not a model id", "whole number"},
		{"negative class", withNames("\n  -1: a"), "names", `"-1" for a class number`, "0: person"},
		{"named class", withNames("\n  fire: a"), "names", `line 11 has "fire"`, "0: person"},
		{"class twice", withNames("\n  1: a\n  01: b"), "names", "class 1 a second time", "keep one"},
		{"class list", withNames("\n  1: [a]"), "names", "no text for class 1", "0: person"},
		{"names text", withNames(" many"), "names", "neither a list", "0: person"},
		{"long name", withNames("\n  1: " + strings.Repeat("x", 1001)), "names", "longer than 1000 bytes for class 1", "shorten"},
		{"many names", withNames(" [" + strings.Repeat("a,", 100_001) + "]"), "names", "more than 100000", "keep the classes"},
		{"more names", withNames(" [" + strings.Repeat("a,", 1_000_000) + "]"), "labels.yaml", "more lines and entries than", "keep the classes"},
		{"bomb", bomb + with("names", "names: *j\nrest:"), "names", "no text for class 0", "0: person"},
		{"too large", "# " + strings.Repeat("x", 4<<20) + "\n" + good, "labels.yaml", "larger than 4 MiB", "smaller"},
		{"deep", withNames(" " + strings.Repeat("[", 200_000)), "labels.yaml", "not YAML", "correct"},
		{"tab", with("task", "task:\n\tdetection"), "labels.yaml", "not YAML: line", "not tabs"},
		{"not YAML", "model_name: [\n", "labels.yaml", "not YAML: line", "correct that line"},
		{"list", "- a\n", "labels.yaml", "not a list of fields", "one field a line"},
		{"empty", "", "labels.yaml", "is empty", "write model_name"},
		{"only comments", "# soon\n", "labels.yaml", "is empty", "write model_name"},
		{"GBK", "model_name: \xc3\xf7\xbb\xf0\n", "labels.yaml", "not UTF-8", "iconv"},
		{"UTF-16", "\xff\xfea\x00:\x00 \x00b\x00", "labels.yaml", "not UTF-8", "iconv"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "m", "labels.yaml"), c.labels)
			write(t, filepath.Join(dir, "m", "best.onnx"), "weights")
			write(t, filepath.Join(dir, "m", "dir.pt", "x"), "")
			write(t, filepath.Join(dir, "ok", "labels.yaml"), good)
			write(t, filepath.Join(dir, "ok", "best.onnx"), "weights")
			refused(t, open(t, catalog.Options{Dir: dir}), "m", c.field, c.msg, c.remedy)
		})
	}
}

// refused checks that folder is the only problem, and the model ok is served.
func refused(t *testing.T, c *catalog.Catalog, folder, field, msg, remedy string) {
	t.Helper()
	if len(c.All()) != 1 || c.All()[0].ID != "ok" || c.All()[0].Index != 0 {
		t.Errorf("%d models served, want ok as 0 only", len(c.All()))
	}
	if len(c.Problems()) != 1 {
		t.Fatalf("problems: %v", c.Problems())
	}
	p := c.Problems()[0]
	if p.Folder != folder || p.Field != field || !strings.Contains(p.Msg, msg) || !strings.Contains(p.Remedy, remedy) {
		t.Errorf("%+v\nwant %s, %s, …%s…, …%s…", p, folder, field, msg, remedy)
	}
	if s := p.String(); len(s) > 600 || strings.Contains(s, "\n") {
		t.Errorf("not a line for a log: %q", s)
	}
}

func TestOddFiles(t *testing.T) {
	for _, c := range []struct {
		name  string
		make  func(m string) error
		field string
		msg   string
	}{
		{"nothing", func(m string) error { return nil }, "labels.yaml", "is missing"},
		{"folder", func(m string) error { return os.Mkdir(m+"/labels.yaml", 0o755) }, "labels.yaml", "is a folder"},
		{"pipe", func(m string) error { return syscall.Mkfifo(m+"/labels.yaml", 0o644) }, "labels.yaml", "is a pipe"},
		{"weights pipe", func(m string) error {
			return errors.Join(os.WriteFile(m+"/labels.yaml", []byte(good), 0o644), syscall.Mkfifo(m+"/best.onnx", 0o644))
		}, "model_path", "is a pipe"},
		{"link to itself", func(m string) error { return os.Symlink("labels.yaml", m+"/labels.yaml") }, "labels.yaml", "cannot be followed"},
		{"device", func(m string) error { return os.Symlink("/dev/zero", m+"/labels.yaml") }, "labels.yaml", "/dev/zero"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			m := filepath.Join(dir, "m")
			write(t, filepath.Join(m, "x"), "")
			write(t, filepath.Join(dir, "ok", "labels.yaml"), good)
			write(t, filepath.Join(dir, "ok", "best.onnx"), "weights")
			if err := c.make(m); err != nil {
				t.Fatal(err)
			}
			refused(t, open(t, catalog.Options{Dir: dir}), "m", c.field, c.msg, "")
		})
	}
}

func TestFolderName(t *testing.T) {
	for _, name := range []string{"a\nb", "\xc3\xf7"} {
		dir := t.TempDir()
		for _, folder := range []string{name, "ok"} {
			write(t, filepath.Join(dir, folder, "labels.yaml"), good)
			write(t, filepath.Join(dir, folder, "best.onnx"), "weights")
		}
		refused(t, open(t, catalog.Options{Dir: dir}), fmt.Sprintf("%q", name), "folder", "cannot be an id", "rename it")
	}
}

func TestUnreadable(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root can read every file")
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "m", "labels.yaml"), good)
	write(t, filepath.Join(dir, "ok", "labels.yaml"), good)
	write(t, filepath.Join(dir, "ok", "best.onnx"), "weights")
	if err := os.Chmod(filepath.Join(dir, "m", "labels.yaml"), 0); err != nil {
		t.Fatal(err)
	}
	refused(t, open(t, catalog.Options{Dir: dir}), "m", "labels.yaml", "permission denied", "make it readable")
}

func FuzzLabels(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(withNames(" [a, on, 5, ~, [b]]")))
	f.Add([]byte("x: &n {0: a}\n<<: *n\nnames: *n\n? [a]\n: b\n"))
	f.Add([]byte("names: |\n  0: a\n--- !!map\n%TAG x\n"))
	f.Add([]byte("id: 3\ninput_size: [640, *a]\nmodel_path: \"a\\0.pt\"\n"))
	dir := f.TempDir()
	write(f, filepath.Join(dir, "m", "best.onnx"), "weights")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, "m", "labels.yaml"), data, 0o644); err != nil {
			t.Fatal(err)
		}
		c := open(t, catalog.Options{Dir: dir})
		if len(c.All())+len(c.Problems()) != 1 {
			t.Fatalf("%d models, %v", len(c.All()), c.Problems())
		}
		for _, p := range c.Problems() {
			if p.Folder != "m" || p.Field == "" || p.Msg == "" || p.Remedy == "" {
				t.Fatalf("incomplete: %+v", p)
			}
		}
		for _, m := range c.All() {
			if m.Name == "" || m.Version == "" || m.TaskName == "" || m.Task == "" || len(m.Labels) == 0 || m.InputSize < 0 || m.Index < 0 {
				t.Fatalf("incomplete: %+v", m)
			}
			if m.Weights != filepath.Join(realPath(t, dir), "m", "best.onnx") {
				t.Fatalf("weights elsewhere: %q", m.Weights)
			}
		}
	})
}

// FuzzPlain checks the short way that most labels.yaml are read against the
// YAML parser, which gets to see a file as a whole when a comment ends it.
func FuzzPlain(f *testing.F) {
	f.Add(good)
	f.Add(good + "id: 3\n")
	for _, head := range []string{"description: 'x", "description: |", "description: \"x", "x: [a,", "- a", " a: b", "? a", "x: &a", "names: [a]", "{a: b}", "x: !!map", "--- {}", "a: b\nc", "a:\n- b"} {
		f.Add(with("description", head))
		f.Add(head + "\nnames:\n  0: a\n")
	}
	for _, name := range []string{"NULL", "~", "on", "1.50", "a b ", "- a", "a: b", "a #b", "明火", "a\u0301", "a\u2028b", "a\tb", "", "x\n   y", "a\n 2: b", "a\n"} {
		f.Add(withNames("\n  0: " + name))
	}
	dir := f.TempDir()
	write(f, filepath.Join(dir, "m", "best.onnx"), "weights")
	read := func(t *testing.T, labels string) (*yolo.Model, []catalog.Problem) {
		write(t, filepath.Join(dir, "m", "labels.yaml"), labels)
		c := open(t, catalog.Options{Dir: dir})
		if len(c.All()) == 0 {
			return nil, c.Problems()
		}
		m := *c.All()[0]
		m.Rev = ""
		return &m, nil
	}
	f.Fuzz(func(t *testing.T, labels string) {
		if strings.ContainsAny(labels, "|>") {
			t.Skip("block texts keep the line break before the comment")
		}
		m, p := read(t, labels)
		whole, wp := read(t, labels+"\n#\n")
		if d := cmp.Diff(whole, m); d != "" || len(p) > 0 && p[0].Field != wp[0].Field {
			t.Fatalf("%q: %s %v %v", labels, d, p, wp)
		}
	})
}

func realPath(t *testing.T, p string) string {
	t.Helper()
	p, err := filepath.EvalSymlinks(p)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
