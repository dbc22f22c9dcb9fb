// Command gosec runs the rules of github.com/securego/gosec over the packages that
// its arguments name, and prints what they find; status 1 if anything. It is a module
// of its own, so that lazyolo does not depend on what gosec needs, and not gosec's
// own command, which links the clients of three AI services.
//
//	go run -C tools/gosec . ../../cmd/... ../../internal/...
//
// A finding that is none is answered beside the code: // #nosec G304 -- why.
package main

import (
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"github.com/securego/gosec/v2"
	"github.com/securego/gosec/v2/analyzers"
	"github.com/securego/gosec/v2/rules"
)

// excluded are rules that do not fit this program, and why.
var excluded = []string{
	"G103",         // unsafe: ort, imaging and turbojpeg speak C
	"G104",         // errors not looked at: staticcheck's business, and every other one is deliberate
	"G115",         // conversions of integers: every size is bounded where it comes in
	"G204", "G702", // a command with variables: it is this binary, or pip and npm
	"G304", "G703", // a file by a variable: naming files is what the operator does
	"G301", "G302", "G306", // modes of what others may read: the umask decides; the private cache and state have their own tests
	"G203", // template.HTML: compare's own picture, whose texts are escaped
	"G125", // url.JoinPath: the paths are in the code, the server is whom the operator names
	"G404", // math/rand: traces and tests that a seed repeats
	"G705", // answers that repeat input: they are JSON and event streams, never HTML
	"G706", // logs that repeat input: slog quotes it
}

func main() {
	log.SetFlags(0)
	if err := check(os.Args[1:]); err != nil {
		log.Fatal("gosec: ", err)
	}
}

func check(roots []string) error {
	a := gosec.NewAnalyzer(gosec.NewConfig(), false, true, false, 2, log.New(io.Discard, "", 0))
	a.LoadRules(rules.Generate(false, rules.NewRuleFilter(true, excluded...)).RulesInfo())
	a.LoadAnalyzers(analyzers.Generate(false, analyzers.NewAnalyzerFilter(true, excluded...)).AnalyzersInfo())
	var dirs []string
	for _, root := range roots { // a folder, or all below it: folder/...
		found, err := gosec.PackagePaths(root, nil)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return fmt.Errorf("no package in %s", root)
		}
		dirs = append(dirs, found...)
	}
	if err := a.Process(nil, dirs...); err != nil {
		return err
	}
	found, stats, broken := a.Report()
	for file, errs := range broken {
		return fmt.Errorf("read %s: %v", file, errs)
	}
	for _, f := range found {
		fmt.Printf("%s:%s: %s %s (%s)\n", f.File, f.Line, f.RuleID, f.What, strings.ToLower(f.Severity.String()))
	}
	if len(found) > 0 {
		return fmt.Errorf("%d findings", len(found))
	}
	fmt.Printf("gosec: %d files, nothing found\n", stats.NumFiles)
	return nil
}
