package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"lazyolo/internal/buffers"
	"lazyolo/internal/catalog"
	"lazyolo/internal/compare"
	"lazyolo/internal/config"
	"lazyolo/internal/convert"
	"lazyolo/internal/core"
	"lazyolo/internal/imaging"
	"lazyolo/internal/load"
	"lazyolo/internal/machine"
	"lazyolo/internal/pool"
	"lazyolo/internal/prepare"
	"lazyolo/internal/turbojpeg"
	"lazyolo/yolo"
)

// How many models bench memory and demo take.
const (
	stageCopies = 32 // of one model, where there are not several
	stageMost   = 64 // of the user's, unless --models names them
)

// A stage is what bench memory and demo play on: prepared models in a folder, a
// picture, and a folder of its own for what the servers leave behind.
type stage struct {
	c       *config.Config
	*folder        // what servers and models leave is in it; nil: not made yet
	path    string // the models folder
	cache   string // of prepared models
	models  []*yolo.Model
	costs   []pool.Cost // of the same
	about   string
	weights int64 // bytes of their files
	limit   int64 // memory of the machine, or of what it is given; 0: unknown
	picture load.Picture
	decode  imaging.Measure // what decoding the picture takes
	out     io.Writer       // is told what goes on
}

// newStage prepares the models that are chosen, of the user's folder where MODELS_PATH
// names one, else copies of the demo model. Numbers are as in --models; "": all, within
// bounds. Close it also after an error.
func newStage(ctx context.Context, c *config.Config, numbers string, pictures []string, out io.Writer) (st *stage, err error) {
	st = &stage{c: c, out: out, cache: c.CacheDir, path: c.ModelsPath, limit: machine.MemoryLimit().Bytes}
	if err := st.choosePicture(pictures); err != nil {
		return st, err
	}
	if st.folder, err = newFolder(tempHome(c.CacheDir)); err != nil {
		return st, fmt.Errorf("make folder: %w", err)
	}
	if err := st.chooseModels(numbers); err != nil {
		return st, err
	}
	return st, st.prepare(ctx)
}

// tempHome is where temporary files go: beside the cache, which is on a disk, as those
// of a mapped model should be; "": where the system wants them.
func tempHome(cache string) string {
	home := filepath.Dir(cache)
	if cache == "" || os.MkdirAll(home, 0o755) != nil || !writable(home) {
		return ""
	}
	return home
}

func (st *stage) close() error {
	if st.folder == nil {
		return nil
	}
	return st.folder.close()
}

// choosePicture reads the picture that is named, or takes the demo's, and measures it as
// the servers will.
func (st *stage) choosePicture(names []string) error {
	const hint = "name a picture file, or none for the demo's"
	switch len(names) {
	case 0:
		data, err := demoFiles.ReadFile("demo/pictures/shapes.jpg")
		if err != nil {
			return err
		}
		st.picture = load.Picture{Name: "shapes.jpg", Data: data}
	case 1:
		all, err := load.ReadPictures(names)
		if err != nil {
			return hinted{fmt.Errorf("read picture: %w", err), hint}
		}
		st.picture = all[0]
	default:
		return &config.UsageError{Setting: "picture", Msg: fmt.Sprintf("one picture is enough, got %d", len(names)), Hint: "every model is asked for the same one"}
	}
	store := new(buffers.Store)
	codec := imaging.Codec{MaxPixels: st.c.MaxPixels, JPEG: &turbojpeg.Library{Buffers: store}, Buffers: store}
	var err error
	if st.decode, err = codec.Measure(st.picture.Data); err != nil {
		return hinted{fmt.Errorf("read picture %s: %w", st.picture.Name, err), hint}
	}
	return nil
}

// chooseModels finds the models, or makes copies of the only one.
func (st *stage) chooseModels(numbers string) error {
	if st.c.Origin("MODELS_PATH").Source == config.Default {
		dir := filepath.Join(st.folder.path, "demo")
		if err := writeMissing(dir, "."); err != nil {
			return fmt.Errorf("unpack the demo model: %w", err)
		}
		st.path = filepath.Join(dir, "models")
	}
	all, err := st.open()
	if err != nil {
		return err
	}
	if numbers == "" && len(all) == 1 {
		return st.copies(all[0])
	}
	if st.models, err = chosen(all, numbers); err != nil {
		return err
	}
	if len(st.models) < 2 {
		return st.tooFew(len(all))
	}
	st.about = "Models of " + st.c.ModelsPath
	if n := len(st.models); n < len(all) {
		st.about = fmt.Sprintf("%d of the %d models of %s", n, len(all), st.c.ModelsPath)
	}
	return nil
}

// tooFew refuses a choice of one model among all.
func (st *stage) tooFew(all int) error {
	if all == 1 { // copies are made of it, unless it is named
		return hinted{errors.New("--models chooses one model, two are needed"),
			"without --models copies are made of a model that is alone; MODELS_PATH names a folder of several"}
	}
	return hinted{fmt.Errorf("--models chooses %d of the %d models in %s, two are needed", len(st.models), all, st.path), "lazyolo models lists them"}
}

// open reads the models folder as serve does, and leaves no trace.
func (st *stage) open() ([]*yolo.Model, error) {
	models, err := catalog.Open(catalog.Options{Dir: st.path, AllowDirs: st.c.AllowModelDirs, Reserved: reservedNames(st.c), ReadOnly: true})
	if err != nil {
		return nil, hinted{err, "set MODELS_PATH to the folder of model folders"}
	}
	if len(models.All()) == 0 {
		return nil, hinted{fmt.Errorf("no models in %s", st.path), "lazyolo doctor says what keeps folders out"}
	}
	return models.All(), nil
}

// chosen are the models with these numbers; "": the first ones.
func chosen(all []*yolo.Model, numbers string) ([]*yolo.Model, error) {
	if numbers == "" {
		return all[:min(len(all), stageMost)], nil
	}
	wanted, err := modelList(numbers)
	if err != nil {
		return nil, &config.UsageError{Setting: "--models", Msg: err.Error(), Hint: "write numbers and ranges with commas between them: 0,2,5-9"}
	}
	var out []*yolo.Model
	for _, n := range wanted {
		at := slices.IndexFunc(all, func(m *yolo.Model) bool { return strconv.Itoa(m.Index) == n })
		if at < 0 {
			return nil, hinted{fmt.Errorf("no model has the number %s", n), "lazyolo models lists them"}
		}
		out = append(out, all[at])
	}
	return out, nil
}

// copies makes several models out of one.
func (st *stage) copies(m *yolo.Model) error {
	file, err := st.asONNX(m)
	if err != nil {
		return err
	}
	weights, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read weights: %w", err)
	}
	st.path = filepath.Join(st.folder.path, "models")
	if st.cache != "" {
		st.cache = filepath.Join(st.folder.path, "prepared")
	}
	err = compare.Copies(st.path, weights, stageCopies, func(number int) []byte { return copyLabels(m, number) })
	if err != nil {
		return err
	}
	st.about = fmt.Sprintf("Copies of %s, each a file of its own", m.Name)
	st.models, err = st.open()
	return err
}

// copyLabels is the labels.yaml of a copy. JSON is YAML.
func copyLabels(m *yolo.Model, number int) []byte {
	labels := map[string]any{
		"model_name": fmt.Sprintf("%s copy %02d", m.Name, number), "version": m.Version, "task": m.TaskName, "model_path": "./best.onnx",
		"model_family": m.Family, "description": m.Description, "names": m.Labels,
	}
	if m.InputSize > 0 {
		labels["input_size"] = m.InputSize
	}
	b, err := json.Marshal(labels)
	if err != nil {
		return nil // maps of text always can
	}
	return b
}

// asONNX is the model's ONNX file: its weights, or what a checkpoint is converted to.
func (st *stage) asONNX(m *yolo.Model) (string, error) {
	if !m.IsCheckpoint() {
		return m.Weights, nil
	}
	to := filepath.Join(st.converted(), m.ID+".onnx")
	if _, err := os.Stat(to); err == nil {
		return to, nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return "", err
	}
	_, err := convertFile(m.Weights, to, convert.Options{OneToOne: m.OneToOne})
	return to, err
}

func (st *stage) converted() string { return filepath.Join(st.folder.path, "converted") }

// prepare prepares all models, drops those that cannot serve, and learns what they take.
func (st *stage) prepare(ctx context.Context) error {
	c := *st.c
	c.CacheDir = st.cache
	e, err := core.NewEngine(&c, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer e.Close()
	if err := e.Ready(); err != nil {
		return hinted{err, "lazyolo doctor --fix fetches it"}
	}
	var good []*yolo.Model
	for i, m := range st.models {
		if terminal(st.out) {
			fmt.Fprintf(st.out, "\rpreparing %d models, once: %d done ", len(st.models), i)
		}
		_, err := prepareAndTell(ctx, e.Cache(), m)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		cost, known := e.Known(m)
		if err != nil || !known {
			fmt.Fprintf(st.out, "%s is left out: %v\n", m.ID, err)
			continue
		}
		good = append(good, m)
		st.costs = append(st.costs, cost)
		st.weights += m.Bytes
	}
	if terminal(st.out) {
		fmt.Fprint(st.out, "\r\x1b[K")
	}
	if st.models = good; len(good) < 2 {
		return errors.New("fewer than two models can serve")
	}
	return nil
}

// numbers are those of the models, in order.
func (st *stage) numbers() []int {
	var out []int
	for _, m := range st.models {
		out = append(out, m.Index)
	}
	return out
}

// given reports whether a setting was written anywhere.
func (st *stage) given(name string) bool { return st.c.Origin(name).Source != config.Default }

// budget is MAX_MEMORY_MB, where it is set itself, else what suffices for one request at
// a time and a sixth of the models.
func (st *stage) budget() int64 {
	if st.given("MAX_MEMORY_MB") && st.c.MaxMemory > 0 { // the old ENABLE_LRU_CACHE means 4 GiB
		return st.c.MaxMemory
	}
	var all, run, largest int64
	for _, cost := range st.costs {
		all += cost.Mapped + cost.Private
		run = max(run, cost.Run)
		largest = max(largest, cost.Mapped+cost.Private)
	}
	models := max(all/6, largest+16*mib)
	detect, draw := st.room()
	// While the picture is drawn no model needs to be in memory.
	n := core.BudgetFor(models+max(detect, draw-models-run), run, st.bodies())
	return (n + mib - 1) / mib * mib
}

// room is what the picture takes beyond an ordinary request's, while a model is asked
// for it, and while what was found is drawn into it.
func (st *stage) room() (detect, draw int64) {
	const ordinary = 16 * mib
	side := int64(640) // of what models are given
	for _, m := range st.models {
		side = max(side, int64(m.InputSize))
	}
	encoded := 3 * int64(st.decode.Width+16) * int64(st.decode.Height+16)
	return max(0, st.decode.Bytes+3*4*side*side-ordinary), max(0, st.decode.Bytes+encoded-ordinary)
}

// bodies is what is set aside for requests: the picture as it arrives, and as much again,
// and the same for the answer that has it.
func (st *stage) bodies() int64 {
	n := max(8*mib, 4*int64(len(st.picture.Data)))
	return (n + mib - 1) / mib * mib
}

// unlimited is a budget that never binds.
const unlimited = 1 << 40

// serve is the command of a server of the stage's models in a budget.
func (st *stage) serve(budget int64) func() *exec.Cmd {
	return func() *exec.Cmd {
		more := []string{"--max-memory-mb", strconv.FormatInt(budget/mib, 10), "--max-queue-mb", strconv.FormatInt(st.bodies()/mib, 10),
			"--grpc-port", "0", "--save-annotated", "off", "--prepare", config.PrepareLazy, "--model-poll", "0"}
		return st.command(lazyName, append(more, st.handed("KEEP_ALIVE", "EVICTION_POLICY", "MAX_CONCURRENCY")...)...)
	}
}

// handed are flags for those of these settings that the user has set.
func (st *stage) handed(names ...string) []string {
	var flags []string
	for _, s := range config.Settings() {
		if slices.Contains(names, s.Name) && st.given(s.Name) {
			flags = append(flags, "--"+s.Flag(), st.c.Value(s.Name))
		}
	}
	return flags
}

// eagerNeeds is about what the models take when all are loaded from their ONNX files:
// weights on the heap, and as much again while a model is optimised. Numbers in a
// checkpoint have half the size.
func (st *stage) eagerNeeds() int64 {
	var n int64
	for _, m := range st.models {
		each := 2 * m.Bytes
		if m.IsCheckpoint() {
			each *= 2
		}
		n += each
	}
	return n
}

// eager is the command of a server that loads all models at its start. Checkpoints are
// converted for it first. It is nil where they are too large for the machine, and
// leftOut says so.
func (st *stage) eager(ctx context.Context) (cmd func() *exec.Cmd, leftOut string, err error) {
	if need := st.eagerNeeds(); st.limit > 0 && need > st.limit/10*8 {
		return nil, fmt.Sprintf("it would take about %d MB of the %d MB here", need/mib, st.limit/mib), nil
	}
	var numbers []string
	for _, m := range st.models {
		if ctx.Err() != nil {
			return nil, "", context.Cause(ctx)
		}
		if _, err := st.asONNX(m); err != nil {
			return nil, "", err
		}
		numbers = append(numbers, strconv.Itoa(m.Index))
	}
	return func() *exec.Cmd {
		return st.command(eagerName, "--only", strings.Join(numbers, ","), "--converted", st.converted())
	}, "", nil
}

// command runs this binary on the stage's models. No setting of the user's reaches it
// but those that are repeated here.
func (st *stage) command(name string, more ...string) *exec.Cmd {
	cmd := exec.Command(prepare.Self().Path) // this executable
	cmd.Args = append([]string{"lazyolo", name, "--models-path", absolute(st.path), "--port", "0", "--host", "127.0.0.1",
		"--state-dir", filepath.Join(st.folder.path, "state"), "--log-level", "WARNING",
		"--threads", strconv.Itoa(st.c.Threads)}, more...)
	cmd.Args = append(cmd.Args, st.handed("CONF_THRES", "IOU_THRES", "MAX_PIXELS", "MAX_BODY_MB")...)
	var allowed []string
	for _, dir := range st.c.AllowModelDirs {
		allowed = append(allowed, absolute(dir))
	}
	for flag, value := range map[string]string{"--ort-library": absolute(st.c.ORTLibrary), "--cache-dir": absolute(st.cache),
		"--allow-model-dirs": strings.Join(allowed, string(filepath.ListSeparator))} {
		if value != "" {
			cmd.Args = append(cmd.Args, flag, value)
		}
	}
	cmd.Dir = st.folder.path // where no settings file lies
	cmd.Env = plainEnv(os.Environ())
	return cmd
}

// absolute is a path that means the same in another folder; "" stays.
func absolute(path string) string {
	if path == "" {
		return ""
	}
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// plainEnv is an environment without settings of lazyolo.
func plainEnv(env []string) []string {
	ours := make(map[string]bool)
	for _, s := range config.Settings() {
		ours[s.Name], ours[s.Alias] = true, true
	}
	return slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return ours[name] || strings.HasPrefix(name, "OTEL_")
	})
}
