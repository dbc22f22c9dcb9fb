// Package machine reads what the system lets a process see of itself and of its
// limits: resident memory, memory and CPU limits of its control groups, CPU
// features; and it gives pages of code back that nobody uses. It imports nothing of ours
// and keeps no state.
package machine

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/cpu"
)

// A Memory is a process's resident memory in bytes.
type Memory struct {
	RSS  int64 // all resident pages
	Anon int64 // those without a file behind them: what only exit or free gives back
	Peak int64 // highest RSS since start or since ResetPeak
}

// Process reads the memory of the process with the given id; 0 means this one.
// Where /proc is missing (macOS) it is an error.
func Process(pid int) (Memory, error) {
	who := "self"
	if pid != 0 {
		who = strconv.Itoa(pid)
	}
	b, err := os.ReadFile("/proc/" + who + "/status")
	if err != nil {
		return Memory{}, fmt.Errorf("read memory: %w", err)
	}
	var m Memory
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(line, ":")
		to := map[string]*int64{"VmRSS": &m.RSS, "RssAnon": &m.Anon, "VmHWM": &m.Peak}[key]
		if to == nil {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return m, fmt.Errorf("read memory: %s: %w", key, err)
		}
		*to = kib << 10
	}
	return m, nil
}

// Resident returns the RSS of the process with the given id in bytes, 0 where it
// cannot be read. It costs microseconds.
func Resident(pid int) int64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b)) // proc(5): size resident shared ..., in pages
	if len(f) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// ResetPeak starts Memory.Peak of this process anew at its present RSS.
func ResetPeak() error {
	// proc(5): writing 5 resets the peak resident set size.
	return os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
}

// A Limit is a bound and what sets it.
type Limit struct {
	Bytes int64
	From  string // such as "cgroup v2 /system.slice/lazyolo.service" or "machine"
}

// MemoryLimit returns the lowest memory limit on this process: of its control
// group or any above it (v2 or v1), else the machine's memory. Zero bytes: unknown.
func MemoryLimit() Limit { return memoryLimit(os.DirFS("/").(readFileFS)) }

// readFileFS is the part of a file system that the readers of limits need.
type readFileFS interface {
	ReadFile(name string) ([]byte, error)
}

func memoryLimit(fsys readFileFS) Limit {
	lowest := Limit{Bytes: machineMemory(fsys), From: "machine"}
	for _, g := range controlGroups(fsys, "memory") {
		// v1 says "no limit" with a number near 2^63, which is never the lowest.
		n, ok := readInt(fsys, path.Join(g.dir, g.limitFile))
		if ok && n > 0 && (lowest.Bytes == 0 || n < lowest.Bytes) {
			lowest = Limit{Bytes: n, From: g.name}
		}
	}
	return lowest
}

// machineMemory reads MemTotal of /proc/meminfo.
func machineMemory(fsys readFileFS) int64 {
	b, err := fsys.ReadFile("proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err == nil {
				return kib << 10
			}
		}
	}
	return 0
}

type controlGroup struct{ name, dir, limitFile string }

// controlGroups lists this process's control group for a v1 controller or for
// v2, and every one above it up to the root of what is visible here.
func controlGroups(fsys readFileFS, controller string) []controlGroup {
	b, err := fsys.ReadFile("proc/self/cgroup")
	if err != nil {
		return nil
	}
	var out []controlGroup
	for line := range strings.Lines(string(b)) {
		// cgroups(7): hierarchy-ID:controller-list:path
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		root, version, file := "sys/fs/cgroup", "v2", "memory.max"
		if f[0] != "0" {
			if !slices.Contains(strings.Split(f[1], ","), controller) {
				continue
			}
			root, version, file = "sys/fs/cgroup/"+controller, "v1", "memory.limit_in_bytes"
		}
		for p := path.Clean("/" + f[2]); ; p = path.Dir(p) {
			out = append(out, controlGroup{"cgroup " + version + " " + p, path.Join(root, p), file})
			if p == "/" {
				break
			}
		}
	}
	return out
}

func readInt(fsys readFileFS, name string) (int64, bool) {
	b, err := fsys.ReadFile(name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil // "max" is no number: no limit
}

// CPUs returns how many cores this process may use: Go's own reading of the
// affinity mask and the control groups' quota, rounded up, at least 1.
func CPUs() int { return runtime.GOMAXPROCS(0) }

// CPUFeatures names the instruction set and the extensions that decide how ONNX
// Runtime lays out and computes a model, such as "amd64+avx2+fma+avx512f".
func CPUFeatures() string {
	features := []struct {
		name string
		have bool
	}{
		{"avx", cpu.X86.HasAVX}, {"avx2", cpu.X86.HasAVX2}, {"fma", cpu.X86.HasFMA},
		{"avx512f", cpu.X86.HasAVX512F}, {"avx512bw", cpu.X86.HasAVX512BW}, {"avx512vl", cpu.X86.HasAVX512VL},
		{"avx512vnni", cpu.X86.HasAVX512VNNI}, {"avx512bf16", cpu.X86.HasAVX512BF16}, {"amx", cpu.X86.HasAMXTile},
		{"asimdhp", cpu.ARM64.HasASIMDHP}, {"asimddp", cpu.ARM64.HasASIMDDP}, {"sve", cpu.ARM64.HasSVE},
	}
	s := runtime.GOARCH
	for _, f := range features {
		if f.have {
			s += "+" + f.name
		}
	}
	return s
}

// Children lists the direct child processes of pid; 0 means this process.
func Children(pid int) []int {
	if pid == 0 {
		pid = os.Getpid()
	}
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil
	}
	var out []int
	for _, name := range lists {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // the thread ended meanwhile
		}
		for f := range strings.FieldsSeq(string(b)) {
			if n, err := strconv.Atoi(f); err == nil {
				out = append(out, n)
			}
		}
	}
	return out
}
