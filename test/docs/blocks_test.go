package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the repository's folder, seen from here.
const root = "../.."

// A block is a fenced piece of code in a document.
type block struct {
	doc     string // path from the root
	line    int    // of the fence, for people who read the failure
	section int    // headings of the second level before it
	lang    string
	code    string
	marked  bool   // <!-- not run: why --> stands before it
	why     string // it is not run
}

// Languages of blocks: programs are run, the others say something.
var (
	programs = []string{"sh", "console", "python", "go", "js"}
	others   = []string{"", "text", "json", "yaml", "dockerfile", "ini"}
)

var (
	mark       = regexp.MustCompile(`^<!-- not run: (.*) -->$`)
	almostMark = regexp.MustCompile(`(?i)<!--\s*not.?run`)
)

// blocks reads the blocks of a document's text.
func blocks(doc, text string) []block {
	var out []block
	var marked, open bool
	var why string
	section := 0
	for i, line := range strings.Split(text, "\n") {
		switch {
		case open && line == "```":
			open = false
		case open:
			out[len(out)-1].code += line + "\n"
		case strings.HasPrefix(line, "```"):
			out = append(out, block{doc: doc, line: i + 1, section: section, lang: strings.TrimPrefix(line, "```"), marked: marked, why: why})
			open, marked, why = true, false, ""
		case mark.MatchString(line):
			marked, why = true, strings.TrimSpace(mark.FindStringSubmatch(line)[1])
		case strings.TrimSpace(line) != "":
			marked, why = false, ""
			if strings.HasPrefix(line, "## ") {
				section++
			}
		}
	}
	return out
}

// commands is what a shell runs of the block. In a console block that is what
// follows a dollar sign, with the lines that a backslash continues.
func (b block) commands() string {
	if b.lang != "console" {
		return b.code
	}
	var out strings.Builder
	more := false
	for line := range strings.Lines(b.code) {
		command, begins := strings.CutPrefix(line, "$ ")
		if begins || more {
			out.WriteString(command)
			more = strings.HasSuffix(strings.TrimRight(command, "\n"), `\`)
		}
	}
	return out.String()
}

func (b block) runs() bool { return slices.Contains(programs, b.lang) && !b.marked }

// documents lists the documents by path from the root. Of two languages one is
// listed: that their code is the same is for the tests in tools/docs.
func documents(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/en/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			rel, err := filepath.Rel(root, path)
			if err != nil {
				t.Fatal(err)
			}
			switch rel = filepath.ToSlash(rel); rel {
			case "README.zh.md", "docs/MEMORY_OPTIMIZATION_CN.md":
			default:
				out = append(out, rel)
			}
		}
	}
	return out
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestBlocksAreFound(t *testing.T) {
	text := "# A\n\n```sh\none\ntwo\n```\n\n## B\n\n<!-- not run: takes a day -->\n```sh\nthree\n```\n" +
		"\n<!-- not run: no -->\nwords\n```console\n$ four \\\n  five\noutput\n$ six\n```\n"
	got := blocks("x.md", text)
	if len(got) != 3 || got[0].commands() != "one\ntwo\n" || !got[0].runs() || got[0].section != 0 {
		t.Fatalf("%+v", got)
	}
	if got[1].runs() || got[1].why != "takes a day" || got[1].section != 1 {
		t.Errorf("a mark before a block: %+v", got[1])
	}
	if !got[2].runs() || got[2].commands() != "four \\\n  five\nsix\n" {
		t.Errorf("a mark before words, and a console: %+v, %q", got[2], got[2].commands())
	}
}

// Every block is of a kind that this test knows, and every mark has its reason
// and its block.
func TestBlocksAreRunOrMarked(t *testing.T) {
	run, marked := 0, 0
	for _, doc := range documents(t) {
		text := read(t, doc)
		marks := 0
		for _, b := range blocks(doc, text) {
			switch {
			case !slices.Contains(programs, b.lang) && !slices.Contains(others, b.lang):
				t.Errorf("%s: line %d: a block of %q: say in test/docs how it is run", doc, b.line, b.lang)
			case b.marked && !slices.Contains(programs, b.lang):
				t.Errorf("%s: line %d: a mark before %q, which is never run", doc, b.line, b.lang)
			case b.marked && len(b.why) < 10:
				t.Errorf("%s: line %d: the mark has no reason", doc, b.line)
			case b.runs():
				run++
			}
			if b.marked {
				marks++
			}
			text = strings.Replace(text, b.code, "", 1)
		}
		if n := len(almostMark.FindAllString(text, -1)); n != marks {
			t.Errorf("%s: %d marks, and %d blocks behind one: a mark is a line of its own before the fence, <!-- not run: reason -->", doc, n, marks)
		}
		marked += marks
	}
	t.Logf("%d blocks are run, %d are marked as not run", run, marked)
	if marked > run/2 {
		t.Errorf("%d blocks are not run, beside %d that are: too many", marked, run)
	}
}
