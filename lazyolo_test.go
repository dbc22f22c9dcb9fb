package lazyolo_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"image"
	_ "image/jpeg"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"lazyolo"
	"lazyolo/internal/ort"
	"lazyolo/yolo"
)

// The demo model's folder and its picture.
const (
	models = "cmd/lazyolo/demo/models"
	shapes = "cmd/lazyolo/demo/pictures/shapes.jpg"
)

// ortGone is why models cannot run here; nil: they can.
var ortGone error

// cacheDir is of all tests, so that each model is prepared once.
var cacheDir string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	if _, ortGone = ort.Locate(os.Getenv("ORT_LIBRARY")); ortGone != nil && os.Getenv("REQUIRE_ORT") != "1" {
		if err := flag.Set("test.skip", "^Example"); err != nil { // an example cannot skip itself
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	dir, err := os.MkdirTemp("", "lazyolo-library-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	cacheDir = filepath.Join(dir, "cache")
	return m.Run()
}

// detector opens dir for one test.
func detector(t *testing.T, dir string, opts ...lazyolo.Option) *lazyolo.Detector {
	t.Helper()
	if ortGone != nil {
		if os.Getenv("REQUIRE_ORT") == "1" {
			t.Fatal(ortGone)
		}
		t.Skip("needs ONNX Runtime: ", ortGone)
	}
	d, err := lazyolo.Open(dir, append([]lazyolo.Option{lazyolo.CacheDir(cacheDir), lazyolo.ORTLibrary(os.Getenv("ORT_LIBRARY"))}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func picture(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile(shapes)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func detect(t *testing.T, d *lazyolo.Detector, model string, opts ...lazyolo.RequestOption) *yolo.Result {
	t.Helper()
	r, err := d.Detect(t.Context(), picture(t), model, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A model answers by folder, number and, being the only one, without a name; and alone,
// without a labels.yaml, as in its folder.
func TestDetect(t *testing.T) {
	d := detector(t, models)
	if got := d.Models(); len(got) != 1 || got[0].ID != "model_0" || got[0].Index != 0 {
		t.Fatalf("models: %v", got)
	}
	want := detect(t, d, "model_0")
	if len(want.Objects) == 0 || want.Width == 0 || want.Model.ID != "model_0" {
		t.Fatalf("%+v", want)
	}
	for _, model := range []string{"0", ""} {
		if diff := cmp.Diff(want.Objects, detect(t, d, model).Objects); diff != "" {
			t.Errorf("model %q:\n%s", model, diff)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	file := detector(t, filepath.Join(models, "model_0", "best.onnx"))
	for _, model := range []string{"", "best", "0"} {
		got := detect(t, file, model)
		if diff := cmp.Diff(want.Objects, got.Objects, cmpopts.IgnoreFields(yolo.Object{}, "Name")); diff != "" {
			t.Errorf("the weights alone, %q:\n%s", model, diff)
		}
	}
	if _, err := file.Detect(t.Context(), picture(t), "model_0"); yolo.CodeOf(err) != yolo.NotFound {
		t.Errorf("by the folder's name: %v", err)
	}
}

// Thresholds of the Detector count where a call names none.
func TestOptions(t *testing.T) {
	d := detector(t, models, lazyolo.Thresholds(0.999, 0.45), lazyolo.Threads(1), lazyolo.KeepAlive(-1),
		lazyolo.MaxMemory(512<<20), lazyolo.Setting("EVICTION_POLICY", "lru"))
	if r := detect(t, d, ""); len(r.Objects) != 0 {
		t.Errorf("beyond 0.999: %v", r.Objects)
	}
	all := detect(t, d, "", lazyolo.Conf(0.25), lazyolo.IoU(0.45)).Objects
	if len(all) < 2 {
		t.Fatalf("of the call: %v", all)
	}
	if got := detect(t, d, "", lazyolo.Conf(0.25), lazyolo.MaxDet(1)).Objects; len(got) != 1 || got[0].Confidence != all[0].Confidence {
		t.Errorf("the best: %v", got)
	}
	class := all[len(all)-1].Class
	for _, o := range detect(t, d, "", lazyolo.Conf(0.25), lazyolo.Classes(class), lazyolo.AgnosticNMS(), lazyolo.NMS(true)).Objects {
		if o.Class != class {
			t.Errorf("class %d: %v", class, o)
		}
	}
}

// A dynamic input is as large as a call says.
func TestImgSz(t *testing.T) {
	d := detector(t, "internal/testmodels/dynamic.onnx", lazyolo.Thresholds(0.001, 0.45))
	if large, small := detect(t, d, "").Objects, detect(t, d, "", lazyolo.ImgSz(64)).Objects; len(large) == 0 || cmp.Equal(large, small) {
		t.Errorf("%d objects, with ImgSz %d: the same", len(large), len(small))
	}
}

func TestWhatIsRefusedAtOpen(t *testing.T) {
	empty := t.TempDir()
	refused := t.TempDir()
	if err := os.MkdirAll(filepath.Join(refused, "fire"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(refused, "fire", "labels.yaml"), []byte("task: detect\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, dir string
		opt       lazyolo.Option
		says      string
	}{
		{"no folder", filepath.Join(empty, "none"), nil, "none"},
		{"no name", "", nil, "models folder"},
		{"no file", filepath.Join(empty, "none.onnx"), nil, "none.onnx"},
		{"no model", empty, nil, "no model in"},
		{"no usable model", refused, nil, "model_name"},
		{"no such setting", models, lazyolo.Setting("CONF", "1"), `"CONF"`},
		{"no threshold", models, lazyolo.Thresholds(1.5, 0.5), "CONF_THRES"},
		{"no size", models, lazyolo.MaxMemory(0), "MaxMemory: 0 bytes"},
		{"less than nothing aside", models, lazyolo.Aside(-1), "Aside"},
		{"the server's", models, lazyolo.Setting("PIN_MODELS", "0"), "PIN_MODELS does nothing here"},
		{"too small", models, lazyolo.MaxMemory(20 << 20), "too small"},
		{"no library", models, lazyolo.ORTLibrary("/nonexistent/libonnxruntime.so"), "/nonexistent/libonnxruntime.so"},
	} {
		opts := []lazyolo.Option{lazyolo.CacheDir(cacheDir)}
		if c.opt != nil {
			opts = append(opts, c.opt)
		}
		d, err := lazyolo.Open(c.dir, opts...)
		if err == nil {
			t.Errorf("%s: opened", c.name)
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		} else if !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "environment") {
			t.Errorf("%s: %v; want %q in it", c.name, err, c.says)
		}
	}
}

func TestErrorsHaveCodes(t *testing.T) {
	d := detector(t, models, lazyolo.Setting("MAX_PIXELS", "307200"))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	big, err := os.ReadFile("cmd/lazyolo/demo/pictures/street.jpg")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, model string
		ctx         context.Context
		image       []byte
		opt         lazyolo.RequestOption
		want        yolo.Code
	}{
		{"no model", "fire", t.Context(), picture(t), nil, yolo.NotFound},
		{"no picture", "0", t.Context(), []byte("text"), nil, yolo.Invalid},
		{"nothing", "0", t.Context(), nil, nil, yolo.Invalid},
		{"half a picture", "0", t.Context(), picture(t)[:2000], nil, yolo.Invalid},
		{"too large", "0", t.Context(), big, nil, yolo.TooLarge},
		{"out of range", "0", t.Context(), picture(t), lazyolo.Conf(2), yolo.Invalid},
		{"canceled", "0", ended, picture(t), nil, yolo.Canceled},
	} {
		opts := []lazyolo.RequestOption{}
		if c.opt != nil {
			opts = append(opts, c.opt)
		}
		if _, err := d.Detect(c.ctx, c.image, c.model, opts...); err == nil || yolo.CodeOf(err) != c.want {
			t.Errorf("%s: %v; want %s", c.name, err, c.want)
		}
	}
}

// One Detector at a time, one after the other as often as one likes.
func TestOpenAndClose(t *testing.T) {
	var log bytes.Buffer
	first := detector(t, models, lazyolo.Logger(slog.New(slog.NewTextHandler(&log, nil))), lazyolo.MaxMemory(512<<20))
	detect(t, first, "")
	if !strings.Contains(log.String(), "Loading YOLO model") {
		t.Errorf("the log says nothing of a load: %s", &log)
	}
	if d, err := lazyolo.Open(models); !errors.Is(err, lazyolo.ErrOpen) {
		t.Fatalf("a second: %v %v", d, err)
	}
	for range 2 {
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := first.Detect(t.Context(), picture(t), ""); yolo.CodeOf(err) != yolo.Unavailable {
		t.Errorf("after Close: %v", err)
	}
	if err := first.Annotate(t.Context(), new(bytes.Buffer), "x.jpg", picture(t), nil); yolo.CodeOf(err) != yolo.Unavailable {
		t.Errorf("after Close: %v", err)
	}
	second := detector(t, models, lazyolo.MaxMemory(512<<20))
	detect(t, second, "")
}

// Calls may come from many goroutines at once, the first among them, and Close waits
// for those under way, whoever else closes.
func TestManyCalls(t *testing.T) {
	d := detector(t, models, lazyolo.MaxMemory(512<<20))
	want := detect(t, d, "").Objects
	image := picture(t)
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			for {
				r, err := d.Detect(context.Background(), image, "0")
				if err != nil && err.Error() == "the detector is closed" {
					return
				}
				if err != nil || len(r.Objects) != len(want) {
					t.Errorf("%v %v", r, err)
					return
				}
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	<-ctx.Done()
	calls.Go(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	detector(t, models, lazyolo.MaxMemory(512<<20)) // which there is room for now
	calls.Wait()
}

func TestAnnotate(t *testing.T) {
	d := detector(t, models)
	r := detect(t, d, "")
	var out bytes.Buffer
	if err := d.Annotate(t.Context(), &out, "shapes.jpg", picture(t), nil); yolo.CodeOf(err) != yolo.Invalid || out.Len() > 0 {
		t.Errorf("no result: %v", err)
	}
	if err := d.Annotate(t.Context(), &out, "shapes.jpg", picture(t), r); err != nil {
		t.Fatal(err)
	}
	img, format, err := image.Decode(&out)
	if err != nil || format != "jpeg" || img.Bounds().Dx() != r.Width {
		t.Errorf("%s %v", format, err)
	}
}

// A program of a module of its own prepares models in children of its own executable,
// which never come to its main.
func TestInAnotherProgram(t *testing.T) {
	if ortGone != nil {
		t.Skip("needs ONNX Runtime: ", ortGone)
	}
	root, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ours, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	_, needs, _ := strings.Cut(string(ours), "\n") // go and require of ours, so that nothing is looked up
	sums, err := os.ReadFile("go.sum")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"go.mod":  "module example.com/counter\n" + needs + "\nrequire lazyolo v0.0.0\nreplace lazyolo => " + root + "\n",
		"go.sum":  string(sums),
		"main.go": program,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-mod=mod", "-o", "counter", ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOPROXY=off", "GOFLAGS=", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	counter := exec.Command(filepath.Join(dir, "counter"), models, shapes)
	counter.Env = append(os.Environ(), "COUNTER_CACHE="+filepath.Join(dir, "cache"))
	var says bytes.Buffer
	counter.Stderr = &says
	out, err := counter.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &says)
	}
	if want := "main\n8 objects\n"; string(out) != want {
		t.Errorf("%q, want %q", out, want)
	}
	if entries, err := filepath.Glob(filepath.Join(dir, "cache", "*", "model.ort")); len(entries) != 1 {
		t.Errorf("prepared: %v %v", entries, err)
	}
}

// program counts objects; each process that comes to main says so.
const program = `package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"lazyolo"
)

func main() {
	fmt.Println("main")
	d, err := lazyolo.Open(os.Args[1], lazyolo.CacheDir(os.Getenv("COUNTER_CACHE")), lazyolo.ORTLibrary(os.Getenv("ORT_LIBRARY")))
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	picture, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	r, err := d.Detect(context.Background(), picture, "")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(r.Objects), "objects")
}
`
