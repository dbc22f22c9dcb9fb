package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"lazyolo/internal/config"
	"lazyolo/internal/convert"
	"lazyolo/internal/onnx"
	"lazyolo/internal/torch"
)

// inspectCommand makes the inspect command.
func inspectCommand() command {
	return command{
		name: "inspect", args: "best.pt|best.onnx", does: "print what is in a model file and whether it can be used",
		more:     "Nothing in the file is executed.",
		examples: []string{"lazyolo inspect best.pt", "lazyolo inspect models/fire/best.onnx"},
		settings: noSettings,
		run:      inspect,
	}
}

// inspect prints what is in a model file, .pt or .onnx, and whether lazyolo can
// use it; nothing in the file is executed.
func inspect(_ context.Context, c *config.Config, s sys) error {
	if len(c.Args) != 1 {
		return &config.UsageError{Setting: "inspect", Msg: fmt.Sprintf("inspect takes one file, got %d", len(c.Args)), Hint: "lazyolo inspect best.pt"}
	}
	path := c.Args[0]
	if strings.EqualFold(filepath.Ext(path), ".pt") {
		ck, err := torch.Open(path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		defer ck.Close()
		r := convert.Inspect(ck)
		var b strings.Builder
		printReport(&b, r)
		fmt.Fprint(s.stdout, plain(b.String()))
		if r.Refused != nil {
			return fmt.Errorf("%s: %w", path, r.Refused)
		}
		return nil
	}
	data, err := s.readFile(path)
	if err != nil {
		return err
	}
	m, err := onnx.Decode(data)
	if err != nil {
		return hinted{fmt.Errorf("%s: %w", path, err), "lazyolo reads .onnx and .pt files"}
	}
	var b strings.Builder
	printGraph(&b, m)
	_, err = io.WriteString(s.stdout, plain(b.String()))
	return err
}

// printReport prints a checkpoint's layers and what it says of itself.
func printReport(w io.Writer, r *convert.Report) {
	for i, l := range r.Layers {
		fmt.Fprintf(w, "%5d  %-12s %-36s %10d\n", i, strings.Trim(fmt.Sprint(l.From), "[]"), l.Class, l.Parameters)
	}
	fmt.Fprintf(w, "\nmodel      %s (%s), written by release %s\n", r.Class, r.Part, cmp.Or(r.Version, "unknown"))
	fmt.Fprintf(w, "task       %s, head %s", cmp.Or(string(r.Task), "unknown"), r.Head)
	if r.TwoHeaded {
		fmt.Fprint(w, " with two branches (head: one2one in labels.yaml or nms=false in a request takes the other)")
	}
	fmt.Fprintf(w, "\ninput      %d pixels, stride %d\n", r.ImageSize, r.Stride)
	fmt.Fprintf(w, "parameters %.2f million", float64(r.Parameters)/1e6)
	if r.Work.FLOPs > 0 {
		fmt.Fprintf(w, ", %.2f GFLOPs a picture", float64(r.Work.FLOPs)/1e9)
	}
	if r.Work.Unknown > 0 {
		fmt.Fprint(w, " at least")
	}
	fmt.Fprintln(w)
	for _, class := range slices.Sorted(maps.Keys(r.Labels)) {
		fmt.Fprintf(w, "class %4d %s\n", class, r.Labels[class])
	}
	for _, u := range r.Unknown {
		fmt.Fprintf(w, "unknown    %s\n", u)
	}
}

// printGraph prints a graph's inputs and outputs, what the file says of itself
// and what a run costs.
func printGraph(w io.Writer, m *onnx.Model) {
	shapes := make(map[string][]int64)
	for _, v := range m.Graph.Inputs {
		fmt.Fprintf(w, "input   %s %s %s\n", v.Name, v.Type, dims(v))
		shapes[v.Name] = sizes(v)
	}
	for _, v := range m.Graph.Outputs {
		fmt.Fprintf(w, "output  %s %s %s\n", v.Name, v.Type, dims(v))
	}
	work := m.Graph.Work(shapes)
	fmt.Fprintf(w, "weights %.2f million parameters, %.2f GFLOPs a run", float64(m.Graph.Parameters())/1e6, float64(work.FLOPs)/1e9)
	if work.Unknown > 0 {
		fmt.Fprintf(w, " (%d operations of unknown size not counted)", work.Unknown)
	}
	fmt.Fprintln(w)
	count := make(map[string]int)
	for n := range m.Graph.All() {
		count[n.Op]++
	}
	fmt.Fprintf(w, "nodes   ")
	ops := slices.SortedFunc(maps.Keys(count), func(a, b string) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(a, b))
	})
	for i, op := range ops {
		if i > 0 {
			fmt.Fprint(w, ", ")
		}
		fmt.Fprintf(w, "%d %s", count[op], op)
	}
	fmt.Fprintln(w)
	for _, p := range m.Metadata {
		fmt.Fprintf(w, "%-7s %.300s\n", p.Key, p.Value)
	}
}

// dims writes a shape as the file has it, free dimensions by their names.
func dims(v onnx.Value) string {
	s := "["
	for i, d := range v.Shape {
		if i > 0 {
			s += ", "
		}
		if d.Name != "" {
			s += d.Name
		} else {
			s += fmt.Sprint(d.Size)
		}
	}
	return s + "]"
}

// sizes is a shape in which free dimensions are one picture of 640 x 640.
func sizes(v onnx.Value) []int64 {
	out := make([]int64, len(v.Shape))
	for i, d := range v.Shape {
		switch {
		case d.Name == "" && d.Size > 0:
			out[i] = d.Size
		case i >= 2:
			out[i] = 640
		default:
			out[i] = 1
		}
	}
	return out
}
