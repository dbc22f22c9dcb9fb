package arch_test

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the module's folder, seen from here.
const root = "../.."

// mayImport lists, per package, which packages of ours it may import, and why
// the list is short. Every package may import yolo, which imports none.
var mayImport = map[string]struct {
	imports []string
	why     string
}{
	"lazyolo":         {[]string{"internal/catalog", "internal/config", "internal/core"}, "what other programs import: options and calls over the core, nothing of its own"},
	"yolo":            {nil, "the vocabulary stands alone, so that every package can use it"},
	"web":             {nil, "files to embed, nothing else"},
	"internal/access": {nil, "decides who may call; what a call is stays with its door"},
	"internal/usage":  {nil, "remembers what the pool reported; who loads by it is decided by cmd"},
	"internal/arch":   {nil, "tests only"},
	"internal/core": {[]string{"internal/annotate", "internal/config", "internal/detect", "internal/engine", "internal/imaging", "internal/ledger", "internal/machine", "internal/pool", "internal/prepare", "internal/turbojpeg"},
		"joins what serves models for the library and the program; knows no door"},
	"internal/config":        {nil, "settings are values; what they mean is decided by cmd"},
	"internal/buffers":       {nil, "lends memory, knows not for what"},
	"internal/bodies":        {nil, "lends memory to whichever door asks"},
	"internal/door":          {nil, "what all HTTP doors do alike; what they answer is theirs"},
	"internal/machine":       {nil, "reads the system, knows nothing of models"},
	"internal/catalog":       {nil, "knows folders, not how models run"},
	"internal/imaging":       {[]string{"internal/buffers"}, "knows pixels, not models"},
	"internal/ort":           {nil, "the one door to ONNX Runtime; policy stays outside"},
	"internal/ledger":        {nil, "counts bytes; who waits for them is the pool's business"},
	"internal/pool":          {[]string{"internal/ledger"}, "reaches ONNX Runtime only through its Engine port"},
	"internal/pool/pooltest": {[]string{"internal/pool"}, "checks the pool's ports, whoever stands behind them"},
	"internal/torch":         {nil, "reads a file format"},
	"internal/onnx":          {nil, "reads and writes a file format"},
	"internal/convert":       {[]string{"internal/onnx", "internal/torch"}, "one graph into another; runs nothing"},
	"internal/prepare":       {[]string{"internal/convert", "internal/machine", "internal/ort", "internal/torch"}, "makes files; who uses them is not its business"},
	"internal/detect":        {[]string{"internal/buffers", "internal/imaging", "internal/pool"}, "one request; knows no door and no file"},
	"internal/engine":        {[]string{"internal/buffers", "internal/machine", "internal/ort", "internal/pool", "internal/prepare"}, "joins the cache of prepared models and ONNX Runtime to the pool's ports"},
	"internal/turbojpeg":     {[]string{"internal/buffers"}, "the one door to libjpeg-turbo; imaging knows it as an interface of its own"},
	"internal/annotate":      {[]string{"internal/imaging"}, "draws and writes; knows no door"},
	"internal/httpapi":       {[]string{"internal/bodies", "internal/door", "web"}, "a door knows the core only by its own small interfaces"},
	"internal/oip":           {[]string{"internal/bodies", "internal/door"}, "a protocol knows the core only by its own small interfaces"},
	"internal/pb":            {nil, "generated messages, nothing else"},
	"internal/grpcapi":       {[]string{"internal/bodies", "internal/door", "internal/oip", "internal/pb"}, "messages and statuses; what calls mean is oip's"},
	"internal/roboflow":      {[]string{"internal/bodies", "internal/door"}, "a door knows the core only by its own small interfaces"},
	"internal/simulate":      {[]string{"internal/pool"}, "the pool's policies over a trace; runs no model"},
	"internal/load":          {[]string{"internal/machine"}, "drives a server over HTTP, knows no part of it"},
	"internal/compare":       {[]string{"internal/load", "internal/machine"}, "starts servers as processes and looks at them from outside; asks as load does"},
	"internal/telemetry":     {[]string{"internal/door"}, "hears of requests and models through hooks; imported by cmd alone"},
	"test/binary":            {nil, "what tests of the built program share; knows none of its packages"},
	"test/e2e":               {[]string{"internal/pb", "test/binary"}, "meets the program as a user does, from outside"},
	"test/dist":              {nil, "meets a release as who installs it does, from outside"},
	"test/browser":           {[]string{"test/binary"}, "meets the program as a browser does, from outside"},
	"test/docs":              {[]string{"test/binary"}, "meets the program as a reader of the documents does, from outside"},
}

type listed struct {
	ImportPath   string
	Doc          string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Module       *struct{ Path string }
}

func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Doc,Imports,TestImports,XTestImports,Module", "./...")
	cmd.Dir = root
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		name, _ := strings.CutPrefix(p.ImportPath, "lazyolo/")
		if strings.HasPrefix(name, "cmd/") || strings.HasPrefix(name, "tools/") || strings.HasPrefix(name, "bench") {
			continue // programs wire everything
		}
		rule, known := mayImport[name]
		if !known {
			t.Errorf("package %s is in no rule: say in mayImport what it may import and why", name)
			continue
		}
		for _, imp := range p.Imports {
			ours, ok := strings.CutPrefix(imp, "lazyolo/")
			if ok && ours != "yolo" && !slices.Contains(rule.imports, ours) {
				t.Errorf("%s imports %s: %s", name, ours, rule.why)
			}
			if imp == "C" && name != "internal/ort" && name != "internal/turbojpeg" && name != "internal/imaging" {
				t.Errorf("%s uses cgo: only internal/ort, internal/turbojpeg and internal/imaging may", name)
			}
		}
	}
}

func TestPackageComments(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// The size habits: beyond them a file is split by noun, a function by step.
const (
	maxFileLines = 600
	maxFuncLines = 80
)

func TestSizes(t *testing.T) {
	eachGoFile(t, func(path string, src []byte) {
		if n := strings.Count(string(src), "\n"); n > maxFileLines {
			t.Errorf("%s has %d lines, more than %d", path, n, maxFileLines)
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, src, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1
			if n > maxFuncLines {
				t.Errorf("%s: %s has %d lines, more than %d", path, fn.Name.Name, n, maxFuncLines)
			}
		}
	})
}

func TestExportsAreDocumented(t *testing.T) {
	eachGoFile(t, func(path string, src []byte) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, src, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
					t.Errorf("%s: %s has no comment", path, d.Name.Name)
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					if ts, ok := s.(*ast.TypeSpec); ok && ts.Name.IsExported() && d.Doc == nil && ts.Doc == nil {
						t.Errorf("%s: %s has no comment", path, ts.Name.Name)
					}
				}
			}
		}
	})
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	typ := d.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	id, ok := typ.(*ast.Ident)
	return ok && id.IsExported()
}

const noInit = "no behaviour by import"

// takeOver is the one file with an init that does something: it makes a preparing
// process of whatever program imports lazyolo, before that program's main.
const takeOver = "internal/prepare/self.go"

// habits are patterns that must not stand in Go files, and why.
var habits = []struct {
	pattern *regexp.Regexp
	tests   bool // also refused in tests
	why     string
}{
	{regexp.MustCompile(`\btime\.Sleep\(`), true, "wait for the event, or use testing/synctest"},
	{regexp.MustCompile(`\bslog\.(Default|SetDefault|Info|Warn|Error|Debug)\(`), false, "the logger is a dependency"},
	{regexp.MustCompile(`(?m)^func init\(\)`), false, noInit},
	{regexp.MustCompile(`(?m)//\s*TODO\b`), true, "file an issue"},
}

func TestHabits(t *testing.T) {
	eachGoFile(t, func(path string, src []byte) {
		if strings.HasPrefix(path, "internal/arch/") {
			return
		}
		for _, h := range habits {
			if strings.HasSuffix(path, "_test.go") && (!h.tests || bytes.Contains(src, []byte(`"testing/synctest"`))) {
				continue // a sleep in a synctest bubble takes no time
			}
			if path == takeOver && h.why == noInit {
				continue
			}
			if m := h.pattern.Find(src); m != nil {
				t.Errorf("%s: %q: %s", path, m, h.why)
			}
		}
		if !strings.Contains(string(src), "package main") && !strings.HasSuffix(path, "_test.go") && strings.Contains(string(src), "os.Exit(") &&
			path != takeOver && path != "internal/prepare/worker.go" { // the child of a vanished server has nobody to return to
			t.Errorf("%s: os.Exit belongs to main", path)
		}
	})
}

// generated files follow their generator's habits, not ours; make pb writes them.
var generated = map[string]bool{"internal/pb/inference.pb.go": true}

func eachGoFile(t *testing.T, f func(path string, src []byte)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin" || d.Name() == "models") {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".go" {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if rel = filepath.ToSlash(rel); !generated[rel] {
			f(rel, src)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
