package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"lazyolo/internal/config"
	"lazyolo/internal/core"
)

// given is a picture of a size that data comes from.
func given(size int64, data string) picture {
	return picture{size: size, open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(data)), nil }}
}

func TestReadAPicture(t *testing.T) {
	room := readAhead([]picture{given(5, "")}, 1<<30, 5)
	data, done, err := room.read(t.Context(), given(5, "12345"))
	if err != nil || string(data) != "12345" {
		t.Errorf("as much as may be: %q %v", data, err)
	}
	done()
	data, done, err = room.read(t.Context(), given(5, "123"))
	if err != nil || string(data) != "123" {
		t.Errorf("less, as it became shorter: %q %v", data, err)
	}
	done()
	_, done, err = room.read(t.Context(), given(5, "123456"))
	if err == nil || !strings.Contains(err.Error(), "grew") {
		t.Errorf("one more: %v", err)
	}
	done()
	piped := []picture{given(streamed, "123456")}
	_, done, err = readAhead(piped, 1<<30, 5).read(t.Context(), piped[0])
	if err == nil || !strings.Contains(err.Error(), "MAX_BODY_MB") {
		t.Errorf("one more of a pipe: %v", err)
	}
	done()
	_, done, err = room.read(t.Context(), given(6, "123456"))
	if err == nil || !strings.Contains(err.Error(), "MAX_MEMORY_MB") {
		t.Errorf("more than can be spared: %v", err)
	}
	done()
}

// What is read ahead is as much as the largest, or a part of the budget, and waits for what
// was read before; of a pipe a part of the budget is read.
func TestReadAhead(t *testing.T) {
	for _, c := range []struct {
		name         string
		budget, most int64
		sizes        []int64
		want         int64
	}{
		{"a part of the budget", 320 * mib, 64 * mib, []int64{9 * mib, 9 * mib}, 10 * mib},
		{"all of them", 1 << 40, 64 * mib, []int64{9 * mib, 9 * mib}, 18 * mib},
		{"the largest", 320 * mib, 64 * mib, []int64{48 * mib, 48 * mib, 1}, 48 * mib},
		{"what can be spared", leastBudget + 3*mib, 64 * mib, []int64{48 * mib}, 3 * mib},
		{"a pipe", 320 * mib, 64 * mib, []int64{streamed}, 40 * mib},
		{"a pipe, as much as may be", 320 * mib, 4 * mib, []int64{streamed}, 4 * mib},
	} {
		var pictures []picture
		for _, size := range c.sizes {
			pictures = append(pictures, given(size, "x"))
		}
		if got := readAhead(pictures, c.budget, c.most).bytes; got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		room := readAhead([]picture{given(5, "")}, leastBudget+mib, 5)
		_, done, err := room.read(t.Context(), given(5, "12345"))
		if err != nil {
			t.Fatal(err)
		}
		read := make(chan error)
		go func() {
			_, done, err := room.read(t.Context(), given(5, "12345"))
			defer done()
			read <- err
		}()
		time.Sleep(time.Minute) // longer than a body of the server waits
		select {
		case err := <-read:
			t.Errorf("a second was read beside the first: %v", err)
		default:
		}
		done()
		if err := <-read; err != nil {
			t.Error(err)
		}
	})
}

// leastBudget is the smallest budget.
var leastBudget = func() int64 {
	n := int64(1 << 30)
	return n - core.Spare(n)
}()

// A pipe from which nothing comes is left when the command is interrupted.
func TestReadingIsLeft(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	look := search{stdin: r, most: 100}
	pictures, err := look.pictures([]string{"-"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, _, err := readAhead(pictures, 1<<30, 100).read(ctx, pictures[0]); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestFindPictures(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"b.jpg", "a.PNG", "notes.txt", "in/c.webp", "in/.hidden/d.jpg", "in/.e.jpg", "[x].jpg", "empty/notes.txt", "saved/f.jpg", "large/123456789012345.jpg"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(name), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	err := errors.Join(os.Mkdir("odd", 0o755), unix.Mkfifo("odd/fifo.jpg", 0o600), os.Symlink("../b.jpg", "odd/link.jpg"), os.Symlink("../in", "odd/in.jpg"),
		os.Symlink("none", "odd/none.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want []string // names, "!" where reading fails
	}{
		{[]string{"b.jpg"}, []string{"b.jpg"}},
		{[]string{"notes.txt"}, []string{"notes.txt"}}, // named by somebody: read, whatever it is called
		{[]string{"."}, []string{"[x].jpg", "a.PNG", "b.jpg", "in/c.webp", "large/123456789012345.jpg!", "odd/link.jpg", "odd/none.jpg!"}},
		{[]string{"saved"}, []string{"saved/f.jpg"}}, // named by somebody
		{[]string{"in", "b.jpg", "in"}, []string{"in/c.webp", "b.jpg", "in/c.webp"}},
		{[]string{"*.jpg"}, []string{"[x].jpg", "b.jpg"}},
		{[]string{"[x].jpg"}, []string{"[x].jpg"}},       // as it is there
		{[]string{"i*"}, []string{"in/c.webp"}},          // a folder
		{[]string{"*.gif"}, []string{"*.gif!"}},          // nothing
		{[]string{"none.jpg"}, []string{"none.jpg!"}},    // not there
		{[]string{"empty"}, []string{"empty!"}},          // no picture in it
		{[]string{"-", "b.jpg"}, []string{"-", "b.jpg"}}, // standard input
	} {
		look := search{stdin: strings.NewReader("-"), most: 20, not: "saved"}
		found, err := look.pictures(c.args)
		if err != nil {
			t.Errorf("%q: %v", c.args, err)
			continue
		}
		var got []string
		room := readAhead(found, 1<<30, 20)
		for _, p := range found {
			data, done, err := room.read(t.Context(), p)
			text := string(data)
			done()
			name := p.name
			if err != nil {
				name += "!"
			} else if text != p.name && p.name != "odd/link.jpg" {
				t.Errorf("%q: %s holds %q", c.args, p.name, text)
			}
			got = append(got, name)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%q (-want +got):\n%s", c.args, d)
		}
	}
	var usage *config.UsageError
	for _, args := range [][]string{{"-", "-"}, {"["}} {
		if _, err := new(search).pictures(args); !errors.As(err, &usage) {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestNameOutputs(t *testing.T) {
	pictures := []picture{{name: "a.jpg"}, {name: "x/a.jpg"}, {name: "a-2.jpg"}, {name: "-"}, {name: "y/a.jpg"}, {name: "b.PNG"}, {name: "a.webp"}, {name: "plain"}}
	if err := nameOutputs(pictures, "out", false); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range pictures {
		got = append(got, p.output)
	}
	want := []string{"out/a.jpg", "out/a-2.jpg", "out/a-2-2.jpg", "out/stdin.jpg", "out/a-3.jpg", "out/b.PNG", "out/a-4.jpg", "out/plain.jpg"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// A picture that is read is never replaced, whatever the folder is called.
func TestSaveReplacesNoPicture(t *testing.T) {
	t.Chdir(t.TempDir())
	err := errors.Join(os.Mkdir("in", 0o755), os.WriteFile("in/a.jpg", nil, 0o600), os.Symlink("in", "link"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, dir string }{{"in/a.jpg", "in"}, {"in/a.jpg", "link"}, {"link/a.jpg", "in"}, {"./in/a.jpg", "in/../in"}} {
		var usage *config.UsageError
		if err := nameOutputs([]picture{{name: "b/a.jpg"}, {name: c.name}}, c.dir, true); !errors.As(err, &usage) || usage.Setting != "--save" {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// Nor is any other file replaced, unless that is asked for.
func TestSaveReplacesWhenForced(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("x.jpg", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var h hinted
	if err := nameOutputs([]picture{{name: "in/x.webp"}}, ".", false); !errors.As(err, &h) || !strings.Contains(h.hint, "--force") {
		t.Errorf("%v", err)
	}
	pictures := []picture{{name: "in/x.webp"}}
	if err := nameOutputs(pictures, ".", true); err != nil || pictures[0].output != "x.jpg" {
		t.Errorf("%v %v", pictures, err)
	}
}

// A folder that cannot be read is told by its own name, and the others are searched.
func TestUnreadableFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("b", 0o755); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat("b")
	if err != nil {
		t.Fatal(err)
	}
	var look search
	if err := look.visit("b", fs.FileInfoToDirEntry(st), fs.ErrPermission, false); !errors.Is(err, fs.SkipDir) {
		t.Errorf("the walk goes on with %v", err)
	}
	if len(look.found) != 1 || look.found[0].name != "b" || !errors.Is(look.found[0].err, fs.ErrPermission) {
		t.Errorf("%+v", look.found)
	}
}
