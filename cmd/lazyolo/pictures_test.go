package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lazyolo/internal/config"
)

func TestReadMost(t *testing.T) {
	if data, err := readMost(strings.NewReader("12345"), 5); err != nil || string(data) != "12345" {
		t.Errorf("as much as may be: %q %v", data, err)
	}
	if _, err := readMost(strings.NewReader("123456"), 5); err == nil || !strings.Contains(err.Error(), "MAX_BODY_MB") {
		t.Errorf("one more: %v", err)
	}
}

func TestFindPictures(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"b.jpg", "a.PNG", "notes.txt", "in/c.webp", "in/.hidden/d.jpg", "in/.e.jpg", "[x].jpg", "empty/notes.txt"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(name), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args []string
		want []string // names, "!" where reading fails
	}{
		{[]string{"b.jpg"}, []string{"b.jpg"}},
		{[]string{"notes.txt"}, []string{"notes.txt"}}, // named by somebody: read, whatever it is called
		{[]string{"."}, []string{"[x].jpg", "a.PNG", "b.jpg", "in/c.webp"}},
		{[]string{"in", "b.jpg", "in"}, []string{"in/c.webp", "b.jpg", "in/c.webp"}},
		{[]string{"*.jpg"}, []string{"[x].jpg", "b.jpg"}},
		{[]string{"[x].jpg"}, []string{"[x].jpg"}},       // as it is there
		{[]string{"i*"}, []string{"in/c.webp"}},          // a folder
		{[]string{"*.gif"}, []string{"*.gif!"}},          // nothing
		{[]string{"none.jpg"}, []string{"none.jpg!"}},    // not there
		{[]string{"empty"}, []string{"empty!"}},          // no picture in it
		{[]string{"-", "b.jpg"}, []string{"-", "b.jpg"}}, // standard input
	} {
		found, err := findPictures(c.args, strings.NewReader("-"), 100)
		if err != nil {
			t.Errorf("%q: %v", c.args, err)
			continue
		}
		var got []string
		for _, p := range found {
			data, err := p.read()
			name := p.name
			if err != nil {
				name += "!"
			} else if string(data) != p.name {
				t.Errorf("%q: %s holds %q", c.args, p.name, data)
			}
			got = append(got, name)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%q (-want +got):\n%s", c.args, d)
		}
	}
	var usage *config.UsageError
	for _, args := range [][]string{{"-", "-"}, {"["}} {
		if _, err := findPictures(args, nil, 1); !errors.As(err, &usage) {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestNameOutputs(t *testing.T) {
	pictures := []picture{{name: "a.jpg"}, {name: "x/a.jpg"}, {name: "a-2.jpg"}, {name: "-"}, {name: "y/a.jpg"}, {name: "b.PNG"}, {name: "a.webp"}, {name: "plain"}}
	if err := nameOutputs(pictures, "out"); err != nil {
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
		if err := nameOutputs([]picture{{name: "b/a.jpg"}, {name: c.name}}, c.dir); !errors.As(err, &usage) || usage.Setting != "--save" {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
