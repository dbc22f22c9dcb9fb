package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"lazyolo/internal/config"
	"lazyolo/internal/convert"
	"lazyolo/internal/torch"
)

// convertCommand makes the convert command with its flags.
func convertCommand() command {
	var out string
	var force bool
	var o convert.Options
	return command{
		name: "convert", args: "best.pt", does: "write a PyTorch checkpoint as a standard ONNX file",
		more:     "serve and detect need no conversion: they take .pt as it is.",
		examples: []string{"lazyolo convert best.pt", "lazyolo convert best.pt -o fire.onnx --dynamic --half"},
		settings: noSettings,
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&out, "o", "", "file to write; default: the same name ending in .onnx")
			fs.BoolVar(&force, "force", false, "replace the file that is to be written")
			fs.IntVar(&o.ImageSize, "imgsz", 0, "side of the input in pixels; default: what the model was trained with")
			fs.BoolVar(&o.Dynamic, "dynamic", false, "leave batch, height and width free")
			fs.BoolVar(&o.Half, "half", false, "store the weights as float16")
			fs.BoolVar(&o.OneToOne, "one2one", false, "of two heads (YOLOv10, YOLO26) take the one that needs no NMS")
		},
		run: func(_ context.Context, c *config.Config, s sys) error {
			if len(c.Args) != 1 {
				return &config.UsageError{Setting: "convert", Msg: fmt.Sprintf("convert takes one file, got %d", len(c.Args)), Hint: "lazyolo convert best.pt -o best.onnx"}
			}
			from, to := c.Args[0], out
			if to == "" {
				to = strings.TrimSuffix(from, filepath.Ext(from)) + ".onnx"
			}
			if filepath.Clean(to) == filepath.Clean(from) {
				return &config.UsageError{Setting: "-o", Msg: to + " would be written over itself", Hint: "name another file with -o"}
			}
			if err := mayWrite(to, force); err != nil {
				return err
			}
			n, err := convertFile(from, to, o)
			if err != nil {
				return hinted{err, "lazyolo inspect " + from + " shows what is in it"}
			}
			_, err = fmt.Fprintf(s.stdout, "%s: %.1f MiB\n", to, float64(n)/mib)
			return err
		},
	}
}

// convertFile writes the checkpoint from as ONNX to the file to, whole or not at
// all, and returns its size.
func convertFile(from, to string, o convert.Options) (n int64, err error) {
	ck, err := torch.Open(from)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", from, err)
	}
	defer ck.Close()
	m, err := convert.Convert(ck, o)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", from, err)
	}
	err = writeWhole(to, func(w io.Writer) (err error) {
		n, err = m.WriteTo(w)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", to, err)
	}
	return n, nil
}
