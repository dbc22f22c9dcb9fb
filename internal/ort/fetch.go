package ort

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// A pin is one official package that holds libonnxruntime, and what the library
// in it must hash to.
type pin struct {
	tool     string // "pip" or "npm"
	version  string
	platform string // pip's platform tag
	part
}

// A part is one file of a package.
type part struct {
	member string // its path in the package
	file   string // the name it gets outside
	sha256 string
}

// pins lists the packages per platform, the preferred one first. npm serves an
// older release than pip: the newest there is one minor above MinVersion.
var pins = map[string][]pin{
	"linux/amd64": {
		{"pip", "1.32.0", "manylinux_2_28_x86_64", part{"onnxruntime/capi/libonnxruntime.so.1.32.0", "libonnxruntime.so.1.32.0",
			"6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f"}},
		{"npm", "1.30.0", "", part{"package/bin/napi-v6/linux/x64/libonnxruntime.so.1", "libonnxruntime.so.1.30.0", "ffb75a925ba05e47b235bb66e3e3911714a80b328a9c9425539feb204aa32a23"}},
	},
	"linux/arm64": {
		{"pip", "1.32.0", "manylinux_2_28_aarch64", part{"onnxruntime/capi/libonnxruntime.so.1.32.0", "libonnxruntime.so.1.32.0",
			"49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a"}},
		{"npm", "1.30.0", "", part{"package/bin/napi-v6/linux/arm64/libonnxruntime.so.1", "libonnxruntime.so.1.30.0", "1f549d46250b005580b597f4164984aaf75b3bcb9f3aeb07c7f8a8fe60b23c76"}},
	},
	"darwin/arm64": {
		{"pip", "1.32.0", "macosx_14_0_arm64", part{"onnxruntime/capi/libonnxruntime.1.32.0.dylib", "libonnxruntime.1.32.0.dylib",
			"fa585fabbea65b823b9a8f7e27d46aee3989d1be7e36b528203d3a1fd613aae7"}},
		{"npm", "1.30.0", "", part{"package/bin/napi-v6/darwin/arm64/libonnxruntime.1.30.0.dylib", "libonnxruntime.1.30.0.dylib", "685d2be5dba1309c89d3a5324b7fd06a5c42f1a61bfea32d14c4cc28d072121d"}},
	},
}

// licences are what the pinned wheels say about ONNX Runtime and about what it
// contains; they are the same on every platform.
var licences = []part{
	{"onnxruntime/LICENSE", "LICENSE", "2f07c72751aed99790b8a4869cf2311df85a860b22ded05fa22803587a48922c"},
	{"onnxruntime/ThirdPartyNotices.txt", "ThirdPartyNotices.txt", "d8696258afcf9df7827a5e01d6b6d55ee9b461b4e82020f5f48242deb9cc2270"},
}

// maxLibrary bounds what is unpacked: a package that claims more is refused.
const maxLibrary = 256 << 20

// fetchDir is the user's cache folder for libonnxruntime.
func fetchDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "lazyolo", "onnxruntime"), nil
}

// Fetch brings the pinned libonnxruntime into the user's cache folder, from the
// official Python wheel by pip or, where pip is missing or fails, from the
// official Node package by npm. The library is checked by SHA-256 before it is
// put in place. Progress goes to log, a line each.
func Fetch(ctx context.Context, log io.Writer) (Library, error) {
	dir, err := fetchDir()
	if err != nil {
		return Library{}, fmt.Errorf("fetch onnx runtime: no cache folder: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Library{}, fmt.Errorf("fetch onnx runtime: %w", err)
	}
	candidates := pins[runtime.GOOS+"/"+runtime.GOARCH]
	if len(candidates) == 0 {
		return Library{}, fmt.Errorf("fetch onnx runtime: no package is pinned for %s/%s; set ORT_LIBRARY to a library of your own",
			runtime.GOOS, runtime.GOARCH)
	}
	var failures []error
	for _, p := range candidates {
		fmt.Fprintf(log, "fetching ONNX Runtime %s with %s\n", p.version, p.tool)
		err := p.fetch(ctx, dir, p.part)
		if err == nil {
			return inspect(filepath.Join(dir, p.file), "cache")
		}
		fmt.Fprintf(log, "%s: %v\n", p.tool, err)
		failures = append(failures, fmt.Errorf("%s: %w", p.tool, err))
	}
	return Library{}, fmt.Errorf("fetch onnx runtime: %w (install pip or npm, or set ORT_LIBRARY)", errors.Join(failures...))
}

// Bundle brings the library that is pinned for a platform, such as "linux/arm64",
// into dir, beside it the package's LICENSE and ThirdPartyNotices.txt: what whoever
// passes the library on must pass on with it. It takes the preferred package only, so
// that the files are the same everywhere; those that are there already are kept.
func Bundle(ctx context.Context, platform, dir string, log io.Writer) (Library, error) {
	if len(pins[platform]) == 0 {
		return Library{}, fmt.Errorf("bundle onnx runtime: no package is pinned for %s", platform)
	}
	p := pins[platform][0]
	lib := Library{Path: filepath.Join(dir, p.file), Version: p.version, From: "package"}
	parts := append([]part{p.part}, licences...)
	there := true
	for _, one := range parts {
		there = there && one.check(filepath.Join(dir, one.file)) == nil
	}
	if there {
		return lib, nil
	}
	fmt.Fprintf(log, "fetching ONNX Runtime %s for %s with %s\n", p.version, platform, p.tool)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Library{}, fmt.Errorf("bundle onnx runtime: %w", err)
	}
	if err := p.fetch(ctx, dir, parts...); err != nil {
		return Library{}, fmt.Errorf("bundle onnx runtime: %s: %w", p.tool, err)
	}
	return lib, nil
}

// check compares a file with the part's digest.
func (one part) check(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	return one.compare(h)
}

func (one part) compare(h hash.Hash) error {
	if got := hex.EncodeToString(h.Sum(nil)); got != one.sha256 {
		return fmt.Errorf("%s has SHA-256 %s, expected %s", one.member, got, one.sha256)
	}
	return nil
}

// fetch puts parts of the package into dir, when all are as they should be.
func (p pin) fetch(ctx context.Context, dir string, parts ...part) error {
	tmp, err := os.MkdirTemp(dir, "fetch-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	pkg, err := p.download(ctx, tmp)
	if err != nil {
		return err
	}
	for _, one := range parts {
		if err := p.unpack(pkg, one, filepath.Join(tmp, one.file)); err != nil {
			return fmt.Errorf("unpack %s: %w", filepath.Base(pkg), err)
		}
	}
	for _, one := range parts {
		if err := os.Rename(filepath.Join(tmp, one.file), filepath.Join(dir, one.file)); err != nil {
			return err
		}
	}
	return nil
}

// download runs the package manager and returns the one package it left in dir.
func (p pin) download(ctx context.Context, dir string) (string, error) {
	commands := [][]string{{"npm", "pack", "--silent", "--pack-destination", dir, "onnxruntime-node@" + p.version}}
	if p.tool == "pip" {
		args := []string{"download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:",
			"--python-version", "3.12", "--platform", p.platform, "--dest", dir, "onnxruntime==" + p.version}
		commands = nil
		for _, pip := range [][]string{{"pip3"}, {"pip"}, {"python3", "-m", "pip"}} {
			commands = append(commands, append(pip, args...))
		}
	}
	err := fmt.Errorf("not installed")
	for _, c := range commands {
		if _, missing := exec.LookPath(c[0]); missing != nil {
			continue
		}
		cmd := exec.CommandContext(ctx, c[0], c[1:]...)
		cmd.Dir = dir
		out, failed := cmd.CombinedOutput()
		if failed != nil {
			err = fmt.Errorf("%w: %s", failed, lastLine(out))
			continue
		}
		found, globErr := filepath.Glob(filepath.Join(dir, "*onnxruntime*"))
		if globErr == nil && len(found) == 1 {
			return found[0], nil
		}
		err = fmt.Errorf("left %d packages instead of one", len(found))
	}
	return "", err
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// unpack copies a part out of the package to path and checks its digest.
func (p pin) unpack(pkg string, one part, path string) error {
	src, err := p.open(pkg, one.member)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(dst, h), io.LimitReader(src, maxLibrary))
	if err = errors.Join(err, dst.Close()); err != nil {
		return err
	}
	return one.compare(h)
}

// open opens a file inside the wheel (a zip) or the Node package (a tar.gz).
func (p pin) open(pkg, name string) (io.ReadCloser, error) {
	if p.tool == "pip" {
		z, err := zip.OpenReader(pkg)
		if err != nil {
			return nil, err
		}
		f, err := z.Open(name)
		if err != nil {
			return nil, errors.Join(err, z.Close())
		}
		return &member{f, z}, nil
	}
	f, err := os.Open(pkg)
	if err != nil {
		return nil, err
	}
	gz, err := gzip.NewReader(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	for r := tar.NewReader(gz); ; {
		h, err := r.Next()
		if err == io.EOF {
			err = fs.ErrNotExist
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", name, err), f.Close())
		}
		if h.Name == name && h.Typeflag == tar.TypeReg {
			return &member{r, f}, nil
		}
	}
}

// A member is one file of a package; closing it closes the package.
type member struct {
	io.Reader
	io.Closer
}
