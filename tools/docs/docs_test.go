package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"lazyolo/internal/config"
)

// root is the repository's folder, seen from here.
const root = "../.."

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// documents lists every document of a human hand or ours, by path from the root.
func documents(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	for _, lang := range []string{"en", "zh"} {
		for _, name := range inLanguage(t, lang) {
			names = append(names, filepath.Join(root, "docs", lang, name))
		}
	}
	for i, name := range names {
		rel, err := filepath.Rel(root, name)
		if err != nil {
			t.Fatal(err)
		}
		names[i] = filepath.ToSlash(rel)
	}
	return names
}

// inLanguage lists the files below docs/lang.
func inLanguage(t *testing.T, lang string) []string {
	t.Helper()
	dir := filepath.Join(root, "docs", lang)
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		names = append(names, filepath.ToSlash(rel))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// twins pairs the documents that exist in both languages.
func twins(t *testing.T) [][2]string {
	out := [][2]string{{"README.md", "README.zh.md"}, {"docs/MEMORY_OPTIMIZATION.md", "docs/MEMORY_OPTIMIZATION_CN.md"}}
	for _, name := range inLanguage(t, "en") {
		out = append(out, [2]string{"docs/en/" + name, "docs/zh/" + name})
	}
	return out
}

func TestConfigurationIsUpToDate(t *testing.T) {
	pages, err := render()
	if err != nil {
		t.Fatal(err)
	}
	for lang, want := range pages {
		name := "docs/" + lang + "/" + pageName
		if d := cmp.Diff(want, read(t, name)); d != "" {
			t.Errorf("%s is out of date; run: go run ./tools/docs\n%s", name, d)
		}
	}
}

// What SIGHUP changes stands in the manual.
func TestConfigurationNamesLiveSettings(t *testing.T) {
	var live []string
	for _, s := range config.Settings() {
		if s.Live {
			live = append(live, "`"+s.Name+"`")
		}
	}
	last := len(live) - 1
	want := "take effect at once: " + strings.Join(live[:last], ", ") + " and " + live[last] + "."
	if !strings.Contains(read(t, "docs/en/"+pageName), want) {
		t.Errorf("the configuration page does not say: %s", want)
	}
}

func TestParseRefusesWhatIsNoTranslation(t *testing.T) {
	for _, s := range []string{"alone", "a\nb\nc", "a\nb\n\na\nc"} {
		if _, err := parse(s); err == nil {
			t.Errorf("%q: no error", s)
		}
	}
}

func TestLanguagesHaveTheSameFiles(t *testing.T) {
	if d := cmp.Diff(inLanguage(t, "en"), inLanguage(t, "zh")); d != "" {
		t.Errorf("docs/en and docs/zh (-en +zh):\n%s", d)
	}
}

// A block is what can be compared between languages: the level of a heading, the
// rows of a table, the items of a list, a paragraph, or a piece of code with all
// its text.
type block struct {
	kind string
	rows int
	code string
}

// shape reads the blocks of a document.
func shape(text string) []block {
	var out []block
	var last string // kind of the line before; "" after a blank one
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		kind := "text"
		switch {
		case last == "code" && line == "```":
			last = ""
			continue
		case last == "code":
			out[len(out)-1].code += line + "\n"
			continue
		case strings.HasPrefix(line, "```"):
			out = append(out, block{kind: line})
			last = "code"
			continue
		case line == "":
			last = ""
			continue
		case strings.HasPrefix(line, "#"):
			kind, _, _ = strings.Cut(line, " ")
		case strings.HasPrefix(line, "|"):
			kind = "table of " + strings.Repeat("|", strings.Count(strings.ReplaceAll(line, `\|`, ""), "|"))
		case strings.HasPrefix(line, "- "):
			kind = "list"
		}
		if kind == last && kind != "text" {
			out[len(out)-1].rows++
		} else if kind != last {
			out = append(out, block{kind: kind, rows: 1})
		}
		last = kind
	}
	return out
}

func TestLanguagesHaveTheSameShape(t *testing.T) {
	for _, pair := range twins(t) {
		en, zh := shape(read(t, pair[0])), shape(read(t, pair[1]))
		if d := cmp.Diff(en, zh, cmp.AllowUnexported(block{})); d != "" {
			t.Errorf("%s and %s differ in headings, tables, lists, paragraphs or code (-en +zh):\n%s", pair[0], pair[1], d)
		}
	}
}

func TestReadmesLinkEachOther(t *testing.T) {
	for _, pair := range [][2]string{{"README.md", "README.zh.md"}, {"README.zh.md", "README.md"}} {
		lines := strings.Split(read(t, pair[0]), "\n")
		if len(lines) < 3 || !strings.Contains(lines[2], "]("+pair[1]+")") {
			t.Errorf("%s does not link %s right below its title", pair[0], pair[1])
		}
		if len(lines) > 70 {
			t.Errorf("%s has %d lines: it is to be one screen", pair[0], len(lines))
		}
	}
}

func TestReadmesLinkEveryDocument(t *testing.T) {
	for lang, readme := range map[string]string{"en": "README.md", "zh": "README.zh.md"} {
		text := read(t, readme)
		for _, name := range inLanguage(t, lang) {
			if !strings.Contains(text, "](docs/"+lang+"/"+name+")") {
				t.Errorf("%s does not link docs/%s/%s", readme, lang, name)
			}
		}
	}
}

var (
	measured = regexp.MustCompile(`[+-]?(\d+\.\d+) ?(?:MB|ms|s|x)\b`)
	decimal  = regexp.MustCompile(`\d+\.\d+`)
)

// Figures outside the benchmarks are the benchmarks'.
func TestFiguresAreMeasured(t *testing.T) {
	known := decimal.FindAllString(read(t, "docs/en/benchmarks.md"), -1)
	for _, name := range documents(t) {
		if strings.HasPrefix(name, "docs/en/") || strings.HasPrefix(name, "docs/zh/") || name == "CHANGELOG.md" {
			continue
		}
		for _, m := range measured.FindAllStringSubmatch(read(t, name), -1) {
			if !slices.Contains(known, m[1]) {
				t.Errorf("%s says %q, which is no figure of docs/en/benchmarks.md", name, m[0])
			}
		}
	}
}

// refused are patterns that must not stand in documents, and why.
var refused = []struct {
	pattern *regexp.Regexp
	why     string
}{
	{regexp.MustCompile(`(?m)(^|[\s"'(=:@\x60])/(work|root|home|tmp|Users|mnt|private|var/folders)/`), "it is true on one machine only"},
	{regexp.MustCompile(`\.(go|c|h|sh|py):\d+|#L\d+|\.(go|c|h|sh|py),? lines? \d+`), "line numbers move"},
	{regexp.MustCompile(`registry\.npmjs|pypi\.org|pythonhosted\.org|proxy\.golang\.org`), "package managers know their registry"},
	{regexp.MustCompile(`\b(TODO|FIXME):`), "file an issue"},
	{regexp.MustCompile(`(?m)^(<<<<<<<|>>>>>>>) `), "a merge is not finished"},
}

func TestDocumentsHoldOnEveryMachine(t *testing.T) {
	for _, name := range documents(t) {
		text := read(t, name)
		for _, r := range refused {
			if m := r.pattern.FindString(text); m != "" {
				t.Errorf("%s: %q: %s", name, m, r.why)
			}
		}
	}
}

// TestArchitectureNamesEveryPackage keeps the picture and the code together.
func TestArchitectureNamesEveryPackage(t *testing.T) {
	text := read(t, "docs/en/architecture.md") // the other language has the same rows
	found, err := filepath.Glob(filepath.Join(root, "internal", "*", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	packages := map[string]bool{"yolo": true, "web": true, "cmd/lazyolo": true}
	for _, file := range found {
		packages["internal/"+filepath.Base(filepath.Dir(file))] = true
	}
	for p := range packages {
		if !strings.Contains(text, "`"+p+"`") {
			t.Errorf("docs/en/architecture.md does not say what %s is for; add it to the table, in both languages", p)
		}
	}
	for _, m := range regexp.MustCompile("`(internal/[a-z]+)`").FindAllStringSubmatch(text, -1) {
		if !packages[m[1]] {
			t.Errorf("docs/en/architecture.md names %s, which has no Go files", m[1])
		}
	}
}

var (
	link    = regexp.MustCompile(`\[[^\]]*\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	fenced  = regexp.MustCompile("(?ms)^```.*?^```$")
)

// anchors returns the fragments that lead to the headings of a document, made as
// the usual Markdown viewers make them.
func anchors(text string) []string {
	var out []string
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		slug := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1])
		out = append(out, slug)
	}
	return out
}

func TestLinksResolve(t *testing.T) {
	for _, name := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(fenced.ReplaceAllString(read(t, name), ""), -1) {
			target, fragment, _ := strings.Cut(m[1], "#")
			if strings.HasPrefix(target, "https://") {
				continue
			}
			path := filepath.ToSlash(filepath.Join(filepath.Dir(name), target))
			if target == "" {
				path = name
			}
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s links %s, which is not there", name, m[1])
				continue
			}
			if fragment != "" && !slices.Contains(anchors(read(t, path)), fragment) {
				t.Errorf("%s links %s: no heading of %s gives that fragment", name, m[1], path)
			}
		}
	}
}
