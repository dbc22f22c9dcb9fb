package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"

	"lazyolo"
	"lazyolo/internal/config"
	"lazyolo/internal/core"
	"lazyolo/yolo"
)

// detectFlags are the flags of the detect command.
type detectFlags struct {
	model, save, masks string
	asJSON, force      bool
	ask                []lazyolo.RequestOption
}

// detectCommand makes the detect command with its flags.
func detectCommand() command {
	var f detectFlags
	return command{
		name: "detect", args: "PICTURE|FOLDER|PATTERN|-...", does: "find what models know in pictures",
		more: "Folders are searched with all folders in them, patterns such as 'cam*/*.jpg' are matched, and - is one picture\n" +
			"from standard input. A picture that cannot be read does not end the others, but the exit code is 1 then.\n" +
			"Without MODELS_PATH and a folder ./models the embedded demo model is used.",
		examples: []string{
			"lazyolo detect photo.jpg",
			"lazyolo detect pictures/ --model fire --conf 0.4 --save annotated/",
			"lazyolo detect photo.jpg --model runs/train/weights/best.pt",
			"lazyolo detect 'cam*/*.jpg' --json | jq -r .file",
			"curl -s http://camera/still.jpg | lazyolo detect -",
		},
		settings: slices.Concat(findSettings(), core.Settings(), []string{"MAX_BODY_MB"}, logSettings()),
		flags:    f.define, needs: map[string]string{"force": "save", "masks": "json"}, interruptible: true,
		run: func(ctx context.Context, c *config.Config, s sys) error { return runDetect(ctx, f, c, s) },
	}
}

func (f *detectFlags) define(own *flag.FlagSet) {
	own.StringVar(&f.model, "model", "", "folder, number or name of the `model`, or a path of weights or of a model's folder; default: the only model")
	own.BoolVar(&f.asJSON, "json", false, "print a JSON object a line for each picture")
	own.StringVar(&f.save, "save", "", "`folder` to write pictures to with what was found drawn onto them")
	own.BoolVar(&f.force, "force", false, "replace what --save finds there; pictures that are read are never replaced")
	own.StringVar(&f.masks, "masks", "polygon", "`how` --json tells masks: polygon, rle or none")
	ask := func(name, usage string, option func(text string) (lazyolo.RequestOption, error)) {
		own.Func(name, usage, func(text string) error {
			o, err := option(text)
			f.ask = append(f.ask, o)
			return err
		})
	}
	ask("conf", "confidence an object must exceed, `0..1`; default: CONF_THRES", func(text string) (lazyolo.RequestOption, error) {
		v, err := within(text, 0, 1)
		return lazyolo.Conf(v), err
	})
	ask("iou", "overlap beyond which the weaker of two objects goes, `0..1`; default: IOU_THRES", func(text string) (lazyolo.RequestOption, error) {
		v, err := within(text, 0, 1)
		return lazyolo.IoU(v), err
	})
	ask("max-det", "`number` of objects of a picture at most, best first; default: 300", func(text string) (lazyolo.RequestOption, error) {
		n, err := whole(text, 1, 30_000)
		return lazyolo.MaxDet(n), err
	})
	ask("imgsz", "longer side of a dynamic input in `pixels`; default: 640", func(text string) (lazyolo.RequestOption, error) {
		n, err := whole(text, 1, 2048)
		return lazyolo.ImgSz(n), err
	})
	ask("classes", "only objects of these classes: `numbers` with commas between them", func(text string) (lazyolo.RequestOption, error) {
		var classes []int
		for one := range strings.SplitSeq(text, ",") {
			n, err := whole(strings.TrimSpace(one), 0, 1<<30)
			if err != nil {
				return nil, err
			}
			classes = append(classes, n)
		}
		return lazyolo.Classes(classes...), nil
	})
	ask("nms", "of a checkpoint with two heads, the one with suppression or without: `true|false`", func(text string) (lazyolo.RequestOption, error) {
		on, err := strconv.ParseBool(text)
		if err != nil {
			return nil, errors.New("must be true or false")
		}
		return lazyolo.NMS(on), nil
	})
	own.BoolFunc("agnostic-nms", "objects of different classes suppress each other too", func(string) error {
		f.ask = append(f.ask, lazyolo.AgnosticNMS())
		return nil
	})
}

// within reads a number from lo to hi.
func within(text string, lo, hi float64) (float64, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !(v >= lo && v <= hi) {
		return 0, fmt.Errorf("must lie in %v..%v", lo, hi)
	}
	return v, nil
}

// whole reads a whole number from lo to hi.
func whole(text string, lo, hi int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < lo || n > hi {
		return 0, fmt.Errorf("must be a whole number from %d to %d", lo, hi)
	}
	return n, nil
}

func runDetect(ctx context.Context, f detectFlags, c *config.Config, s sys) error {
	if len(c.Args) == 0 {
		return &config.UsageError{Setting: "detect", Msg: "detect needs a picture", Hint: "lazyolo detect photo.jpg; lazyolo help detect shows more"}
	}
	if f.masks != "polygon" && f.masks != "rle" && f.masks != "none" {
		return &config.UsageError{Setting: "--masks", Msg: fmt.Sprintf("--masks=%q is not polygon, rle or none", f.masks)}
	}
	look := search{stdin: s.stdin, most: c.MaxBody, not: f.save}
	pictures, err := look.pictures(c.Args)
	if err != nil {
		return err
	}
	if f.save != "" {
		if err := openFolder(f.save); err != nil {
			return err
		}
		if err := nameOutputs(pictures, f.save, f.force); err != nil {
			return err
		}
	}
	room := readAhead(pictures, core.Budget(c), c.MaxBody)
	debug.SetMemoryLimit(goMemory + room.bytes) // as in serve
	d, model, closeAll, err := openDetector(f, c, s, room.bytes)
	if err != nil {
		return err
	}
	if slices.Contains(c.Args, stdinName) && terminal(s.stdin) {
		fmt.Fprintln(s.stderr, "waiting for a picture on standard input; Ctrl-D ends it")
	}
	b := &batch{detector: d, model: model, flags: f, pictures: pictures, room: room, atOnce: core.Concurrency(c), out: newResults(f, pictures, s)}
	return errors.Join(b.run(ctx), closeAll())
}

// openDetector opens what the flags and settings name, aside bytes being taken for
// pictures, and says which model of it is asked. closeAll closes it.
func openDetector(f detectFlags, c *config.Config, s sys, aside int64) (d *lazyolo.Detector, model string, closeAll func() error, err error) {
	dir := f.model
	var opened openedModels
	if !isPath(f.model) {
		if opened, err = openModels(c, slog.New(slog.DiscardHandler), true); err != nil {
			return nil, "", nil, err
		}
		if opened.isDemo && terminal(s.stderr) {
			fmt.Fprintln(s.stderr, "No models in", plain(c.ModelsPath)+": using the demo model.")
		}
		dir = opened.dir
		model, err = chooseModel(opened.All(), f.model, c.ModelsPath)
	}
	if err == nil {
		opts := []lazyolo.Option{lazyolo.Logger(detectLogger(c, s.stderr)), lazyolo.Aside(aside)}
		for _, name := range append(core.Settings(), "ALLOW_MODEL_DIRS") {
			if c.Origin(name).Source != config.Default || name == "CACHE_DIR" {
				opts = append(opts, lazyolo.Setting(name, c.Value(name)))
			}
		}
		d, err = lazyolo.Open(dir, opts...)
	}
	if err != nil {
		return nil, "", nil, errors.Join(err, opened.remove())
	}
	return d, model, func() error { return errors.Join(d.Close(), opened.remove()) }, nil
}

// detectLogger writes warnings, unless LOG_LEVEL says what else: errors end the command,
// and are told at its end.
func detectLogger(c *config.Config, w io.Writer) *slog.Logger {
	if c.Origin("LOG_LEVEL").Source != config.Default {
		return newLogger(c, w, c.LogLevel)
	}
	return slog.New(warnings{newLogger(c, w, slog.LevelWarn).Handler()})
}

// warnings are records that are no errors.
type warnings struct{ slog.Handler }

// Enabled implements slog.Handler, as do the others.
func (h warnings) Enabled(ctx context.Context, l slog.Level) bool {
	return l < slog.LevelError && h.Handler.Enabled(ctx, l)
}
func (h warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{h.Handler.WithAttrs(attrs)}
}
func (h warnings) WithGroup(name string) slog.Handler { return warnings{h.Handler.WithGroup(name)} }

// toldTo is an error as a server tells it to clients: without the cause, which the
// message says.
func toldTo(err error) error {
	var known *yolo.Error
	if !errors.As(err, &known) || known.Code == yolo.Internal {
		return err
	}
	if known.Model != "" {
		return fmt.Errorf("%s: %s", known.Model, known.Msg)
	}
	return errors.New(known.Msg)
}

// isPath reports whether a model is named by where it lies.
func isPath(model string) bool {
	ext := strings.ToLower(filepath.Ext(model))
	return strings.ContainsRune(model, filepath.Separator) || model == "." || model == ".." || ext == ".onnx" || ext == ".pt"
}

// chooseModel finds the model that is asked for; "": the only one.
func chooseModel(all []*yolo.Model, asked, dir string) (string, error) {
	if asked != "" {
		m, err := pickModel(all, asked)
		if err != nil {
			return "", err
		}
		return m.ID, nil
	}
	if len(all) <= 1 {
		return "", nil
	}
	const most = 10
	var names []string
	for _, m := range all[:min(len(all), most)] {
		names = append(names, m.ID)
	}
	if len(all) > most {
		names = append(names, "...")
	}
	return "", &config.UsageError{Setting: "--model", Msg: fmt.Sprintf("there are %d models in %s: name one with --model", len(all), dir),
		Hint: "--model " + strings.Join(names, ", ")}
}

// A batch is the pictures of one call of the command.
type batch struct {
	detector *lazyolo.Detector
	model    string
	flags    detectFlags
	pictures []picture
	room     *ahead
	atOnce   int // pictures in work
	out      *results
}

// An outcome is what became of a picture.
type outcome struct {
	picture
	result *yolo.Result
	err    error
}

// run answers for all pictures, some at a time, and tells the outcomes in their order.
func (b *batch) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	slots := make(chan chan outcome, b.atOnce)
	work.Go(func() {
		defer close(slots)
		for _, p := range b.pictures {
			slot := make(chan outcome, 1)
			select {
			case slots <- slot:
			case <-ctx.Done():
				return
			}
			work.Go(func() {
				o := outcome{picture: p}
				o.result, o.err = b.answer(ctx, p)
				slot <- o
			})
		}
	})
	defer b.out.end()
	for slot := range slots {
		o := <-slot
		if ctx.Err() != nil {
			break
		}
		if o.err != nil && ofModel(o.err) {
			return b.explain(o.err)
		}
		if err := b.out.tell(o); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return errInterrupted
	}
	return b.out.verdict()
}

// answer reads one picture, asks for what is in it and draws that, if it is to be drawn.
func (b *batch) answer(ctx context.Context, p picture) (*yolo.Result, error) {
	data, done, err := b.room.read(ctx, p)
	defer done()
	if err != nil {
		return nil, err
	}
	r, err := b.detector.Detect(ctx, data, b.model, b.flags.ask...)
	if err != nil || p.output == "" {
		return r, err
	}
	err = writeWhole(p.output, func(w io.Writer) error { return b.detector.Annotate(ctx, w, p.output, data, r) })
	if err != nil {
		return nil, &outputError{p.output, err}
	}
	return r, nil
}

// ofModel reports whether an error would be every picture's.
func ofModel(err error) bool {
	if out := new(outputError); errors.As(err, &out) {
		return false
	}
	switch yolo.CodeOf(err) {
	case yolo.Invalid, yolo.TooLarge, yolo.Internal:
		return false
	}
	return true
}

// explain adds the way out to an error of the model.
func (b *batch) explain(err error) error {
	switch yolo.CodeOf(err) {
	case yolo.TooBig, yolo.NoRoom:
		return hinted{toldTo(err), "raise MAX_MEMORY_MB, or the memory that the machine or the container has"}
	case yolo.LoadFailed, yolo.Unsupported:
		return hinted{toldTo(err), "lazyolo inspect shows what is in a model file, lazyolo doctor what is missing here"}
	}
	return err
}
