package machine

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseMapping(t *testing.T) {
	for line, want := range map[string]struct {
		ok, file bool
	}{
		"00401000-00d81000 r-xp 00001000 fe:00 12345                      /usr/bin/lazyolo":        {true, true},
		"7f0000000000-7f0000001000 r--p 00000000 fe:00 9                  /lib/a file with spaces": {true, true},
		"00d81000-00f00000 rw-p 00980000 fe:00 12345                      /usr/bin/lazyolo":        {true, false},
		"7f0000000000-7f0000001000 r--s 00000000 fe:00 9                  /cache/model.ort":        {true, false},
		"7ffd1000-7ffd3000 r-xp 00000000 00:00 0                          [vdso]":                  {true, false},
		"7ffd1000-7ffd3000 r--p 00000000 00:00 0":                                                  {true, false},
		"Rss:                1234 kB": {},
		"VmFlags: rd ex mr mw me sd":  {},
		"x-y r-xp 0 0 1":              {},
		"12-z r-xp 0 0 1":             {},
	} {
		if m, ok := parseMapping(line); ok != want.ok || m.file != want.file {
			t.Errorf("%s: %+v, %v", line, m, ok)
		}
	}
	m, _ := parseMapping("00401000-00d81000 r-xp 00001000 fe:00 12345 /usr/bin/lazyolo")
	m.learn("Rss:                1234 kB")
	m.learn("Anonymous:             8 kB")
	m.learn("AnonHugePages:        16 kB")
	if m.from != 0x401000 || m.to != 0xd81000 || m.resident != 1234<<10 || m.changed != 8<<10 {
		t.Errorf("%+v", m)
	}
	if m.learn("Rss: many kB"); m.file {
		t.Error("what cannot be read counts")
	}
}

// mapped maps a file of two pages of 'x' privately, readable and writable.
func mapped(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	page := make([]byte, 2*os.Getpagesize())
	for i := range page {
		page[i] = 'x'
	}
	if err := os.WriteFile(path, page, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := unix.Mmap(int(f.Fd()), 0, len(page), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(b); err != nil {
			t.Error(err)
		}
	})
	return b
}

// resident reports whether the first page of b is mapped in.
func resident(t *testing.T, b []byte) bool {
	t.Helper()
	before := pageFaults(t)
	sink = b[0]
	return pageFaults(t) == before
}

var sink byte

func pageFaults(t *testing.T) int64 {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return u.Minflt
}

func TestDropCode(t *testing.T) {
	clean, changed := mapped(t), mapped(t)
	changed[0] = 'y' // as the loader relocates constants, which it then protects
	sink = clean[0]
	for _, b := range [][]byte{clean, changed} {
		if err := unix.Mprotect(b, unix.PROT_READ); err != nil {
			t.Fatal(err)
		}
	}
	before := Resident(os.Getpid())
	bytes, err := DropCode()
	after := Resident(os.Getpid())
	if err != nil || bytes <= 0 {
		t.Fatalf("%d bytes, %v", bytes, err)
	}
	if after >= before {
		t.Errorf("%d bytes resident, %d after %d were given back", before, after, bytes)
	}
	if resident(t, clean) {
		t.Error("a clean page of a file stays in memory")
	}
	if string(clean[:2]) != "xx" || string(changed[:2]) != "yx" {
		t.Errorf("contents are %q and %q afterwards", clean[:2], changed[:2])
	}
}
