package main

import (
	"cmp"
	"context"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"lazyolo/internal/ort"
)

// newestGlibc is the one of Debian 12: what needs a newer one is not passed on.
const newestGlibc = "2.36"

// triples name the C compilers and, with apt, their packages.
var triples = map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}

// A program is lazyolo for one architecture, and ONNX Runtime for it.
type program struct {
	arch    string
	binary  []byte
	info    *buildinfo.BuildInfo
	library []byte
	about   ort.Library
	notices []file // ONNX Runtime's licence, and those of what it contains
	glibc   string // the oldest that both run with
}

// files are the two that have to lie side by side.
func (p *program) files(dir string) []file {
	return []file{
		{name: dir + "lazyolo", mode: 0o755, data: p.binary},
		{name: dir + filepath.Base(p.about.Path), mode: 0o644, data: p.library},
	}
}

// compiler finds a C compiler for arch: CC_amd64 or CC_arm64, else gcc.
func compiler(arch string) (string, error) {
	triple, known := triples[arch]
	if !known {
		return "", fmt.Errorf("not one of %s", architectures)
	}
	cc := os.Getenv("CC_" + arch)
	if cc == "" && runtime.GOOS == "linux" && runtime.GOARCH == arch {
		cc = "gcc"
	}
	cc = cmp.Or(cc, triple+"-gcc")
	words := strings.Fields(cc)
	if len(words) == 0 {
		return "", fmt.Errorf("CC_%s is blank", arch)
	}
	if _, err := exec.LookPath(words[0]); err != nil {
		return "", fmt.Errorf("no C compiler: %w (Debian: apt-get install gcc-%s; or name one in CC_%s; DIST_ARCH names the architectures to build)",
			err, strings.ReplaceAll(triple, "_", "-"), arch)
	}
	return cc, nil
}

// build compiles the program and fetches its ONNX Runtime.
func (r release) build(ctx context.Context, arch string, progress io.Writer) (*program, error) {
	cc, err := compiler(arch)
	if err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp("", "lazyolo-dist-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	fmt.Fprintf(progress, "building lazyolo %s for linux/%s with %s\n", r.version, arch, cc)
	binary := filepath.Join(tmp, "lazyolo")
	flags := fmt.Sprintf("-s -w -X main.buildVersion=%s -X main.buildCommit=%s -X main.buildDate=%s", r.version, r.commit, r.when.Format("2006-01-02T15:04:05Z"))
	// Without what Go would note of a checkout: the archive of a commit has none.
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", binary, "./cmd/lazyolo")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1", "GOOS=linux", "GOARCH="+arch, "CC="+cc, "GOFLAGS=-mod=readonly", "GOEXPERIMENT=",
		"GOAMD64=v1", "GOARM64=v8.0", "CGO_CFLAGS=-O2", "CGO_CPPFLAGS=", "CGO_LDFLAGS=-O2", "LC_ALL=C")
	cmd.Stderr = progress
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("build lazyolo: %w", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	p := &program{arch: arch}
	p.about, err = ort.Bundle(ctx, "linux/"+arch, filepath.Join(cache, "lazyolo", "dist", "onnxruntime-"+arch), progress)
	if err != nil {
		return nil, err
	}
	return p, p.read(binary)
}

// read takes the files in and looks at what they need.
func (p *program) read(binary string) error {
	var err, failed error
	take := func(path string) []byte {
		b, err := os.ReadFile(path)
		failed = errors.Join(failed, err)
		return b
	}
	p.binary, p.library = take(binary), take(p.about.Path)
	for _, name := range []string{"LICENSE", "ThirdPartyNotices.txt"} {
		p.notices = append(p.notices, file{name: name, mode: 0o644, data: take(filepath.Join(filepath.Dir(p.about.Path), name))})
	}
	if failed != nil {
		return failed
	}
	if p.info, err = buildinfo.ReadFile(binary); err != nil {
		return fmt.Errorf("read what the program is made of: %w", err)
	}
	for _, path := range []string{binary, p.about.Path} {
		v, err := glibc(path)
		if err != nil {
			return err
		}
		if older(newestGlibc, v) {
			return fmt.Errorf("%s needs glibc %s: newer than the %s of Debian 12; build on an older system", filepath.Base(path), v, newestGlibc)
		}
		if older(p.glibc, v) {
			p.glibc = v
		}
	}
	return nil
}

// glibc is the version that an ELF file needs at least.
func glibc(path string) (string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return "", fmt.Errorf("read symbols: %w", err)
	}
	defer f.Close()
	symbols, err := f.ImportedSymbols()
	if err != nil {
		return "", fmt.Errorf("read symbols of %s: %w", filepath.Base(path), err)
	}
	least := ""
	for _, s := range symbols {
		if v, ok := strings.CutPrefix(s.Version, "GLIBC_"); ok && older(least, v) {
			least = v
		}
	}
	return least, nil
}

// older compares versions such as 2.9 and 2.34; "" is older than all.
func older(a, b string) bool {
	numbers := func(s string) (out []int) {
		for part := range strings.SplitSeq(s, ".") {
			n, err := strconv.Atoi(part)
			if err != nil {
				n = -1 // GLIBC_PRIVATE
			}
			out = append(out, n)
		}
		return out
	}
	return slices.Compare(numbers(a), numbers(b)) < 0
}

// A module is a part of the program, and where its files are here.
type module struct{ Path, Version, Dir string }

// modules are what the program was linked of, in the order of their paths.
func (p *program) modules() ([]module, error) {
	args := []string{"list", "-m", "-json=Path,Version,Dir"}
	for _, m := range p.info.Deps {
		if m.Replace != nil {
			return nil, fmt.Errorf("%s is replaced", m.Path)
		}
		args = append(args, m.Path)
	}
	cmd := exec.Command("go", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list modules: %w", err)
	}
	var all []module
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var m module
		if err := dec.Decode(&m); err == io.EOF {
			break
		} else if err != nil {
			return nil, fmt.Errorf("read modules: %w", err)
		}
		at := slices.IndexFunc(p.info.Deps, func(d *debug.Module) bool { return d.Path == m.Path })
		if at < 0 || p.info.Deps[at].Version != m.Version || m.Dir == "" {
			return nil, fmt.Errorf("module %s %s is not the one in the program", m.Path, m.Version)
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b module) int { return strings.Compare(a.Path, b.Path) })
	return all, nil
}
