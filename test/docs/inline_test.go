package docs

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

var (
	inline   = regexp.MustCompile("`([^`\n]+)`")
	fenced   = regexp.MustCompile("(?ms)^```.*?^```$")
	longFlag = regexp.MustCompile(`^--[a-z][a-z0-9-]*`)
	anyWord  = regexp.MustCompile(`^[a-z][a-z-]*$`)
)

// TestInlineCode looks at what documents mention in passing: a command is one
// that lazyolo has, with flags it has; a target stands in the Makefile; a flag
// alone is one of some command.
func TestInlineCode(t *testing.T) {
	everyHelp := helpOfAll(t)
	n := 0
	for _, doc := range documents(t) {
		for _, m := range inline.FindAllStringSubmatch(fenced.ReplaceAllString(read(t, doc), ""), -1) {
			words := strings.Fields(m[1])
			switch {
			case len(words) > 1 && (words[0] == "lazyolo" || words[0] == "bin/lazyolo") && anyWord.MatchString(words[1]), len(words) > 1 && words[0] == "make":
				n++
				if problem := notThere(t, words); problem != "" {
					t.Errorf("%s: `%s`: %s", doc, m[1], problem)
				}
			case longFlag.MatchString(m[1]) && doc != "docs/en/configuration.md":
				n++
				if flag := longFlag.FindString(m[1]); !strings.Contains(everyHelp, flag+" ") {
					t.Errorf("%s: `%s`: no command has this flag", doc, flag)
				}
			}
		}
	}
	if n < 50 {
		t.Errorf("only %d mentions found", n)
	}
}

// helpOfAll is what lazyolo help says of every command and every setting.
func helpOfAll(t *testing.T) string {
	t.Helper()
	ask := func(args ...string) string {
		out, err := exec.Command(built, append([]string{"help"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("lazyolo help %q: %v: %s", args, err, out)
		}
		return string(out)
	}
	usage := ask()
	out := ask("settings")
	for _, m := range regexp.MustCompile(`(?m)^  ([a-z]+)  `).FindAllStringSubmatch(usage, -1) {
		out += ask(m[1])
	}
	return out
}
