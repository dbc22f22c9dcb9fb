package machine

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// DropCode gives back the pages of the program's code and constants and of its
// libraries' that are in memory, and returns how many bytes they were. They are clean
// copies of files: the kernel brings one back when it is used, from its own cache unless
// memory has become short, 64 KB at a time. Most of them were touched once, at the start
// or by the first load of a model. Other systems than Linux keep them.
func DropCode() (bytes int64, err error) {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var m mapping
	in := bufio.NewScanner(f)
	for in.Scan() {
		line := in.Text()
		if next, ok := parseMapping(line); ok {
			bytes += m.drop()
			m = next
			continue
		}
		m.learn(line)
	}
	return bytes + m.drop(), in.Err()
}

// A mapping is one entry of smaps (proc_pid_smaps(5)).
type mapping struct {
	from, to uintptr
	file     bool  // private, of a file, and never written to by us
	resident int64 // bytes
	changed  int64 // of them, copies of our own: relocated constants
}

// parseMapping reads the first line of an entry, as in
// "00400000-00cfa000 r-xp 00001000 fe:00 1234  /usr/bin/lazyolo".
func parseMapping(line string) (m mapping, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 5 {
		return mapping{}, false
	}
	begin, end, _ := strings.Cut(fields[0], "-")
	from, err := strconv.ParseUint(begin, 16, 64)
	if err != nil {
		return mapping{}, false
	}
	to, err := strconv.ParseUint(end, 16, 64)
	if err != nil {
		return mapping{}, false
	}
	return mapping{from: uintptr(from), to: uintptr(to), file: fields[4] != "0" && (fields[1] == "r-xp" || fields[1] == "r--p")}, true
}

// learn reads another line of it, as in "Rss:   1234 kB".
func (m *mapping) learn(line string) {
	name, rest, _ := strings.Cut(line, ":")
	if name != "Rss" && name != "Anonymous" {
		return
	}
	n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
	switch {
	case err != nil:
		m.file = false
	case name == "Rss":
		m.resident = n << 10
	default:
		m.changed = n << 10
	}
}

// drop gives the pages back and returns their bytes.
func (m *mapping) drop() int64 {
	if !m.file || m.changed != 0 || m.resident == 0 {
		return 0
	}
	_, _, errno := unix.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED)
	if errno != 0 {
		return 0
	}
	return m.resident
}
