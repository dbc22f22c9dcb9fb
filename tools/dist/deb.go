package main

import (
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// conffiles are what an administrator edits: an upgrade asks before it changes one.
var conffiles = map[string]string{"etc/lazyolo/lazyolo.yaml": "deploy/debian/lazyolo.yaml"}

// deb makes the Debian package: the program and the library in a folder of their own, a
// link to it, the settings, the systemd unit, and shared as its documentation.
func (r release) deb(p *program, shared []file) ([]byte, error) {
	data := p.files("usr/lib/lazyolo/")
	data = append(data, file{name: "usr/bin/lazyolo", link: "../lib/lazyolo/lazyolo"})
	for _, f := range shared {
		f.name = "usr/share/doc/lazyolo/" + f.name
		data = append(data, f)
	}
	add := func(name, from string) error {
		b, err := os.ReadFile(from)
		data = append(data, file{name: name, mode: 0o644, data: b})
		return err
	}
	if err := add("usr/lib/systemd/system/lazyolo.service", "deploy/systemd/lazyolo.service"); err != nil {
		return nil, err
	}
	if err := add("usr/share/doc/lazyolo/copyright", "deploy/debian/copyright"); err != nil {
		return nil, err
	}
	changes, err := r.changelog()
	if err != nil {
		return nil, err
	}
	data = append(data, file{name: "usr/share/doc/lazyolo/changelog.gz", mode: 0o644, data: changes})
	for name, from := range conffiles {
		if err := add(name, from); err != nil {
			return nil, err
		}
	}
	control, err := r.control(p, data)
	if err != nil {
		return nil, err
	}
	var members []file
	for _, m := range []struct {
		name  string
		files []file
	}{{"control.tar.gz", control}, {"data.tar.gz", data}} {
		b, err := targz("./", m.files, r.when)
		if err != nil {
			return nil, err
		}
		members = append(members, file{name: m.name, data: b})
	}
	var out bytes.Buffer
	err = ar(&out, append([]file{{name: "debian-binary", data: []byte("2.0\n")}}, members...), r.when)
	return out.Bytes(), err
}

// changelog is what Debian wants to find: this version, and where to read more.
func (r release) changelog() ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := fmt.Fprintf(z, "lazyolo (%s) stable; urgency=medium\n\n  * What is new stands in CHANGELOG.md beside this file.\n\n -- The lazyolo authors <authors@lazyolo.invalid>  %s\n",
		r.debian(), r.when.Format(time.RFC1123Z))
	err = errors.Join(err, z.Close()) // which writes the last bytes
	return b.Bytes(), err
}

// control is what dpkg reads: about the package, its settings files, sums and scripts.
func (r release) control(p *program, data []file) ([]file, error) {
	size := 0
	var sums, confs strings.Builder
	for _, f := range slices.SortedFunc(slices.Values(data), func(a, b file) int { return strings.Compare(a.name, b.name) }) {
		size += (len(f.data) + 1023) / 1024
		if _, conf := conffiles[f.name]; conf {
			fmt.Fprintf(&confs, "/%s\n", f.name)
		} else if f.link == "" {
			fmt.Fprintf(&sums, "%x  %s\n", md5.Sum(f.data), f.name) // what dpkg --verify compares; nothing is trusted to it
		}
	}
	about, err := os.ReadFile("deploy/debian/control")
	if err != nil {
		return nil, err
	}
	filled := strings.NewReplacer("{version}", r.debian(), "{arch}", p.arch, "{size}", fmt.Sprint(size), "{glibc}", p.glibc).Replace(string(about))
	out := []file{
		{name: "control", mode: 0o644, data: []byte(filled)}, {name: "conffiles", mode: 0o644, data: []byte(confs.String())}, {name: "md5sums", mode: 0o644, data: []byte(sums.String())},
	}
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		b, err := os.ReadFile(path.Join("deploy/debian", script))
		if err != nil {
			return nil, err
		}
		out = append(out, file{name: script, mode: 0o755, data: b})
	}
	return out, nil
}
