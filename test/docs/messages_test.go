package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	// between are what separates the fixed pieces of a message: values, names and
	// punctuation.
	between  = regexp.MustCompile(`[0-9,;:()"'…=]+|model_\w*|\b(?:MiB|MB|min|ms)\b`)
	sentence = regexp.MustCompile(`^[a-z][a-z]*(?: [a-zA-Z_.]+){2,}$`)
)

// TestMessagesAreSaid holds the messages that documents quote, in blocks of text
// and in code of at least three plain words, to what the program can say.
func TestMessagesAreSaid(t *testing.T) {
	source := sources(t)
	n := 0
	check := func(doc, message string) {
		for _, piece := range pieces(message) {
			n++
			if !said(source, piece) {
				t.Errorf("%s quotes %q: the program says no %q", doc, message, piece)
			}
		}
	}
	for _, doc := range documents(t) {
		if doc == "CHANGELOG.md" || doc == "CONTRIBUTING.md" {
			continue
		}
		text := read(t, doc)
		for _, b := range blocks(doc, text) {
			if b.lang == "text" && doc != "docs/en/cli.md" { // which shows a table
				for line := range strings.Lines(b.code) {
					check(doc, strings.TrimSpace(line))
				}
			}
		}
		for _, m := range inline.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
			if first, _, _ := strings.Cut(m[1], " "); sentence.MatchString(m[1]) && !slices.Contains(tools, first) {
				check(doc, m[1])
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d pieces found", n)
	}
}

// tools are programs with which quoted commands begin.
var tools = []string{"lazyolo", "make", "go", "git", "sudo", "docker", "systemctl", "journalctl", "pip", "npm", "curl", "apt-get", "pkill"}

// pieces are the parts of a message that are always the same, of three words or more.
func pieces(message string) []string {
	var out []string
	for _, p := range between.Split(message, -1) {
		if p = strings.TrimSpace(p); len(strings.Fields(p)) >= 3 && !strings.Contains(p, "/") {
			out = append(out, p)
		}
	}
	return out
}

// said reports whether the program's text has the piece, or all of it but two
// words, which may be values.
func said(source, piece string) bool {
	if piece == "address already in use" { // is what the system says
		return true
	}
	words := strings.Fields(piece)
	n := max(2, len(words)-2)
	for i := range len(words) - n + 1 {
		if strings.Contains(source, strings.Join(words[i:i+n], " ")) {
			return true
		}
	}
	return false
}

// sources is the text of the program.
func sources(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, dir := range []string{"cmd", "internal", "yolo", "web"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") || !slices.Contains([]string{".go", ".js", ".c"}, filepath.Ext(path)) {
				return err
			}
			b, err := os.ReadFile(path)
			all.Write(b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}
