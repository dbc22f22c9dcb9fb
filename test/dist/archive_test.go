package dist

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestReproducible builds the same once more, from a copy in another folder that is no
// checkout, with an empty build cache: every byte is the same.
func TestReproducible(t *testing.T) {
	copied := filepath.Join(t.TempDir(), "elsewhere", "lazyolo")
	names := strings.Split(strings.TrimRight(run(t, root, nil, "git", "ls-files", "-co", "--exclude-standard", "-z"), "\x00"), "\x00")
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) {
			continue // deleted and not yet committed
		}
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(copied, name), string(b), 0o600)
	}
	git := func(args ...string) string { return strings.TrimSpace(run(t, root, nil, "git", args...)) }
	again := t.TempDir()
	err := makeRelease(copied, again, runtime.GOARCH, "GOCACHE="+t.TempDir(), "VERSION="+git("describe", "--tags", "--always", "--dirty", "--abbrev=12"),
		"COMMIT="+git("rev-parse", "HEAD"), "SOURCE_DATE_EPOCH="+git("log", "-1", "--format=%ct"))
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"lazyolo-*" + runtime.GOARCH + ".tar.gz", "lazyolo-*" + runtime.GOARCH + ".cdx.json", "lazyolo_*_" + runtime.GOARCH + ".deb"} {
		first := result(t, pattern)
		if !bytes.Equal(readFile(t, first), readFile(t, filepath.Join(again, filepath.Base(first)))) {
			t.Errorf("%s is another one from another folder", filepath.Base(first))
		}
	}
}

// TestSums: SHA256SUMS holds, and names everything.
func TestSums(t *testing.T) {
	named := 0
	for line := range strings.Lines(string(readFile(t, filepath.Join(released, "SHA256SUMS")))) {
		sum, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		got := sha256.Sum256(readFile(t, filepath.Join(released, name)))
		if !ok || sum != hex.EncodeToString(got[:]) {
			t.Errorf("%q: the file has %x", line, got)
		}
		named++
	}
	if want := 3*len(archs) + 2; named != want {
		t.Errorf("%d files are named, want %d", named, want)
	}
}

// TestArchive follows the manual: unpack into an empty folder, doctor, serve, detect. The
// home is empty, the PATH leads nowhere, and nothing may be fetched.
func TestArchive(t *testing.T) {
	dir := unpack(t, runtime.GOARCH)
	for _, name := range []string{"LICENSE", "NOTICE", "README.md", "README.zh.md", "docs/en/install.md", "docs/zh/install.md", "deploy/systemd/lazyolo.service", "licenses/onnxruntime/ThirdPartyNotices.txt"} {
		if len(readFile(t, filepath.Join(dir, name))) == 0 {
			t.Errorf("%s is empty", name)
		}
	}
	home := t.TempDir()
	env := []string{"HOME=" + home, "PATH=/nonexistent", "HTTPS_PROXY=http://127.0.0.1:9", "HTTP_PROXY=http://127.0.0.1:9"}
	lazyolo := filepath.Join(dir, "lazyolo")

	doctor := run(t, home, env, lazyolo, "doctor")
	contains(t, doctor, "onnx runtime", filepath.Join(dir, "libonnxruntime.so."), "(from the folder of the executable)")
	var v struct {
		Version, Commit, Date, Go string
		ONNXRuntime               struct{ Version, From string }
	}
	if err := json.Unmarshal([]byte(run(t, home, env, lazyolo, "version", "--json")), &v); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(dir, "lazyolo-"+v.Version+"-linux") || len(v.Commit) != 40 || v.Go == "" || v.ONNXRuntime.Version == "" {
		t.Errorf("version: %+v", v)
	}
	if _, err := time.Parse(time.RFC3339, v.Date); err != nil {
		t.Error(err)
	}
	// Whoever links the program instead of copying it keeps the library.
	link := filepath.Join(t.TempDir(), "lazyolo")
	if err := os.Symlink(lazyolo, link); err != nil {
		t.Fatal(err)
	}
	contains(t, run(t, home, env, link, "version"), filepath.Join(dir, "libonnxruntime.so."))

	url := serve(t, home, env, lazyolo)
	found := detect(t, url, readFile(t, filepath.Join(root, "cmd/lazyolo/demo/pictures/shapes.jpg")))
	if found < 3 {
		t.Errorf("the demo model finds %d shapes", found)
	}
	healthy(t, url)
}

// healthy asks a server as the container does.
func healthy(t *testing.T, url string) {
	t.Helper()
	m := regexp.MustCompile(`(?m)^HEALTHCHECK .* CMD (\[.*\])$`).FindSubmatch(readFile(t, filepath.Join(released, "Dockerfile")))
	var check []string
	if m == nil || json.Unmarshal(m[1], &check) != nil {
		t.Fatal("the Dockerfile has no health check")
	}
	if _, err := exec.LookPath(check[0]); err != nil {
		t.Logf("the container's health check is not run: %v", err)
		return
	}
	for port, well := range map[string]bool{url[strings.LastIndex(url, ":")+1:]: true, "1": false} {
		cmd := exec.Command(check[0], check[1:]...)
		cmd.Env = append(os.Environ(), "PORT="+port)
		if out, err := cmd.CombinedOutput(); (err == nil) != well {
			t.Errorf("port %s: %v, want healthy %v\n%s", port, err, well, out)
		}
	}
}

// serve serves until the test ends and returns where.
func serve(t *testing.T, home string, env []string, lazyolo string) string {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(lazyolo, "serve", "--host", "127.0.0.1", "--port", "0", "--grpc-port", "0")
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = home, env, out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server ended with %v:\n%s", err, readFile(t, out.Name()))
		}
		out.Close()
	})
	deadline, tick := time.After(patience), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for {
		if m := regexp.MustCompile(`lazyolo serves .* on (http://\S+) `).FindSubmatch(readFile(t, out.Name())); m != nil {
			return string(m[1])
		}
		select {
		case <-deadline:
			t.Fatalf("no address after %v:\n%s", patience, readFile(t, out.Name()))
		case <-tick.C:
		}
	}
}

// form is a request to detect.
func form(picture []byte) (contentType string, body *bytes.Buffer) {
	body = new(bytes.Buffer)
	w := multipart.NewWriter(body)
	part, _ := w.CreateFormFile("file", "shapes.jpg") // a bytes.Buffer never fails, here and below
	_, _ = part.Write(picture)
	_ = w.WriteField("model_id", "0")
	_ = w.Close()
	return w.FormDataContentType(), body
}

// detect sends a picture and returns how many objects were found.
func detect(t *testing.T, url string, picture []byte) int {
	t.Helper()
	contentType, body := form(picture)
	r, err := http.Post(url+"/api/v2/detect", contentType, body)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return count(t, raw)
}

func count(t *testing.T, answer []byte) int {
	t.Helper()
	var a struct{ Predictions []json.RawMessage }
	if err := json.Unmarshal(answer, &a); err != nil {
		t.Fatalf("%v in %s", err, answer)
	}
	return len(a.Predictions)
}

// TestParts: the list of parts names the modules that the program says it has, and each
// part's licence lies in the archive.
func TestParts(t *testing.T) {
	for _, arch := range archs {
		t.Run(arch, func(t *testing.T) {
			dir := unpack(t, arch)
			raw := readFile(t, filepath.Join(dir, "sbom.cdx.json"))
			if !bytes.Equal(raw, readFile(t, result(t, "lazyolo-*-linux-"+arch+".cdx.json"))) {
				t.Error("the list in the archive is another one than beside it")
			}
			var list struct {
				BOMFormat, SpecVersion string
				Metadata               struct {
					Component struct {
						Properties []struct{ Name, Value string }
					}
				}
				Components []struct {
					Name, Version string
					Licenses      []any
					Hashes        []struct{ Content string }
				}
			}
			if err := json.Unmarshal(raw, &list); err != nil {
				t.Fatal(err)
			}
			for _, p := range list.Metadata.Component.Properties {
				if least, ok := strings.CutPrefix(p.Value, ">= "); ok && p.Name == "lazyolo:glibc" {
					contains(t, string(readFile(t, filepath.Join(root, "docs/en/install.md"))), "glibc "+least+" or newer")
				}
			}
			got := make(map[string]string)
			for _, c := range list.Components {
				got[c.Name] = c.Version
				texts, err := filepath.Glob(filepath.Join(dir, "licenses", c.Name, "*"))
				if err != nil || len(texts) == 0 || len(c.Licenses) == 0 {
					t.Errorf("%s: licences %v, texts %v, %v", c.Name, c.Licenses, texts, err)
				}
				if c.Name == "onnxruntime" {
					sum := sha256.Sum256(readFile(t, filepath.Join(dir, "libonnxruntime.so."+c.Version)))
					if c.Hashes[0].Content != hex.EncodeToString(sum[:]) {
						t.Error("the library is another one than the list says")
					}
				}
			}
			info, err := buildinfo.ReadFile(filepath.Join(dir, "lazyolo"))
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{"go": strings.TrimPrefix(info.GoVersion, "go")}
			for _, m := range info.Deps {
				want[m.Path] = m.Version
			}
			for _, name := range []string{"onnxruntime", "uplot", "swagger-ui-dist", "noto-sans-cjk-sc-subset"} {
				if want[name] = got[name]; got[name] == "" && !strings.HasPrefix(name, "noto") { // a font has no version here
					t.Errorf("%s is not listed, or without a version", name)
				}
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("-program +list:\n%s", d)
			}
		})
	}
}

// TestArm64 runs the other architecture's program under qemu, as far as that goes: its
// child process would need the kernel to know qemu.
func TestArm64(t *testing.T) {
	const libs = "/usr/aarch64-linux-gnu"
	qemu, err := exec.LookPath("qemu-aarch64-static")
	if err != nil || !slices.Contains(archs, "arm64") || runtime.GOARCH == "arm64" {
		t.Skip("arm64 is not run: it takes gcc-aarch64-linux-gnu and qemu-user-static")
	}
	dir, home := unpack(t, "arm64"), t.TempDir()
	env := []string{"HOME=" + home, "PATH=/nonexistent"}
	contains(t, run(t, home, env, qemu, "-L", libs, filepath.Join(dir, "lazyolo"), "version"), "linux/arm64", filepath.Join(dir, "libonnxruntime.so."))
	contains(t, run(t, home, env, qemu, "-L", libs, filepath.Join(dir, "lazyolo"), "doctor"), "(from the folder of the executable)")
}
