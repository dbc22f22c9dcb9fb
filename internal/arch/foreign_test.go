package arch_test

import (
	"strings"
	"testing"
)

// owners are foreign libraries that only one package of ours may import, in tests and
// programs too.
var owners = []struct{ library, owner, why string }{
	{"github.com/prometheus/", "internal/telemetry", "how metrics are kept can change in one place"},
	{"go.opentelemetry.io/", "internal/telemetry", "how traces are made can change in one place"},
}

func TestForeignLibrariesHaveOneOwner(t *testing.T) {
	used := make(map[string]bool)
	for _, p := range packages(t) {
		name, _ := strings.CutPrefix(p.ImportPath, "lazyolo/")
		for _, imp := range append(append(p.Imports, p.TestImports...), p.XTestImports...) {
			for _, o := range owners {
				if !strings.HasPrefix(imp, o.library) {
					continue
				}
				used[o.library] = true
				if name != o.owner {
					t.Errorf("%s imports %s, which is %s's: %s", name, imp, o.owner, o.why)
				}
			}
		}
	}
	for _, o := range owners {
		if !used[o.library] {
			t.Errorf("nobody imports %s any more: take it out of owners", o.library)
		}
	}
}
