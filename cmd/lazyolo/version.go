package main

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"lazyolo/internal/config"
	"lazyolo/internal/ort"
)

// Set through -ldflags: the version by the Makefile, all three by tools/dist. What is
// not set is asked of Go, which knows the commit where there was a checkout.
var buildVersion, buildCommit, buildDate = "dev", "", ""

// A build says what this program was made of.
type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"` // "" when unknown, as are the date and the library
	Date    string `json:"date"`   // of the commit, as in RFC 3339
	Dirty   bool   `json:"dirty"`  // the files were not those of the commit
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func thisBuild() build {
	b := build{buildVersion, buildCommit, buildDate, strings.HasSuffix(buildVersion, "-dirty"), runtime.Version(), runtime.GOOS, runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok || b.Commit != "" {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.Date = s.Value
		case "vcs.modified":
			b.Dirty = s.Value == "true"
		}
	}
	return b
}

// versionString is the build in one line.
func versionString() string {
	b := thisBuild()
	return fmt.Sprintf("%s %s %s/%s", b.Version, b.Go, b.OS, b.Arch)
}

// versionCommand makes the version command with its one flag.
func versionCommand() command {
	asJSON := false
	return command{
		name: "version", does: "print the version, the commit and which ONNX Runtime is found",
		examples: []string{"lazyolo version", "lazyolo version --json"}, settings: []string{"ORT_LIBRARY"},
		flags: func(fs *flag.FlagSet) { fs.BoolVar(&asJSON, "json", false, "print JSON") },
		run:   func(_ context.Context, c *config.Config, s sys) error { return version(c, s, asJSON) },
	}
}

// version does not fail for want of ONNX Runtime: doctor does.
func version(c *config.Config, s sys, asJSON bool) error {
	if err := noArguments("version", c); err != nil {
		return err
	}
	b := thisBuild()
	lib, missing := ort.Locate(c.ORTLibrary)
	if asJSON {
		type library struct {
			Version string `json:"version"`
			Path    string `json:"path"`
			From    string `json:"from"`
		}
		out := struct {
			build
			ORT *library `json:"onnxruntime"` // null: none that can be used
		}{build: b}
		if missing == nil {
			out.ORT = &library{lib.Version, lib.Path, lib.From}
		}
		return printJSON(s.stdout, out)
	}
	library := fmt.Sprintf("%s, %s (from the %s)", orUnknown(lib.Version), lib.Path, lib.From)
	if missing != nil {
		library = "none: " + missing.Error()
	}
	commit := strings.TrimSpace(b.Commit + " " + b.Date)
	if commit == "" {
		commit = "unknown"
	} else if b.Dirty {
		commit += ", changed since"
	}
	_, err := fmt.Fprintf(s.stdout, "lazyolo %s\n  commit        %s\n  onnx runtime  %s\n", versionString(), commit, library)
	return err
}
