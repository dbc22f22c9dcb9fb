package docs

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestDocuments follows each document from its top to its end, as a reader in
// the repository's folder would: shell variables last, and the server is the one
// that was started last in the section, else one without settings.
func TestDocuments(t *testing.T) {
	needORT(t)
	if runtime.GOOS != "linux" {
		t.Skip("the documents' commands are Linux's: NOT RUN")
	}
	docs := documents(t)
	each := len(documentedPorts)
	ports := freePorts(t, each*len(docs))
	for i, doc := range docs {
		all := blocks(doc, read(t, doc))
		if !slices.ContainsFunc(all, block.runs) {
			continue
		}
		t.Run(doc, func(t *testing.T) {
			t.Parallel()
			follow(t, newStage(t, doc, ports[i*each:(i+1)*each]), all)
		})
	}
}

// follow runs the blocks of a document, and compares JSON that follows one with
// what it printed.
func follow(t *testing.T, s *stage, all []block) {
	for i, b := range all {
		if !b.runs() {
			continue
		}
		if i > 0 && all[i-1].section != b.section {
			s.leave()
		}
		out, ran := s.run(t, b)
		if ran && i+1 < len(all) && all[i+1].lang == "json" && all[i+1].section == b.section {
			sameMembers(t, all[i+1], out)
		}
	}
}

// run runs a block and returns what it printed; false: it cannot run here.
func (s *stage) run(t *testing.T, b block) (out string, ran bool) {
	t.Helper()
	code := s.adapt(b.commands())
	if strings.Contains(code, "http") || strings.Contains(code, "127.0.0.1:") {
		s.usual(t)
	}
	cmd := s.program(t, b, code)
	if cmd == nil {
		return "", false
	}
	var stdout, stderr bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	run := exec.CommandContext(ctx, cmd[0], cmd[1:]...)
	run.Dir, run.Env, run.Stdout, run.Stderr = s.dir, s.env, &stdout, &stderr
	run.WaitDelay = time.Second
	begun := time.Now()
	if err := run.Run(); err != nil {
		t.Errorf("%s: line %d: %v\n%s\n--- it printed:\n%s%s", b.doc, b.line, err, b.code, &stdout, &stderr)
		return "", false
	}
	t.Logf("line %d: %s, %v", b.line, b.lang, time.Since(begun).Round(time.Millisecond))
	return stdout.String(), true
}

// longTimes are what would take long, and what it is shortened to.
var longTimes = []struct {
	pattern *regexp.Regexp
	short   string
}{
	{regexp.MustCompile(`--duration \S+`), "--duration 1s"},
	{regexp.MustCompile(`seconds=\d+`), "seconds=1"},
}

var aPort = regexp.MustCompile(`((?:127\.0\.0\.1|localhost):|--port |PORT=)(8000|8001|8080|9000)\b`)

// adapt names the stage's ports instead of the documents', and shortens times.
func (s *stage) adapt(code string) string {
	for _, l := range longTimes {
		code = l.pattern.ReplaceAllString(code, l.short)
	}
	return aPort.ReplaceAllStringFunc(code, func(m string) string {
		at := len(m) - len("8000")
		return m[:at] + s.ports[m[at:]]
	})
}

// program writes a block's code where it can be run and says how; nil: a tool is
// not here, which is logged.
func (s *stage) program(t *testing.T, b block, code string) []string {
	t.Helper()
	file := func(name string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(code), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tool := func(name string) bool {
		_, err := exec.LookPath(name)
		if err != nil {
			t.Logf("%s: line %d NOT RUN: no %s here", b.doc, b.line, name)
		}
		return err == nil
	}
	switch b.lang {
	case "sh", "console":
		if !tool("curl") {
			return nil
		}
		vars := filepath.Join(s.dir, "..", "variables")
		code = fmt.Sprintf("set -a\nif [ -f %[1]s ]; then . %[1]s; fi\n%[2]s\nexport -p >%[1]s\n", vars, code)
		return []string{"sh", "-e", file("block.sh")}
	case "python":
		if !tool("python3") {
			return nil
		}
		if m := foreign.FindStringSubmatch(code); m != nil && exec.Command("python3", "-c", "import "+m[1]).Run() != nil {
			t.Logf("%s: line %d NOT RUN: python3 has no %s here", b.doc, b.line, m[1])
			return nil
		}
		return []string{"python3", file("block.py")}
	case "js":
		if !tool("node") {
			return nil
		}
		return []string{"node", file("block.mjs")}
	}
	return s.buildGo(t, b, file("main.go"))
}

// foreign are Python packages that are not Python's own.
var foreign = regexp.MustCompile(`(?m)^(?:import|from) (requests)\b`)

// buildGo builds a Go program as if it stood in a module that uses this one.
func (s *stage) buildGo(t *testing.T, b block, file string) []string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program")
	cmd := exec.Command("go", "build", "-o", program, file)
	cmd.Dir = repo
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: line %d: %v\n%s", b.doc, b.line, err, out)
		return nil
	}
	return []string{program}
}

// sameMembers compares the members of a JSON example with those of an answer:
// their names and kinds, not their values.
func sameMembers(t *testing.T, b block, out string) {
	t.Helper()
	var example, answer any
	if err := json.Unmarshal([]byte(b.code), &example); err != nil {
		return // several lines are several answers
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Errorf("%s: line %d: the example is JSON, the answer is not: %v\n%s", b.doc, b.line, err, out)
		return
	}
	for _, d := range different("", example, answer) {
		t.Errorf("%s: line %d: %s\nexample: %sanswer: %s", b.doc, b.line, d, b.code, out)
	}
}

var number = regexp.MustCompile(`^\d+$`)

// different tells where two values have other members or kinds. Members with
// numbers for names are alike, as are the elements of a list; null is of any kind.
func different(at string, example, answer any) []string {
	switch e := example.(type) {
	case nil:
		return nil
	case map[string]any:
		a, ok := answer.(map[string]any)
		if !ok {
			return []string{fmt.Sprintf("%s is %T in the answer", at, answer)}
		}
		e, a = alike(e), alike(a)
		var out []string
		for name := range a {
			if _, ok := e[name]; !ok && len(e) > 0 {
				out = append(out, fmt.Sprintf("%s.%s is not in the example", at, name))
			}
		}
		for name, v := range e {
			if got, ok := a[name]; !ok && len(a) > 0 {
				out = append(out, fmt.Sprintf("%s.%s is not in the answer", at, name))
			} else if ok {
				out = append(out, different(at+"."+name, v, got)...)
			}
		}
		return out
	case []any:
		a, ok := answer.([]any)
		if !ok && answer != nil {
			return []string{fmt.Sprintf("%s is %T in the answer", at, answer)}
		}
		if len(e) == 0 || len(a) == 0 {
			return nil
		}
		return different(at+"[]", e[0], a[0])
	}
	if answer != nil && fmt.Sprintf("%T", example) != fmt.Sprintf("%T", answer) {
		return []string{fmt.Sprintf("%s is %T in the example, %T in the answer", at, example, answer)}
	}
	return nil
}

func alike(m map[string]any) map[string]any {
	out := make(map[string]any, len(m))
	for name, v := range m {
		if number.MatchString(name) {
			name = "0"
		}
		out[name] = v
	}
	return out
}

func TestDifferent(t *testing.T) {
	for _, c := range []struct {
		example, answer string
		differ          int
	}{
		{`{"a":1,"b":[{"c":"x"}]}`, `{"a":2,"b":[{"c":"y"},{"c":"z"}]}`, 0},
		{`{"a":1}`, `{"b":1}`, 2},
		{`{"b":[{"c":"x"}]}`, `{"b":[{"c":1}]}`, 1},
		{`{"0":{"a":1}}`, `{"7":{"a":1}}`, 0},
		{`{"0":{"a":1}}`, `{"7":{"a":1,"b":2}}`, 1},
		{`{"a":null,"b":[],"c":{}}`, `{"a":3,"b":[1],"c":{"d":1}}`, 0},
		{`{"a":{"b":1}}`, `{"a":[1]}`, 1},
	} {
		var example, answer any
		if err := json.Unmarshal([]byte(c.example), &example); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(c.answer), &answer); err != nil {
			t.Fatal(err)
		}
		if got := different("", example, answer); len(got) != c.differ {
			t.Errorf("%s and %s: %q, want %d", c.example, c.answer, got, c.differ)
		}
	}
}

// JSON in documents can be parsed, a value a line or one over all lines.
func TestJSONIsJSON(t *testing.T) {
	for _, doc := range documents(t) {
		for _, b := range blocks(doc, read(t, doc)) {
			if b.lang != "json" || json.Valid([]byte(b.code)) {
				continue
			}
			for line := range strings.Lines(b.code) {
				if !json.Valid([]byte(line)) {
					t.Errorf("%s: line %d: no JSON: %s", doc, b.line, line)
				}
			}
		}
	}
}
