// Command faults checks the tests: it applies one-line faults to the code, one
// at a time and without touching the files (go test -overlay), and fails when a
// fault goes unnoticed.
//
// faults.txt lists them in blocks of four lines: file, package to test, the line
// as it is, the line with the fault. Lines are compared without the space around
// them and must stand in the file exactly once.
//
// Some tests draw what they do: a fault that they missed is tested again, and the
// output names the try that caught it. A test that always catches it is better.
package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed faults.txt
var list string

type fault struct{ file, pkg, line, wrong string }

func main() {
	faults, err := parse(list)
	if err == nil {
		err = run(faults)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

func parse(s string) ([]fault, error) {
	var out []fault
	for block := range strings.SplitSeq(strings.TrimSpace(s), "\n\n") {
		lines := strings.Split(strings.TrimSpace(block), "\n")
		if len(lines) != 4 {
			return nil, fmt.Errorf("a fault has four lines, this has %d:\n%s", len(lines), block)
		}
		out = append(out, fault{lines[0], lines[1], strings.TrimSpace(lines[2]), strings.TrimSpace(lines[3])})
	}
	return out, nil
}

func run(faults []fault) error {
	tmp, err := os.MkdirTemp("", "faults-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	missed := 0
	for i, f := range faults {
		fmt.Printf("[%d/%d] %s: %s ", i+1, len(faults), f.file, f.wrong)
		try, err := f.caughtBy(tmp)
		switch {
		case err != nil:
			return err
		case try == 0:
			missed++
			fmt.Println("MISSED")
		case try == 1:
			fmt.Println("caught")
		default:
			fmt.Printf("caught by try %d\n", try)
		}
	}
	if missed > 0 {
		return fmt.Errorf("%d of %d faults were not caught", missed, len(faults))
	}
	fmt.Printf("%d passed, 0 failed\n", len(faults))
	return nil
}

// tries is how often a fault that was missed is tested at most.
const tries = 3

// caughtBy is the try that caught the fault, 0 if none did.
func (f fault) caughtBy(tmp string) (int, error) {
	for try := 1; try <= tries; try++ {
		if caught, err := f.caught(tmp); caught || err != nil {
			return try, err
		}
	}
	return 0, nil
}

// caught reports whether the package's tests fail with the fault in place.
func (f fault) caught(tmp string) (bool, error) {
	src, err := os.ReadFile(f.file)
	if err != nil {
		return false, err
	}
	lines := strings.Split(string(src), "\n")
	at := -1
	for i, l := range lines {
		if strings.TrimSpace(l) != f.line {
			continue
		}
		if at >= 0 {
			return false, fmt.Errorf("%s: the line stands there twice: %s", f.file, f.line)
		}
		at = i
	}
	if at < 0 {
		return false, fmt.Errorf("%s: no such line any more: %s", f.file, f.line)
	}
	lines[at] = f.wrong
	faulty := filepath.Join(tmp, "faulty.go")
	if err := os.WriteFile(faulty, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		return false, err
	}
	abs, err := filepath.Abs(f.file)
	if err != nil {
		return false, err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {abs: faulty}})
	if err != nil {
		return false, err
	}
	overlayFile := filepath.Join(tmp, "overlay.json")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		return false, err
	}
	// A fault that does not compile proves nothing.
	if out, err := exec.Command("go", "vet", "-overlay", overlayFile, f.pkg).CombinedOutput(); err != nil {
		return false, fmt.Errorf("%s: the fault does not compile: %s\n%s", f.file, f.wrong, out)
	}
	err = exec.Command("go", "test", "-count=1", "-timeout=120s", "-overlay", overlayFile, f.pkg).Run()
	return err != nil, nil
}
