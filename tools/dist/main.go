// Command dist makes what people install, below dist/: for each architecture an archive
// with ONNX Runtime's library beside the program, a Debian package and a list of parts
// (CycloneDX), then SHA256SUMS over all of them. It runs from the repository's root; make
// dist calls it.
//
// The same commit, Go and C compiler give the same bytes, in whatever folder: times are
// the commit's (SOURCE_DATE_EPOCH), owners and modes are fixed, paths are left out.
// VERSION, COMMIT and SOURCE_DATE_EPOCH stand in for git where there is none.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// architectures are what is built where nothing else is asked for.
const architectures = "amd64 arm64"

func main() {
	log.SetFlags(0)
	out := flag.String("out", "dist", "folder for the results")
	arch := flag.String("arch", os.Getenv("DIST_ARCH"), "architectures, of "+architectures+"; default: DIST_ARCH, else all")
	flag.Parse()
	if *arch == "" {
		*arch = architectures
	}
	if err := dist(context.Background(), *out, strings.Fields(*arch), os.Stderr); err != nil {
		log.Fatal("dist: ", err)
	}
}

// dist makes everything for the architectures that can be built here; for the others it
// returns how to get what is missing.
func dist(ctx context.Context, out string, archs []string, progress io.Writer) error {
	rel, err := thisRelease(os.Getenv)
	if err != nil {
		return err
	}
	if err := clear(out); err != nil {
		return err
	}
	var failed []error
	for _, arch := range archs {
		if err := rel.artefacts(ctx, out, arch, progress); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", arch, err))
		}
	}
	for _, name := range []string{"Dockerfile", "compose.yaml"} {
		b, err := os.ReadFile(filepath.Join("deploy/docker", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(out, name), b, 0o644)
		}
		failed = append(failed, err)
	}
	failed = append(failed, writeSums(out))
	return errors.Join(failed...)
}

// A release is what is built: a version, and the commit it is of.
type release struct {
	version string    // as git describe has it, or VERSION
	commit  string    // the whole hash
	when    time.Time // of the commit, in UTC
}

// thisRelease asks the environment, then git.
func thisRelease(getenv func(string) string) (release, error) {
	ask := func(name string, git ...string) (string, error) {
		if v := getenv(name); v != "" {
			return v, nil
		}
		out, err := exec.Command("git", git...).Output()
		if err != nil {
			return "", fmt.Errorf("ask git for the %s: %w (outside a checkout set VERSION, COMMIT and SOURCE_DATE_EPOCH)", strings.ToLower(name), err)
		}
		return strings.TrimSpace(string(out)), nil
	}
	version, err := ask("VERSION", "describe", "--tags", "--always", "--dirty", "--abbrev=12")
	if err != nil {
		return release{}, err
	}
	if !regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+~-]*$`).MatchString(version) {
		return release{}, fmt.Errorf("version %q: only letters, digits and .+~- can stand in file names", version)
	}
	commit, err := ask("COMMIT", "rev-parse", "HEAD")
	if err != nil {
		return release{}, err
	}
	epoch, err := ask("SOURCE_DATE_EPOCH", "log", "-1", "--format=%ct")
	if err != nil {
		return release{}, err
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return release{}, fmt.Errorf("read SOURCE_DATE_EPOCH: %w", err)
	}
	return release{version, commit, time.Unix(seconds, 0).UTC()}, nil
}

// described is a version as git describe makes it between two tags.
var described = regexp.MustCompile(`^(.+)-(\d+)-(g[0-9a-f]+)$`)

// debian is the version as Debian orders them: v1.2.0-rc.1 before v1.2.0, that before
// v1.2.0-3-gabc, and what has no tag before all, by its date.
func (r release) debian() string {
	v, dirty := strings.CutSuffix(r.version, "-dirty")
	tagged := regexp.MustCompile(`^v?\d+\.`).MatchString(v)
	if tagged {
		v = strings.TrimPrefix(v, "v")
		more := ""
		if m := described.FindStringSubmatch(v); m != nil {
			v, more = m[1], "+"+m[2]+"."+m[3]
		}
		v = strings.ReplaceAll(v, "-", "~") + more
	} else {
		v = "0.0.0~" + r.when.Format("20060102150405") + "." + strings.ReplaceAll(v, "-", ".")
	}
	if dirty {
		v += "+dirty"
	}
	return v
}

// artefacts makes everything for one architecture.
func (r release) artefacts(ctx context.Context, out, arch string, progress io.Writer) error {
	p, err := r.build(ctx, arch, progress)
	if err != nil {
		return err
	}
	parts, err := p.parts()
	if err != nil {
		return err
	}
	list, err := r.sbom(p, parts)
	if err != nil {
		return err
	}
	docs, err := documents()
	if err != nil {
		return err
	}
	shared := slices.Concat(docs, licenceFiles(parts), []file{{name: "sbom.cdx.json", mode: 0o644, data: list}})
	name := "lazyolo-" + r.version + "-linux-" + arch
	archive, err := targz(name+"/", slices.Concat(p.files(""), shared), r.when)
	if err != nil {
		return err
	}
	pkg, err := r.deb(p, shared)
	if err != nil {
		return err
	}
	for _, f := range []file{
		{name: name + ".tar.gz", data: archive},
		{name: name + ".cdx.json", data: list},
		{name: "lazyolo_" + r.debian() + "_" + arch + ".deb", data: pkg},
	} {
		if err := os.WriteFile(filepath.Join(out, f.name), f.data, 0o644); err != nil {
			return err
		}
		fmt.Fprintf(progress, "%s (%.1f MB)\n", filepath.Join(out, f.name), float64(len(f.data))/1e6)
	}
	return nil
}

// documents are the files of the repository that go along.
func documents() ([]file, error) {
	var all []file
	top, err := filepath.Glob("*.md")
	if err != nil {
		return nil, err
	}
	for _, root := range append(top, "LICENSE", "NOTICE", "docs", "deploy") {
		err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".") {
				return err
			}
			b, err := os.ReadFile(path)
			all = append(all, file{name: filepath.ToSlash(path), mode: 0o644, data: b})
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read documents: %w", err)
		}
	}
	return all, nil
}

// ours are the names of what an earlier run left.
var ours = regexp.MustCompile(`^(lazyolo[-_].*\.(tar\.gz|cdx\.json|deb)|SHA256SUMS|Dockerfile|compose\.yaml)$`)

// clear makes the folder and takes an earlier run's results out of it.
func clear(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if ours.MatchString(e.Name()) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// writeSums writes SHA256SUMS as sha256sum -c reads it.
func writeSums(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var sums strings.Builder
	for _, e := range entries { // in the order of their names
		if !ours.MatchString(e.Name()) || e.Name() == "SHA256SUMS" {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(b), e.Name())
	}
	return os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte(sums.String()), 0o644)
}
