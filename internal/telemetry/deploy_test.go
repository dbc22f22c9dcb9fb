package telemetry

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"go.yaml.in/yaml/v3"
)

// root is the repository's folder, seen from here.
const root = "../.."

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// exported lists every series name with its labels, as a server with some past has them.
func exported(t *testing.T) map[string][]string {
	t.Helper()
	tel := newTest(t, nil)
	exercise(t, tel)
	all, err := tel.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string][]string{"up": {"job", "instance"}}
	for _, f := range all {
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		if f.GetType() != dto.MetricType_HISTOGRAM {
			names[f.GetName()] = labels
			continue
		}
		names[f.GetName()+"_bucket"] = append(slices.Clone(labels), "le")
		names[f.GetName()+"_sum"], names[f.GetName()+"_count"] = labels, labels
	}
	return names
}

var (
	series  = regexp.MustCompile(`\b((?:lazyolo|process|go)_[a-z_]+|up)\b(?:\{([^}]*)\})?`)
	matcher = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)`)
	groupBy = regexp.MustCompile(`\bby \(([^)]*)\)`)
)

// checkExpr checks every metric and label of an expression.
func checkExpr(t *testing.T, where, expr string, known map[string][]string) (used []string) {
	t.Helper()
	labels := map[string]bool{"instance": true, "job": true}
	for _, m := range series.FindAllStringSubmatch(expr, -1) {
		have, ok := known[m[1]]
		if !ok {
			t.Errorf("%s: nothing exports %s", where, m[1])
		}
		used = append(used, m[1])
		for _, l := range have {
			labels[l] = true
		}
		for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains(have, l[1]) && l[1] != "instance" && l[1] != "job" {
				t.Errorf("%s: %s has no label %s", where, m[1], l[1])
			}
		}
	}
	if len(used) == 0 {
		t.Errorf("%s: no metric in %q", where, expr)
	}
	for _, g := range groupBy.FindAllStringSubmatch(expr, -1) {
		for l := range strings.SplitSeq(g[1], ",") {
			if l = strings.TrimSpace(l); !labels[l] {
				t.Errorf("%s: nothing in %q has the label %s", where, expr, l)
			}
		}
	}
	return used
}

func TestTheDashboardShowsWhatIsExported(t *testing.T) {
	var board struct {
		Panels []struct {
			ID      int
			Type    string
			Title   string
			Targets []struct{ Expr, RefID string }
		}
	}
	if err := json.Unmarshal(read(t, "deploy/grafana/lazyolo.json"), &board); err != nil {
		t.Fatal(err)
	}
	known, ids, used := exported(t), make(map[int]bool), make(map[string]bool)
	for _, p := range board.Panels {
		if ids[p.ID] {
			t.Errorf("two panels have the id %d", p.ID)
		}
		ids[p.ID] = true
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("%q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			for _, name := range checkExpr(t, p.Title, target.Expr, known) {
				used[name] = true
			}
		}
	}
	for name := range known {
		family := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")
		if strings.HasPrefix(name, "lazyolo_") && name != "lazyolo_build_info" &&
			!used[family] && !used[family+"_bucket"] && !used[family+"_sum"] {
			t.Errorf("the dashboard does not show %s", family)
		}
	}
}

func TestAlertsAskForWhatIsExported(t *testing.T) {
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Labels      map[string]string
				Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(read(t, "deploy/prometheus/alerts.yml"), &rules); err != nil {
		t.Fatal(err)
	}
	known, n := exported(t), 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			n++
			checkExpr(t, r.Alert, r.Expr, known)
			if r.Labels["severity"] == "" || r.Annotations["summary"] == "" {
				t.Errorf("%s has no severity or no summary", r.Alert)
			}
		}
	}
	if n < 8 {
		t.Errorf("only %d rules", n)
	}
}

// The table of metrics in the manual, in both languages, lists what is exported and
// nothing else, with its labels.
func TestTheManualListsEveryMetric(t *testing.T) {
	tel := newTest(t, nil)
	exercise(t, tel)
	want := make(map[string]string)
	for _, f := range gathered(t, tel) {
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+l.GetName()+"`")
		}
		want[f.GetName()] = fmt.Sprint(strings.ToLower(f.GetType().String()), labels)
	}
	rowOf := regexp.MustCompile("(?m)^\\| `(lazyolo_[a-z_]+)` \\| (\\w+) \\| ([^|]*) \\|")
	for _, lang := range []string{"en", "zh"} {
		got := make(map[string]string)
		for _, m := range rowOf.FindAllStringSubmatch(string(read(t, "docs/"+lang+"/operations.md")), -1) {
			got[m[1]] = fmt.Sprint(m[2], strings.Fields(strings.ReplaceAll(m[3], ",", " ")))
		}
		for _, name := range slices.Sorted(maps.Keys(want)) {
			if got[name] != want[name] {
				t.Errorf("docs/%s/operations.md says %q of %s, want %q", lang, got[name], name, want[name])
			}
			delete(got, name)
		}
		for name := range got {
			t.Errorf("docs/%s/operations.md lists %s, which nothing exports", lang, name)
		}
	}
}
