// Command audit looks at the modules that lazyolo is built of, offline: each has a
// permissive licence, none is replaced by another, and each that go.mod names
// directly is explained in docs/en/decisions.md and docs/zh/decisions.md. It runs
// from the repository's root.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	log.SetFlags(0)
	if err := audit(); err != nil {
		log.Fatal("audit: ", err)
	}
}

// A module as go list shows it.
type module struct {
	Path, Version, Dir string
	Main, Indirect     bool
	Replace            *module
}

func audit() error {
	mods, err := linked()
	if err != nil {
		return err
	}
	var reasons []string
	for _, lang := range []string{"en", "zh"} {
		b, err := os.ReadFile(filepath.Join("docs", lang, "decisions.md"))
		if err != nil {
			return err
		}
		reasons = append(reasons, string(b))
	}
	var errs []error
	for _, path := range slices.Sorted(maps.Keys(mods)) {
		m := mods[path]
		if m.Replace != nil {
			errs = append(errs, fmt.Errorf("%s is replaced", path))
			continue
		}
		if err := permissive(m.Dir); err != nil {
			errs = append(errs, fmt.Errorf("%s %s: %w", path, m.Version, err))
		}
		for i, text := range reasons {
			if !m.Indirect && !strings.Contains(text, path) {
				errs = append(errs, fmt.Errorf("%s is not explained in docs/%s/decisions.md", path, []string{"en", "zh"}[i]))
			}
		}
	}
	if len(errs) == 0 {
		fmt.Printf("audit: %d modules, all of permissive licence\n", len(mods))
	}
	return errors.Join(errs...)
}

// linked are the modules in the binary.
func linked() (map[string]module, error) {
	cmd := exec.Command("go", "list", "-deps", "-json=Module", "./cmd/lazyolo")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list packages: %w", err)
	}
	mods := make(map[string]module)
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct{ Module *module }
		if err := dec.Decode(&p); err == io.EOF {
			return mods, nil
		} else if err != nil {
			return nil, fmt.Errorf("read packages: %w", err)
		}
		if p.Module != nil && !p.Module.Main {
			mods[p.Module.Path] = *p.Module
		}
	}
}

// permissive reports what keeps the licence in a folder from being one of those
// that ask for little more than to be named.
func permissive(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return err
	}
	for _, f := range files {
		name := strings.ToUpper(filepath.Base(f))
		if !strings.HasPrefix(name, "LICENSE") && !strings.HasPrefix(name, "LICENCE") && !strings.HasPrefix(name, "COPYING") {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		text := strings.Join(strings.Fields(string(b)), " ")
		for _, known := range []string{"Permission is hereby granted, free of charge", "Redistribution and use in source and binary forms", "Apache License"} {
			if strings.Contains(text, known) {
				return nil
			}
		}
		return fmt.Errorf("%s is not known as permissive", filepath.Base(f))
	}
	return errors.New("it has no licence")
}
