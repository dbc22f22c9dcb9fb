package annotate_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"lazyolo/internal/annotate"
	"lazyolo/internal/imaging"
	"lazyolo/yolo"
)

// album opens a Writer on a new folder; its log goes to the buffer.
func album(t *testing.T) (w *annotate.Writer, dir string, log *bytes.Buffer) {
	t.Helper()
	dir, log = filepath.Join(t.TempDir(), "made", "here"), new(bytes.Buffer)
	w, err := annotate.New(annotate.Options{Dir: dir, Painter: painter(), Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return w, dir, log
}

func encoded(t *testing.T, name string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := new(imaging.Codec).Encode(&b, name, grey(64, 48)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// TestWriter: Close draws what waits; a picture that cannot be drawn is logged and
// leaves nothing behind.
func TestWriter(t *testing.T) {
	w, dir, log := album(t)
	r := &yolo.Result{Objects: []yolo.Object{object(1, "x", 0.5, 5, 20, 40, 40)}}
	w.Save("a.jpg", encoded(t, "a.jpg"), r)
	w.Save("broken.jpg", []byte("no picture"), r)
	w.Save("../b.png", encoded(t, "b.png"), r)
	w.Save("图.png", encoded(t, "b.png"), r)
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(names(t, dir), " "); got != "a.jpg 图.png" {
		t.Errorf("the folder holds %s", got)
	}
	if n := strings.Count(log.String(), "cannot save"); n != 2 {
		t.Errorf("%d complaints: %s", n, log)
	}
	data, err := os.ReadFile(filepath.Join(dir, "图.png"))
	if err != nil {
		t.Fatal(err)
	}
	img, err := new(imaging.Codec).Decode(data, nil)
	if err != nil || bytes.Equal(img.Pix, grey(64, 48).Pix) {
		t.Errorf("nothing is drawn, %v", err)
	}
	w.Save("late.png", encoded(t, "b.png"), r)
	if w.Dropped() != 1 {
		t.Errorf("%d pictures dropped, want the late one", w.Dropped())
	}
}

// TestDropped: what comes faster than it can be drawn is dropped, oldest first,
// and each picture is either written or counted.
func TestDropped(t *testing.T) {
	w, dir, _ := album(t)
	data := encoded(t, "a.png")
	const n = 200
	for i := range n {
		w.Save(strconv.Itoa(i)+".png", data, &yolo.Result{})
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	written := names(t, dir)
	if len(written)+int(w.Dropped()) != n {
		t.Errorf("%d written and %d dropped of %d", len(written), w.Dropped(), n)
	}
	if _, err := os.Stat(filepath.Join(dir, strconv.Itoa(n-1)+".png")); err != nil {
		t.Error("the newest was dropped")
	}
}

func TestNoFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := annotate.New(annotate.Options{Dir: file, Painter: painter()}); err == nil {
		t.Error("a file was taken for a folder")
	}
}
