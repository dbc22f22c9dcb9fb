package ort

import (
	"debug/elf"
	"debug/macho"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// MinVersion is the oldest ONNX Runtime that offers the C API lazyolo is built
// against (ORT_API_VERSION of include/onnxruntime_c_api.h).
const MinVersion = "1.29.0"

// Remedy is the command that mends a missing or too old library.
const Remedy = "run: lazyolo doctor --fix"

// A Library is a libonnxruntime found on disk and not loaded.
type Library struct {
	Path    string
	Version string // such as "1.32.0"; "" when the file does not tell
	From    string // where it was found: "setting", "folder of the executable", "cache", "system" or "package"
}

// check refuses a library that is known to be too old.
func (l Library) check() error {
	if l.Version != "" && !atLeast(l.Version, MinVersion) {
		return fmt.Errorf("%s is ONNX Runtime %s, lazyolo needs %s or newer; %s", l.Path, l.Version, MinVersion, Remedy)
	}
	return nil
}

// Locate finds libonnxruntime without loading it: at explicit (a file) when that
// is not empty, else beside the executable, in the cache that Fetch fills, and
// where the system's loader looks. One that is too old or for another machine is
// passed over for the next; when there is no better one, it is the error.
func Locate(explicit string) (Library, error) {
	if explicit != "" {
		return inspect(explicit, "setting")
	}
	var unusable error
	for place := range places {
		path := newest(place.dir)
		if path == "" {
			continue
		}
		lib, err := inspect(path, place.from)
		if err == nil {
			return lib, nil
		}
		if unusable == nil {
			unusable = err
		}
	}
	if unusable != nil {
		return Library{}, unusable
	}
	return Library{}, fmt.Errorf("libonnxruntime not found; %s, or set ORT_LIBRARY to its path", Remedy)
}

type place struct{ dir, from string }

// places yields the folders Locate looks in, in order; the system's last, because
// asking for them starts a process.
func places(yield func(place) bool) {
	if exe, err := os.Executable(); err == nil && !yield(place{filepath.Dir(exe), "folder of the executable"}) {
		return
	}
	if dir, err := fetchDir(); err == nil && !yield(place{dir, "cache"}) {
		return
	}
	for _, dir := range systemDirs() {
		if !yield(place{dir, "system"}) {
			return
		}
	}
}

// libraryName is the file name without its version.
func libraryName() string {
	if runtime.GOOS == "darwin" {
		return "libonnxruntime.dylib"
	}
	return "libonnxruntime.so"
}

// newest returns the libonnxruntime with the highest version in dir, or "".
func newest(dir string) string {
	name := libraryName()
	stem, ext, _ := strings.Cut(name, ".")
	pattern := name + "*" // libonnxruntime.so.1.32.0
	if ext == "dylib" {
		pattern = stem + "*." + ext // libonnxruntime.1.32.0.dylib
	}
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		return ""
	}
	found = slices.DeleteFunc(found, func(p string) bool {
		st, err := os.Stat(p)
		return err != nil || !st.Mode().IsRegular()
	})
	return slices.MaxFunc(append(found, ""), compareVersions)
}

// systemDirs lists the folders of the dynamic loader: its environment variable,
// the ones its cache knows, and the usual ones.
func systemDirs() []string {
	dirs := []string{"/usr/local/lib", "/usr/lib", "/opt/homebrew/lib"}
	if runtime.GOOS == "linux" {
		out, err := exec.Command("/sbin/ldconfig", "-p").Output()
		for line := range strings.Lines(string(out)) {
			_, path, ok := strings.Cut(strings.TrimSpace(line), " => ")
			if err == nil && ok && strings.Contains(path, "libonnxruntime.so") {
				dirs = append([]string{filepath.Dir(path)}, dirs...)
			}
		}
	}
	env := "LD_LIBRARY_PATH"
	if runtime.GOOS == "darwin" {
		env = "DYLD_LIBRARY_PATH"
	}
	return append(filepath.SplitList(os.Getenv(env)), dirs...)
}

// inspect reads the version of the library at path from its headers.
func inspect(path, from string) (Library, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return Library{}, fmt.Errorf("find libonnxruntime: %w", err)
	}
	lib := Library{Path: path, From: from}
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return lib, fmt.Errorf("libonnxruntime: %s (from the %s) does not exist; %s", path, from, Remedy)
	case err != nil:
		return lib, fmt.Errorf("find libonnxruntime: %w", err)
	case !st.Mode().IsRegular():
		return lib, fmt.Errorf("libonnxruntime: %s is not a file; %s", path, Remedy)
	}
	if runtime.GOOS == "darwin" {
		lib.Version, err = machoVersion(path)
	} else {
		lib.Version, err = elfVersion(path)
	}
	if err != nil {
		return lib, fmt.Errorf("libonnxruntime: %s: %w; %s", path, err, Remedy)
	}
	return lib, lib.check()
}

// elfVersion reads the version from the symbol version that ONNX Runtime's
// Linux builds define, VERS_1.32.0.
func elfVersion(path string) (string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return "", fmt.Errorf("not a shared library: %w", err)
	}
	defer f.Close()
	machine := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH]
	if f.Machine != machine {
		return "", fmt.Errorf("built for %v, this machine is %s", f.Machine, runtime.GOARCH)
	}
	defs, err := f.DynamicVersions()
	if err != nil {
		return "", nil // a build of one's own may have no symbol versions
	}
	for _, d := range defs {
		if v, ok := strings.CutPrefix(d.Name, "VERS_"); ok {
			return v, nil
		}
	}
	return "", nil
}

// machoVersion reads the current version of the library's LC_ID_DYLIB command:
// cmd, size, name offset, timestamp, then xxxx.yy.zz packed in 32 bits.
func machoVersion(path string) (string, error) {
	f, err := macho.Open(path)
	if err != nil {
		return "", fmt.Errorf("not a shared library for this machine: %w", err)
	}
	defer f.Close()
	const idDylib = 0xd
	for _, l := range f.Loads {
		raw := l.Raw()
		if len(raw) < 20 || binary.LittleEndian.Uint32(raw) != idDylib {
			continue
		}
		v := binary.LittleEndian.Uint32(raw[16:])
		return fmt.Sprintf("%d.%d.%d", v>>16, v>>8&0xff, v&0xff), nil
	}
	return "", nil
}

// atLeast reports whether version a is b or newer.
func atLeast(a, b string) bool { return compareVersions(a, b) >= 0 }

// compareVersions orders strings by the numbers in them.
func compareVersions(a, b string) int { return slices.Compare(numbers(a), numbers(b)) }

func numbers(s string) []int {
	var out []int
	for _, f := range strings.FieldsFunc(filepath.Base(s), func(r rune) bool { return r < '0' || r > '9' }) {
		n, err := strconv.Atoi(f)
		if err == nil {
			out = append(out, n)
		}
	}
	return out
}
