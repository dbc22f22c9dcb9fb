package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A part is something of others that is in a release, with its licence.
type part struct {
	name, version string
	kind          string   // as CycloneDX has it: library, file, platform
	purl          string   // where it comes from; "" where there is no such name
	sum           string   // SHA-256 of what it comes as; "" for modules, which have the next
	goSum         string   // as in go.sum
	licences      []string // SPDX; never empty
	texts         []file   // named within its folder of licenses
}

// parts are all that is in the program's archive beside our own code.
func (p *program) parts() ([]part, error) {
	all := []part{{
		name: "onnxruntime", version: p.about.Version, kind: "library", purl: "pkg:pypi/onnxruntime@" + p.about.Version,
		sum: sha256Hex(p.library), licences: []string{"MIT"}, texts: p.notices,
	}}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("ask go for its root: %w", err)
	}
	goroot, err := texts(strings.TrimSpace(string(root)), false)
	if err != nil {
		return nil, fmt.Errorf("go's own licence: %w", err)
	}
	goVersion := strings.TrimPrefix(p.info.GoVersion, "go")
	all = append(all, part{name: "go", version: goVersion, kind: "platform", purl: "pkg:golang/std@" + goVersion, licences: []string{"BSD-3-Clause"}, texts: goroot})
	mods, err := p.modules()
	if err != nil {
		return nil, err
	}
	for _, m := range mods {
		found, err := texts(m.Dir, true)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Path, err)
		}
		ids, err := identify(found)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Path, err)
		}
		all = append(all, part{
			name: m.Path, version: m.Version, kind: "library", purl: "pkg:golang/" + m.Path + "@" + m.Version, goSum: p.sumOf(m.Path), licences: ids, texts: found,
		})
	}
	vendored, err := vendored()
	return append(all, vendored...), err
}

func (p *program) sumOf(path string) string {
	for _, d := range p.info.Deps {
		if d.Path == path {
			return d.Sum
		}
	}
	return ""
}

// licenceFiles are the texts of all parts, below licenses/.
func licenceFiles(parts []part) []file {
	var all []file
	for _, one := range parts {
		for _, t := range one.texts {
			t.name = "licenses/" + one.name + "/" + t.name
			all = append(all, t)
		}
	}
	return all
}

var licenceName = regexp.MustCompile(`(?i)^(licen[cs]e|notice|copying|patents|ofl)|\.licen[cs]e\.txt$`)

// texts are the files of a folder that say under what terms its content may be passed
// on. Deep ones, of what others put into a module, are wanted too: they bind as much.
func texts(dir string, deep bool) ([]file, error) {
	var found []file
	err := filepath.WalkDir(dir, func(at string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && at != dir && (!deep || strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "examples"):
			return fs.SkipDir
		case d.IsDir() || !licenceName.MatchString(d.Name()):
			return nil
		}
		name, err := filepath.Rel(dir, at)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(at)
		found = append(found, file{name: filepath.ToSlash(name), mode: 0o644, data: b})
		return err
	})
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("no licence in %s", dir)
	}
	return found, err
}

// identify names the licences that texts are, by what only they say.
func identify(texts []file) ([]string, error) {
	found := make(map[string]bool)
	for _, t := range texts {
		if !strings.HasPrefix(strings.ToUpper(path.Base(t.name)), "LICEN") {
			continue
		}
		text := strings.Join(strings.Fields(string(t.data)), " ")
		for _, known := range []struct{ says, id string }{
			{"Permission is hereby granted, free of charge", "MIT"},
			{"Neither the name", "BSD-3-Clause"},
			{"Apache License, Version 2.0", "Apache-2.0"},
		} {
			if strings.Contains(text, known.says) {
				found[known.id] = true
			}
		}
		if strings.Contains(text, "Redistribution and use in source and binary forms") && !strings.Contains(text, "Neither the name") {
			found["BSD-2-Clause"] = true
		}
	}
	if len(found) == 0 {
		return nil, errors.New("a licence that tools/dist does not know")
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// vendored are the parts that lie in the repository and become part of the program.
func vendored() ([]part, error) {
	notes, err := filepath.Glob("web/*/*/VENDORED.md")
	if err != nil {
		return nil, err
	}
	var all []part
	for _, path := range notes {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		found, err := texts(filepath.Dir(path), false)
		if err != nil {
			return nil, err
		}
		one, err := readVendored(string(b))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		one.texts = found
		all = append(all, one)
	}
	font, err := os.ReadFile("internal/annotate/font.otf")
	if err != nil {
		return nil, err
	}
	terms, err := os.ReadFile("internal/annotate/OFL.txt")
	if err != nil {
		return nil, err
	}
	return append(all, part{
		name: "noto-sans-cjk-sc-subset", kind: "file", sum: sha256Hex(font), licences: []string{"OFL-1.1"},
		texts: []file{{name: "OFL.txt", mode: 0o644, data: terms}},
	}), nil
}

// readVendored reads the table at the top of a VENDORED.md.
func readVendored(notes string) (part, error) {
	row := func(name, value string) string {
		m := regexp.MustCompile(`(?m)^\| ` + name + ` \| ` + value).FindStringSubmatch(notes)
		if m == nil {
			return ""
		}
		return m[1]
	}
	one := part{name: row("package", "`([^`]+)` of the npm registry"), version: row("version", `(\S+) `), kind: "library", sum: row("package archive", "SHA-256 `([0-9a-f]{64})`")}
	licence := row("licence", `(\S+) `)
	if one.name == "" || one.version == "" || licence == "" || one.sum == "" {
		return one, fmt.Errorf("rows package, version, licence and package archive: got %+v, %q", one, licence)
	}
	one.licences, one.purl = []string{licence}, "pkg:npm/"+one.name+"@"+one.version
	return one, nil
}
