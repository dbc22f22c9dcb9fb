package docs

import (
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestMarkedBlocksNameWhatIsThere looks at the blocks that are not run: the
// commands, flags, targets, tests and files of ours that they name exist, and
// programs are well-formed.
func TestMarkedBlocksNameWhatIsThere(t *testing.T) {
	for _, doc := range documents(t) {
		for _, b := range blocks(doc, read(t, doc)) {
			if !b.marked {
				continue
			}
			for _, problem := range namesWhatIsNotThere(t, b) {
				t.Errorf("%s: line %d: %s", doc, b.line, problem)
			}
		}
	}
}

func namesWhatIsNotThere(t *testing.T, b block) []string {
	t.Helper()
	switch b.lang {
	case "sh", "console":
		var out []string
		for command := range strings.SplitSeq(separators.ReplaceAllString(continued.ReplaceAllString(b.commands(), " "), "\n"), "\n") {
			if problem := notThere(t, strings.Fields(command)); problem != "" {
				out = append(out, problem)
			}
		}
		return out
	case "go":
		if _, err := parser.ParseFile(token.NewFileSet(), "", b.code, parser.SkipObjectResolution); err != nil {
			return []string{err.Error()}
		}
		return nil
	}
	tool, args := "python3", []string{"-c", "import ast,sys; ast.parse(sys.stdin.read())"}
	if b.lang == "js" {
		tool, args = "node", []string{"--check", "--input-type=module", "-"}
	}
	if _, err := exec.LookPath(tool); err != nil {
		return nil
	}
	cmd := exec.Command(tool, args...)
	cmd.Stdin = strings.NewReader(b.code)
	if said, err := cmd.CombinedOutput(); err != nil {
		return []string{fmt.Sprintf("%v: %s", err, said)}
	}
	return nil
}

var (
	continued  = regexp.MustCompile(`\\\n`)
	separators = regexp.MustCompile(`&&|\|\||[;|]`)
	assignment = regexp.MustCompile(`^[A-Z_]+=`)
)

// notThere says what of a command does not exist; "" when all is well, or it is
// none of ours.
func notThere(t *testing.T, words []string) string {
	t.Helper()
	for len(words) > 0 && (assignment.MatchString(words[0]) || words[0] == "sudo") {
		words = words[1:]
	}
	if len(words) > 2 && words[0] == "-u" { // of sudo
		words = words[2:]
	}
	if len(words) < 2 {
		return ""
	}
	switch name := words[0]; {
	case filepath.Base(name) == "lazyolo":
		return noCommand(t, words[1:])
	case name == "make":
		for _, target := range words[1:] {
			if !assignment.MatchString(target) && !regexp.MustCompile(`(?m)^`+target+`:`).MatchString(read(t, "Makefile")) {
				return "no target " + target + " in the Makefile"
			}
		}
	case name == "go" && (words[1] == "test" || words[1] == "run"):
		return noTest(words[2:])
	case name == "sh":
		if _, err := os.Stat(filepath.Join(root, words[1])); err != nil {
			return "no file " + words[1]
		}
	}
	return ""
}

// noTest looks for the packages and the tests that go test and go run name.
func noTest(words []string) string {
	var dirs, names []string
	for i, w := range words {
		switch {
		case strings.HasPrefix(w, "./"):
			dirs = append(dirs, strings.TrimSuffix(w, "/..."))
		case i > 0 && (words[i-1] == "-run" || words[i-1] == "-fuzz") && regexp.MustCompile(`^\w+$`).MatchString(w):
			names = append(names, w)
		}
	}
	for _, dir := range dirs {
		if info, err := os.Stat(filepath.Join(root, dir)); err != nil || !info.IsDir() {
			return "no package " + dir
		}
		for _, name := range names {
			files, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
			if err != nil {
				return err.Error()
			}
			if !slices.ContainsFunc(files, func(file string) bool {
				b, err := os.ReadFile(file)
				return err == nil && regexp.MustCompile(`(?m)^func \w*`+name).Match(b)
			}) {
				return "no test " + name + " in " + dir
			}
		}
	}
	return ""
}

var aFlag = regexp.MustCompile(`^--?[a-z][a-z0-9-]*`)

// noCommand asks the program for a command's help and looks for the flags there.
func noCommand(t *testing.T, words []string) string {
	t.Helper()
	if words[0] == "help" {
		if len(words) == 1 || words[1] == "settings" || words[1] == "COMMAND" {
			return ""
		}
		words = words[1:]
	}
	help, err := exec.Command(built, words[0], "--help").CombinedOutput()
	if err != nil {
		return fmt.Sprintf("lazyolo %s --help: %v: %s", words[0], err, help)
	}
	settings, err := exec.Command(built, "help", "settings").Output()
	if err != nil {
		return fmt.Sprintf("lazyolo help settings: %v", err)
	}
	help = append(help, settings...)
	for _, w := range words[1:] {
		if f := aFlag.FindString(w); f != "" && f != "--config" && f != "--help" { // which all take
			if !regexp.MustCompile(`(?m)^\s*--?` + strings.TrimLeft(f, "-") + `(\s|$)`).Match(help) {
				return "lazyolo " + words[0] + " has no flag " + f
			}
		}
	}
	return ""
}

func TestNotThere(t *testing.T) {
	for _, c := range []struct {
		command string
		there   bool
	}{
		{"make test", true},
		{"make nothing", false},
		{"go test ./internal/pool", true},
		{"go test ./internal/nothing", false},
		{"go test -run '^$' -fuzz FuzzDecode ./internal/imaging", true},
		{"go test ./internal/imaging -run TestNothing", false},
		{"LOG_LEVEL=DEBUG bin/lazyolo serve --max-memory-mb 250", true},
		{"lazyolo serve --no-such-thing", false},
		{"lazyolo nothing --port 1", false},
		{"lazyolo help settings", true},
		{"lazyolo help nothing", false},
		{"bin/lazyolo convert best.pt -o best.onnx", true},
		{"sh tools/lint.sh", true},
		{"sh tools/nothing.sh", false},
		{"apt-get install anything", true},
		{"sudo -u lazyolo lazyolo doctor --config lazyolo.yaml", true},
		{"sudo -u lazyolo lazyolo doctor --confug lazyolo.yaml", false},
	} {
		if got := notThere(t, strings.Fields(c.command)); (got == "") != c.there {
			t.Errorf("%s: %q, want there %v", c.command, got, c.there)
		}
	}
}
