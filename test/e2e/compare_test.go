package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// different makes n models whose files differ, of the demo model's size. What stands
// behind an ONNX file's last field is one more of them: here an entry of metadata.
func (h *home) different(t *testing.T, n int) {
	t.Helper()
	if err := os.RemoveAll(h.models); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		h.addModel(t, fmt.Sprintf("model_%d", i), fmt.Appendf(demoModel(t), "\x72\x06\x0a\x01n\x12\x01%d", i))
	}
}

// resident is what the system says that a process has in memory, in MB.
func resident(t *testing.T, pid int) float64 {
	t.Helper()
	for line := range strings.Lines(string(readFile(t, fmt.Sprintf("/proc/%d/status", pid)))) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib / 1024
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// mapped counts the files of that name that a process has mapped.
func mapped(t *testing.T, pid int, name string) int {
	t.Helper()
	found := make(map[string]bool)
	for line := range strings.Lines(string(readFile(t, fmt.Sprintf("/proc/%d/maps", pid)))) {
		if f := strings.Fields(line); len(f) > 5 && strings.HasPrefix(filepath.Base(f[5]), name) {
			found[f[5]] = true
		}
	}
	return len(found)
}

// No model is loaded at the start, however many there are: neither the server says so
// nor the system. ONNX Runtime is not opened either.
func TestNoModelIsLoadedAtTheStart(t *testing.T) {
	t.Parallel()
	needORT(t)
	needProc(t)
	const models = 8
	few, many := newHome(t), newHome(t)
	few.different(t, 1)
	many.different(t, models)
	for _, h := range []*home{few, many} {
		if code, out, log := h.run(t, "prepare"); code != 0 {
			t.Fatalf("prepare: %d\n%s%s", code, out, log)
		}
	}
	weights := float64(models*len(demoModel(t))) / (1 << 20)
	one, s := start(t, few, "SAVE_ANNOTATED=off", "PREPARE=background"), start(t, many, "SAVE_ANNOTATED=off", "PREPARE=background")
	pid := s.cmd.Process.Pid
	for end := time.After(time.Second); ; { // nor soon after it
		if m := s.memory(t); len(m.Loaded) != 0 {
			t.Fatalf("models %v are loaded, nobody asked for one", m.Loaded)
		}
		var health struct {
			Loaded bool `json:"model_loaded"`
		}
		if s.get(t, "/api/v1/health", &health); health.Loaded {
			t.Fatal("health says that a model is loaded")
		}
		_ = one.memory(t) // asked as often, both have as much code in memory
		one.get(t, "/api/v1/health", &health)
		if n := mapped(t, pid, "model.ort") + mapped(t, pid, "libonnxruntime"); n != 0 {
			t.Fatalf("%d files of models or of ONNX Runtime are mapped", n)
		}
		select {
		case <-end:
		case <-time.After(50 * time.Millisecond):
			continue
		}
		break
	}
	before, of1 := resident(t, pid), resident(t, one.cmd.Process.Pid)
	if before-of1 > weights/2 {
		t.Errorf("with %d models of %.1f MB together the server takes %.1f MB, with one %.1f MB", models, weights, before, of1)
	}
	s.serves(t, "0")
	if m := s.memory(t); !slices.Equal(m.Loaded, []int{0}) || mapped(t, pid, "model.ort") != 1 || mapped(t, pid, "libonnxruntime") == 0 {
		t.Errorf("after the first use of model 0: loaded %v, %d files of models mapped", m.Loaded, mapped(t, pid, "model.ort"))
	}
	if after := resident(t, pid); after < before+10 {
		t.Errorf("%.1f MB before the first model, %.1f MB after: this is no measurement", before, after)
	}
}

// compared is what the tests read of a bench memory report.
type compared struct {
	Models int
	Budget float64 `json:"budget_mb"`
	Setups []struct {
		Name  string
		Peak  float64 `json:"peak_mb"`
		Steps []struct {
			What    string
			Seconds float64
			MB      float64
		}
	}
}

// lazyolo bench memory measures three set-ups: only the eager one has the models in
// memory at its start.
func TestBenchMemory(t *testing.T) {
	t.Parallel()
	needORT(t)
	needProc(t)
	h := newHome(t)
	h.different(t, 4)
	out := filepath.Join(h.cwd, "report")
	// None of the environment's settings reaches the servers.
	code, text, log := h.run(t, "bench", "memory", "--json", "--out", out, "PRELOAD_MODELS=0,1", "API_KEYS=k:read:sha256:"+strings.Repeat("0", 64))
	var r compared
	if err := json.Unmarshal([]byte(text), &r); err != nil || code != 0 {
		t.Fatalf("%d %v\n%s%s", code, err, text, log)
	}
	if r.Models != 4 || len(r.Setups) != 3 || r.Budget <= 0 {
		t.Fatalf("%s", text)
	}
	start := make(map[string]float64)
	for _, s := range r.Setups {
		start[s.Name] = s.Steps[0].MB
		if s.Peak < s.Steps[0].MB || len(s.Steps) != 8 {
			t.Errorf("%s: peak %v, %+v", s.Name, s.Peak, s.Steps)
		}
	}
	weights := float64(4*len(demoModel(t))) / (1 << 20)
	if start["eager"]-start["lazy"] < weights || start["eager"]-start["budget"] < weights {
		t.Errorf("at the start %v MB, with %.1f MB of weights", start, weights)
	}
	if peak := r.Setups[2].Peak; peak > r.Budget {
		t.Errorf("%.1f MB in a budget of %.1f", peak, r.Budget)
	}
	contains(t, string(readFile(t, filepath.Join(out, "memory.svg"))), "<svg", "eager", "MAX_MEMORY_MB=")
	contains(t, string(readFile(t, filepath.Join(out, "memory.html"))), "<svg", "<table>")
	contains(t, log, "memory.html")
}

func TestBenchMemoryOptionsThatCannotBe(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	for _, c := range []struct {
		more []string
		code int
		says string
	}{
		{[]string{"nothing"}, 2, "memory and load"},
		{[]string{"memory", "--models", "0,7"}, 1, "no model has the number 7"},
		{[]string{"memory", "--models", "x"}, 2, "no list of model numbers"},
		{[]string{"memory", "--models", "0"}, 1, "two are needed"},
		{[]string{"memory", "a.jpg", "b.jpg"}, 2, "one picture"},
		{[]string{"memory", "missing.jpg"}, 1, "missing.jpg"},
		{[]string{"memory", "MODELS_PATH=/nonexistent"}, 1, "/nonexistent"},
	} {
		code, _, log := h.run(t, "bench", c.more...)
		if code != c.code {
			t.Errorf("%v: exit code %d, want %d", c.more, code, c.code)
		}
		contains(t, log, c.says, "lazyolo: hint:")
	}
	if code, _, log := h.run(t, "bench", "memory", "--models", "0", "MODELS_PATH="); code != 1 || strings.Contains(log, "compare-") {
		t.Errorf("a folder that is gone is named: %d %s", code, log)
	}
	if _, out, _ := h.run(t, "help"); strings.Contains(out, "serve-") {
		t.Error("help lists the servers of bench memory")
	}
}

// photo writes photo.jpg, the demo picture in the size of a phone's.
func (h *home) photo(t *testing.T) {
	t.Helper()
	small, err := jpeg.Decode(bytes.NewReader(readFile(t, "../../cmd/lazyolo/demo/pictures/shapes.jpg")))
	if err != nil {
		t.Fatal(err)
	}
	const width, height = 4032, 3024
	large := image.NewRGBA(image.Rect(0, 0, width, height))
	size := small.Bounds().Size()
	for y := range height {
		for x := range width {
			large.Set(x, y, small.At(x*size.X/width, y*size.Y/height))
		}
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, large, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.cwd, "photo.jpg"), b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// lazyolo bench memory takes a phone's picture as well, within the budget it chose.
func TestBenchMemoryOfAPhoto(t *testing.T) {
	t.Parallel()
	needORT(t)
	needProc(t)
	h := newHome(t)
	h.different(t, 3)
	h.photo(t)
	code, text, log := h.run(t, "bench", "memory", "photo.jpg", "--json")
	var r compared
	if err := json.Unmarshal([]byte(text), &r); err != nil || code != 0 {
		t.Fatalf("%d %v\n%s%s", code, err, text, log)
	}
	if peak := r.Setups[2].Peak; peak > r.Budget {
		t.Errorf("%.1f MB in a budget of %.1f", peak, r.Budget)
	}
}

// However a demonstration ends, its servers end with it, and of its files nothing stays;
// what a killed one could not remove the next one does.
func TestNothingOutlivesADemo(t *testing.T) {
	t.Parallel()
	needORT(t)
	needProc(t)
	ends := map[string]func(p *exec.Cmd, out io.Closer) error{
		"terminated": func(p *exec.Cmd, _ io.Closer) error { return p.Process.Signal(syscall.SIGTERM) },
		"killed":     func(p *exec.Cmd, _ io.Closer) error { return p.Process.Kill() },
		"not read":   func(_ *exec.Cmd, out io.Closer) error { return out.Close() },
	}
	if !signal.Ignored(syscall.SIGHUP) {
		ends["hung up"] = func(p *exec.Cmd, _ io.Closer) error { return p.Process.Signal(syscall.SIGHUP) }
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t)
			h.different(t, 3)
			cmd := h.command("demo")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer // read after the end
			cmd.Stderr = &log
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			said := ""
			for lines := bufio.NewScanner(out); lines.Scan() && !strings.Contains(said, "loaded model_0"); said += lines.Text() + "\n" {
			}
			if !strings.Contains(said, "loaded model_0") {
				_ = cmd.Wait()
				t.Fatalf("no model was loaded:\n%s%s", said, log.String())
			}
			waitFor(t, "its server", func() bool { return len(children(cmd.Process.Pid)) == 1 })
			if err := end(cmd, out); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // that it fails is certain
			noRace(t, log.String())
			waitFor(t, "the server's end", func() bool { return len(h.pids()) == 0 })
			left := func() []string {
				found, _ := filepath.Glob(filepath.Join(filepath.Dir(h.cache), "compare-*"))
				return found
			}
			if name == "killed" {
				if len(left()) == 0 {
					t.Error("this is no test of what stays behind")
				}
				h.run(t, "demo", "--models", "0") // refused, but not before it looked
			}
			if found := left(); len(found) > 0 {
				t.Errorf("left behind: %q", found)
			}
		})
	}
}

// lazyolo demo asks a server in a small budget for every model, tells what it decides,
// and leaves a picture of the memory and one of what was found.
func TestDemo(t *testing.T) {
	t.Parallel()
	needORT(t)
	needProc(t)
	h := newHome(t)
	h.different(t, 4)
	h.photo(t)
	code, out, log := h.run(t, "demo", "photo.jpg", "NO_COLOR=1", "ENABLE_LRU_CACHE=true") // which means 4 GiB to serve
	if code != 0 {
		t.Fatalf("%d\n%s%s", code, out, log)
	}
	contains(t, out, "every model once", "loaded model_0", "loaded model_3", "nobody asks", "4 models with 9 MB of weights",
		"lazyolo-demo/detections.jpg", "lazyolo-demo/memory.svg", "star")
	if strings.Contains(out, "of the 4096 MB") || strings.Contains(out, "all models fit") {
		t.Errorf("nothing is shown:\n%s", out)
	}
	if strings.Contains(out, "\x1b") {
		t.Errorf("escapes where no terminal is:\n%q", out)
	}
	dir := filepath.Join(h.cwd, "lazyolo-demo")
	if b := readFile(t, filepath.Join(dir, "detections.jpg")); !strings.HasPrefix(string(b), "\xff\xd8") || len(b) < 1000 {
		t.Errorf("the picture has %d bytes", len(b))
	}
	contains(t, string(readFile(t, filepath.Join(dir, "memory.svg"))), "<svg", "MAX_MEMORY_MB=", "every model once")
	contains(t, string(readFile(t, filepath.Join(dir, "memory.html"))), "<svg", "detections.jpg", "model_3")
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(h.cache), "compare-*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
