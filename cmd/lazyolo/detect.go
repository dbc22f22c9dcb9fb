package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"lazyolo"
	"lazyolo/internal/config"
	"lazyolo/internal/core"
	"lazyolo/yolo"
)

// detectFlags are the flags of the detect command.
type detectFlags struct {
	model, save, masks string
	asJSON             bool
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
		settings: []string{"Models", "Detection", "Memory and processors", "Preparation", "Limits"},
		flags:    f.define,
		run:      func(ctx context.Context, c *config.Config, s sys) error { return runDetect(ctx, f, c, s) },
	}
}

func (f *detectFlags) define(own *flag.FlagSet) {
	own.StringVar(&f.model, "model", "", "folder or number of the model, or a path of weights or of a model's folder; default: the only model")
	own.BoolVar(&f.asJSON, "json", false, "print a JSON object a line for each picture")
	own.StringVar(&f.save, "save", "", "folder to write pictures to with what was found drawn onto them")
	own.StringVar(&f.masks, "masks", "polygon", "how --json tells masks: polygon, rle or none")
	ask := func(name, usage string, option func(text string) (lazyolo.RequestOption, error)) {
		own.Func(name, usage, func(text string) error {
			o, err := option(text)
			f.ask = append(f.ask, o)
			return err
		})
	}
	ask("conf", "confidence an object must exceed, 0..1; default: CONF_THRES", func(text string) (lazyolo.RequestOption, error) {
		v, err := within(text, 0, 1)
		return lazyolo.Conf(v), err
	})
	ask("iou", "overlap beyond which the weaker of two objects goes, 0..1; default: IOU_THRES", func(text string) (lazyolo.RequestOption, error) {
		v, err := within(text, 0, 1)
		return lazyolo.IoU(v), err
	})
	ask("max-det", "objects of a picture at most, best first; default: 300", func(text string) (lazyolo.RequestOption, error) {
		n, err := whole(text, 1, 30_000)
		return lazyolo.MaxDet(n), err
	})
	ask("imgsz", "longer side of a dynamic input in pixels; default: 640", func(text string) (lazyolo.RequestOption, error) {
		n, err := whole(text, 1, 2048)
		return lazyolo.ImgSz(n), err
	})
	ask("classes", "only objects of these classes: numbers with commas between them", func(text string) (lazyolo.RequestOption, error) {
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
	ask("nms", "of a checkpoint with two heads, the one with suppression (true) or without (false)", func(text string) (lazyolo.RequestOption, error) {
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
	if c.Origin("LOG_LEVEL").Source == config.Default {
		c.LogLevel = slog.LevelWarn
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	pictures, err := findPictures(c.Args, s.stdin, c.MaxBody)
	if err != nil {
		return err
	}
	if f.save != "" {
		if err := os.MkdirAll(f.save, 0o755); err != nil {
			return hinted{fmt.Errorf("make folder: %w", err), "name a folder that can be written with --save"}
		}
		if err := nameOutputs(pictures, f.save); err != nil {
			return err
		}
	}
	d, model, err := openDetector(f, c, s)
	if err != nil {
		return err
	}
	b := &batch{detector: d, model: model, flags: f, pictures: pictures, atOnce: core.Concurrency(c), out: newResults(f, pictures, s)}
	return errors.Join(b.run(ctx), d.Close())
}

// openDetector opens what the flags and settings name, and says which model of it is asked.
func openDetector(f detectFlags, c *config.Config, s sys) (d *lazyolo.Detector, model string, err error) {
	log := newLogger(c, s.stderr, c.LogLevel)
	dir, model := c.ModelsPath, f.model
	if isPath(f.model) {
		dir, model = f.model, ""
	} else {
		models, isDemo, err := openModels(c, slog.New(slog.DiscardHandler))
		if err != nil {
			return nil, "", err
		}
		if isDemo {
			dir = filepath.Dir(filepath.Dir(models.All()[0].Weights)) // the folder it was unpacked to
			if terminal(s.stderr) {
				fmt.Fprintln(s.stderr, "No models in", c.ModelsPath+": using the demo model.")
			}
		}
		if err := chooseModel(models.All(), model, c.ModelsPath); err != nil {
			return nil, "", err
		}
	}
	opts := []lazyolo.Option{lazyolo.Logger(log)}
	for _, set := range config.Settings() {
		if c.Origin(set.Name).Source != config.Default || set.Name == "CACHE_DIR" {
			opts = append(opts, lazyolo.Setting(set.Name, c.Value(set.Name)))
		}
	}
	if d, err = lazyolo.Open(dir, opts...); err != nil {
		return nil, "", err
	}
	return d, model, nil
}

// isPath reports whether a model is named by where it lies.
func isPath(model string) bool {
	ext := strings.ToLower(filepath.Ext(model))
	return strings.ContainsRune(model, filepath.Separator) || model == "." || model == ".." || ext == ".onnx" || ext == ".pt"
}

// chooseModel says why no model is chosen; nil: one is.
func chooseModel(all []*yolo.Model, model, dir string) error {
	if model != "" || len(all) <= 1 {
		return nil
	}
	const most = 10
	var names []string
	for _, m := range all[:min(len(all), most)] {
		names = append(names, m.ID)
	}
	if len(all) > most {
		names = append(names, "...")
	}
	return &config.UsageError{Setting: "--model", Msg: fmt.Sprintf("there are %d models in %s: name one with --model", len(all), dir),
		Hint: "--model " + strings.Join(names, ", ")}
}

// A batch is the pictures of one call of the command.
type batch struct {
	detector *lazyolo.Detector
	model    string
	flags    detectFlags
	pictures []picture
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
	if err := ctx.Err(); err != nil {
		return errors.New("interrupted")
	}
	return b.out.verdict()
}

// answer reads one picture, asks for what is in it and draws that, if it is to be drawn.
func (b *batch) answer(ctx context.Context, p picture) (*yolo.Result, error) {
	data, err := p.read()
	if err != nil {
		return nil, err
	}
	r, err := b.detector.Detect(ctx, data, b.model, b.flags.ask...)
	if err != nil || p.output == "" {
		return r, err
	}
	err = writeWhole(p.output, func(w io.Writer) error { return b.detector.Annotate(ctx, w, p.output, data, r) })
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", p.output, err)
	}
	return r, nil
}

// ofModel reports whether an error would be every picture's.
func ofModel(err error) bool {
	var pe *fs.PathError
	if errors.As(err, &pe) {
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
	case yolo.NotFound:
		return hinted{fmt.Errorf("no model %q", b.model), "lazyolo models lists them; a path of weights must end in .onnx or .pt, or contain a /"}
	case yolo.TooBig, yolo.NoRoom:
		return hinted{err, "raise MAX_MEMORY_MB, or the memory that the machine or the container has"}
	case yolo.LoadFailed, yolo.Unsupported:
		return hinted{err, "lazyolo inspect shows what is in a model file, lazyolo doctor what is missing here"}
	}
	return err
}
