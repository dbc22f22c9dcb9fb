package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func TestRelease(t *testing.T) {
	env := map[string]string{"VERSION": "v1.2.3", "COMMIT": "abc", "SOURCE_DATE_EPOCH": "1767355200"}
	getenv := func(name string) string { return env[name] }
	got, err := thisRelease(getenv)
	if err != nil || got != (release{"v1.2.3", "abc", noon}) {
		t.Errorf("got %v, %v", got, err)
	}
	for name, wrong := range map[string]string{"VERSION": "v1/2", "SOURCE_DATE_EPOCH": "today"} {
		right := env[name]
		env[name] = wrong
		if r, err := thisRelease(getenv); err == nil {
			t.Errorf("%s=%s: %v", name, wrong, r)
		}
		env[name] = right
	}
}

// Versions in the order in which they come out, and what Debian is told.
func TestDebianVersions(t *testing.T) {
	versions := [][2]string{
		{"8659a5467b2a", "0.0.0~20260102120000.8659a5467b2a"},
		{"v0.9.0", "0.9.0"},
		{"v1.2.0-beta.2", "1.2.0~beta.2"},
		{"v1.2.0-rc.1", "1.2.0~rc.1"},
		{"v1.2.0", "1.2.0"},
		{"v1.2.0-3-gabcdef012345", "1.2.0+3.gabcdef012345"},
		{"v1.2.0-11-gabcdef012345", "1.2.0+11.gabcdef012345"},
		{"v1.2.1", "1.2.1"},
	}
	for i, v := range versions {
		got := release{version: v[0], when: noon}.debian()
		if got != v[1] {
			t.Errorf("%s is %s, want %s", v[0], got, v[1])
		}
		if _, err := exec.LookPath("dpkg"); err != nil || i == 0 {
			continue
		}
		if err := exec.Command("dpkg", "--compare-versions", versions[i-1][1], "lt", got).Run(); err != nil {
			t.Errorf("dpkg does not put %s before %s", versions[i-1][1], got)
		}
	}
	for version, want := range map[string]string{"8659a5467b2a-dirty": "0.0.0~20260102120000.8659a5467b2a+dirty", "v1.2.0-dirty": "1.2.0+dirty"} {
		if got := (release{version: version, when: noon}).debian(); got != want {
			t.Errorf("%s is %s, want %s", version, got, want)
		}
	}
}

func TestOlder(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{{"2.9", "2.34", true}, {"2.34", "2.34", false}, {"2.36", "2.34", false}, {"", "2.2.5", true}, {"2.2.5", "2.3", true}, {"2.34", "PRIVATE", false}} {
		if older(tt.a, tt.b) != tt.want {
			t.Errorf("older(%q, %q) is not %v", tt.a, tt.b, tt.want)
		}
	}
}

// list names what a tar.gz holds, with what an archive must not take over from a machine.
func list(t *testing.T, b []byte) []string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "root" || !h.ModTime.Equal(noon) {
			t.Errorf("%s: %+v", h.Name, h)
		}
		line := h.FileInfo().Mode().String() + " " + h.Name
		if h.Linkname != "" {
			line += " -> " + h.Linkname
		}
		out = append(out, line)
	}
}

func TestArchive(t *testing.T) {
	files := []file{
		{name: "docs/en/a.md", mode: 0o644, data: []byte("text")}, {name: "bin/x", mode: 0o755, data: []byte("program")}, {name: "y", link: "bin/x"}, {name: "docs/b.md", mode: 0o644},
	}
	got, err := targz("p-1/", files, noon)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"drwxr-xr-x p-1/", "drwxr-xr-x p-1/bin/", "-rwxr-xr-x p-1/bin/x", "drwxr-xr-x p-1/docs/", "-rw-r--r-- p-1/docs/b.md", "drwxr-xr-x p-1/docs/en/", "-rw-r--r-- p-1/docs/en/a.md", "Lrwxrwxrwx p-1/y -> bin/x"}
	if d := cmp.Diff(want, list(t, got)); d != "" {
		t.Error(d)
	}
	files[0], files[3] = files[3], files[0]
	if again, err := targz("p-1/", files, noon); err != nil || !bytes.Equal(got, again) {
		t.Errorf("another order, another archive: %v", err)
	}
	for _, name := range []string{"/etc/passwd", "../x", "a/../../x", "docs", "bin/x"} {
		if _, err := targz("p-1/", append(files, file{name: name}), noon); err == nil {
			t.Errorf("%s was packed", name)
		}
	}
}

func TestAr(t *testing.T) {
	var b bytes.Buffer
	if err := ar(&b, []file{{name: "a", data: []byte("odd")}, {name: "b", data: []byte("even")}}, noon); err != nil {
		t.Fatal(err)
	}
	want := "!<arch>\n" +
		"a               1767355200  0     0     100644  3         `\nodd\n" +
		"b               1767355200  0     0     100644  4         `\neven"
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
	if err := ar(io.Discard, []file{{name: "a-name-that-is-too-long"}}, noon); err == nil {
		t.Error("a name longer than the field")
	}
}

func TestIdentify(t *testing.T) {
	const bsd = "Redistribution and use in source and binary\n forms, with or without"
	for name, tt := range map[string]struct {
		texts []file
		want  []string
	}{
		"mit":      {[]file{{name: "LICENSE", data: []byte("Permission is hereby granted,\nfree of charge, to")}}, []string{"MIT"}},
		"bsd2":     {[]file{{name: "LICENSE", data: []byte(bsd)}}, []string{"BSD-2-Clause"}},
		"bsd3":     {[]file{{name: "license.txt", data: []byte(bsd + " Neither the name of")}}, []string{"BSD-3-Clause"}},
		"two":      {[]file{{name: "LICENSE", data: []byte("Apache License, Version 2.0")}, {name: "x/LICENSE", data: []byte(bsd)}}, []string{"Apache-2.0", "BSD-2-Clause"}},
		"unknown":  {[]file{{name: "LICENSE", data: []byte("You may look at it.")}}, nil},
		"a notice": {[]file{{name: "NOTICE", data: []byte("Apache License, Version 2.0")}}, nil},
	} {
		got, err := identify(tt.texts)
		if d := cmp.Diff(tt.want, got); d != "" || (err == nil) != (tt.want != nil) {
			t.Errorf("%s: %v %s", name, err, d)
		}
	}
}

// TestVendored: everything vendored is a part with its texts, wherever it lies below web.
func TestVendored(t *testing.T) {
	t.Chdir("../..")
	parts, err := vendored()
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, p := range parts {
		names[p.name] = true
		if len(p.texts) == 0 || len(p.licences) == 0 || len(p.sum) != 64 {
			t.Errorf("%+v", p)
		}
	}
	if len(names) != 3 || !names["uplot"] || !names["swagger-ui-dist"] {
		t.Errorf("got %v", names)
	}
	notes, err := exec.Command("git", "ls-files", "*VENDORED.md").Output()
	if err == nil {
		for name := range strings.FieldsSeq(string(notes)) {
			if !strings.HasPrefix(name, "test/") && len(strings.Split(name, "/")) != 4 {
				t.Errorf("%s is not looked at", name)
			}
		}
	}
	if _, err := readVendored("| package | `x` of the npm registry |"); err == nil {
		t.Error("a table without a version was read")
	}
}

// TestControl makes a package of little files and has dpkg look at it.
func TestControl(t *testing.T) {
	t.Chdir("../..")
	p := &program{arch: "arm64", binary: []byte("program"), library: []byte("library"), glibc: "2.34"}
	p.about.Path = "x/libonnxruntime.so.1.2.3"
	r := release{version: "v1.2.0-rc.1", commit: "abc", when: noon}
	shared := []file{{name: "README.md", mode: 0o644, data: []byte("read me")}}
	pkg, err := r.deb(p, shared)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := r.deb(p, shared); err != nil || !bytes.Equal(pkg, again) {
		t.Errorf("twice the same is not the same: %v", err)
	}
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("dpkg-deb is not here: what it reads of a package is not tested")
	}
	path := filepath.Join(t.TempDir(), "x.deb")
	if err := os.WriteFile(path, pkg, 0o644); err != nil {
		t.Fatal(err)
	}
	ask := func(args ...string) string {
		out, err := exec.Command("dpkg-deb", append(args, path)...).CombinedOutput()
		if err != nil {
			t.Errorf("dpkg-deb %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	for _, want := range []string{"Version: 1.2.0~rc.1\n", "Architecture: arm64\n", "Depends: libc6 (>= 2.34),"} {
		if got := ask("--field"); !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	if got := ask("--info"); strings.Contains(got, "{") {
		t.Errorf("something is not filled in:\n%s", got)
	}
	contents := ask("--contents")
	for _, want := range []string{
		"./usr/bin/lazyolo -> ../lib/lazyolo/lazyolo", "-rwxr-xr-x root/root         7", "./usr/lib/lazyolo/libonnxruntime.so.1.2.3", "./etc/lazyolo/lazyolo.yaml",
		"./usr/lib/systemd/system/lazyolo.service", "./usr/share/doc/lazyolo/README.md", "./usr/share/doc/lazyolo/copyright", "./usr/share/doc/lazyolo/changelog.gz",
	} {
		if !strings.Contains(contents, want) {
			t.Errorf("no %q in:\n%s", want, contents)
		}
	}
}

// TestSums: SHA256SUMS is what sha256sum reads, of everything but itself and of others' files.
func TestSums(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"lazyolo-1-linux-amd64.tar.gz": "a", "lazyolo_1_amd64.deb": "b", "notes.txt": "mine", "SHA256SUMS": "old"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeSums(dir); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
	want := "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb  lazyolo-1-linux-amd64.tar.gz\n" +
		"3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d  lazyolo_1_amd64.deb\n"
	if d := cmp.Diff(want, string(got)); err != nil || d != "" {
		t.Error(err, d)
	}
	if err := clear(dir); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != "notes.txt" {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestCompiler: what is missing is told with the way out.
func TestCompiler(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("CC_arm64", "")
	_, err := compiler("arm64")
	if err == nil || !strings.Contains(err.Error(), "apt-get install gcc-aarch64-linux-gnu") && !strings.Contains(err.Error(), "gcc") {
		t.Error(err)
	}
	if _, err := compiler("riscv64"); err == nil {
		t.Error("riscv64 has a compiler")
	}
}
