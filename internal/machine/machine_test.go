package machine

import (
	"os"
	"testing"
	"testing/fstest"
)

func TestMemoryLimit(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	meminfo := file("MemTotal:        2048 kB\nMemFree: 1 kB\n")
	tests := map[string]struct {
		fs   fstest.MapFS
		want Limit
	}{
		"machine only": {fstest.MapFS{"proc/meminfo": meminfo}, Limit{2048 << 10, "machine"}},
		"v2, own group": {fstest.MapFS{
			"proc/meminfo":                  meminfo,
			"proc/self/cgroup":              file("0::/a/b\n"),
			"sys/fs/cgroup/a/b/memory.max":  file("1000\n"),
			"sys/fs/cgroup/a/memory.max":    file("max\n"),
			"sys/fs/cgroup/cpu/a/something": file("1"),
		}, Limit{1000, "cgroup v2 /a/b"}},
		"v2, a group above is lower": {fstest.MapFS{
			"proc/meminfo":                 meminfo,
			"proc/self/cgroup":             file("0::/a/b\n"),
			"sys/fs/cgroup/a/b/memory.max": file("max\n"),
			"sys/fs/cgroup/a/memory.max":   file("900\n"),
		}, Limit{900, "cgroup v2 /a"}},
		"v1, unlimited group under a limited root": {fstest.MapFS{
			"proc/meminfo":     meminfo,
			"proc/self/cgroup": file("4:cpu,cpuacct:/x\n3:memory:/x\n"),
			"sys/fs/cgroup/memory/x/memory.limit_in_bytes": file("9223372036854771712\n"),
			"sys/fs/cgroup/memory/memory.limit_in_bytes":   file("800\n"),
		}, Limit{800, "cgroup v1 /"}},
		"group above the machine": {fstest.MapFS{
			"proc/meminfo":             meminfo,
			"proc/self/cgroup":         file("0::/\n"),
			"sys/fs/cgroup/memory.max": file("99999999999\n"),
		}, Limit{2048 << 10, "machine"}},
		"nothing known": {fstest.MapFS{}, Limit{0, "machine"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := memoryLimit(tt.fs); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestProcess(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("no /proc here")
	}
	m, err := Process(0)
	if err != nil || m.RSS <= 0 || m.Anon <= 0 || m.Anon > m.RSS || m.Peak < m.RSS {
		t.Errorf("got %+v, %v", m, err)
	}
	if _, err := Process(1 << 30); err == nil {
		t.Error("no error for a process that cannot exist")
	}
}
