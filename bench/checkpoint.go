package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/draw"
	"image/jpeg"
	"os"
	"os/exec"
	"slices"
	"time"

	"lazyolo/internal/machine"
)

// The set checkpoints: a YOLOv8n as its checkpoint and as its official export, and a
// YOLOv8m's checkpoint.
const (
	checkpoints   = "checkpoints"
	nanoPT        = 0
	nanoONNX      = 1
	mediumPT      = 2
	mediumWeights = "yolov8m-a"
)

// checkpointTable measures what serving a .pt costs: once, when it is converted and
// prepared, and afterwards over the official export of the same weights.
func checkpointTable(ctx context.Context, out *report, b *work) error {
	if !b.yolo {
		return nil // the head of the report says why
	}
	set := b.path("models", checkpoints)
	for i, file := range []string{"yolov8n.pt", "yolov8n.onnx", mediumWeights + ".pt"} {
		if err := makeFolder(set, i, b.path("weights", file)); err != nil {
			return err
		}
	}
	made := new(conversion)
	for i := range b.rounds.lives {
		progress("a checkpoint is prepared, round %d of %d", i+1, b.rounds.lives)
		if err := made.measure(ctx, b); err != nil {
			return err
		}
	}
	served := new(checkpointLives)
	if err := b.prepare(ctx, set); err != nil {
		return err
	}
	for i := range b.rounds.lives {
		progress("first requests of a checkpoint, round %d of %d", i+1, b.rounds.lives)
		if err := served.measure(ctx, b); err != nil {
			return err
		}
	}
	pt, onnx := &turn{what: "checkpoint"}, &turn{what: "export"}
	if err := b.square(ctx, pt, onnx); err != nil {
		return err
	}
	out.section("Checkpoints", fmt.Sprintf(
		"`lazyolo prepare` of a YOLOv8m.pt over an empty cache, with its children's memory read every millisecond; first requests of that model in a new process, hot is the median of the %d after; a YOLOv8n's checkpoint and export at 640x640 over HTTP, %d of each in turns.",
		hotAfter, b.rounds.pairs))
	out.table([]figure{
		{what: "YOLOv8m.pt to its prepared file", in: inSeconds, measured: made.wall, spread: true, most: 3},
		{what: "peak of the child that converts, over the file", in: asRatio, measured: made.convert, spread: true, most: 5},
		{what: "peak of the child that prepares less 30 MB, over the float32 weights", in: asRatio, measured: made.prepare, spread: true, most: 3.4},
		{what: "children at once, at most", in: asCount, measured: made.children, most: 1},
		{what: "first request, fresh process, over hot", in: inMillis, measured: served.fresh, spread: true, most: 0.080},
		{what: "first request, another model has run, over hot", in: inMillis, measured: served.another, spread: true, most: 0.080},
		{what: "p50 of the checkpoint over its official export", in: asRatio, measured: sample{pt.times.median() / onnx.times.median()}, most: 1.03},
		{what: "checkpoint", in: inMillis, measured: pt.times, spread: true},
		{what: "export", in: inMillis, measured: onnx.times, spread: true},
	})
	return nil
}

// A conversion is what lazyolo prepare takes for one checkpoint.
type conversion struct {
	wall, convert, prepare, children sample
}

// measure prepares the medium checkpoint over an empty cache.
func (c *conversion) measure(ctx context.Context, b *work) error {
	dir, err := os.MkdirTemp(b.dir, "checkpoint-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cmd := exec.CommandContext(ctx, b.binary, "prepare", fmt.Sprintf("model_%d", mediumPT))
	cmd.Dir, cmd.Env = b.dir, append(b.env(), "MODELS_PATH="+b.path("models", checkpoints), "CACHE_DIR="+dir)
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	stop, done := make(chan struct{}), make(chan []int64)
	most := 0
	go func() { done <- childPeaks(cmd.Process.Pid, stop, &most) }()
	err = cmd.Wait()
	took := time.Since(began)
	close(stop)
	peaks := <-done
	if err != nil {
		return fmt.Errorf("lazyolo prepare: %w", err)
	}
	if len(peaks) != 2 {
		return fmt.Errorf("%d children prepared the checkpoint, not 2", len(peaks))
	}
	file, err := os.Stat(b.path("weights", mediumWeights+".pt"))
	if err != nil {
		return err
	}
	weights, err := os.Stat(b.path("weights", mediumWeights+".onnx")) // hardly more than its weights
	if err != nil {
		return err
	}
	c.wall = append(c.wall, took.Seconds())
	c.convert = append(c.convert, float64(peaks[0])/float64(file.Size()))
	c.prepare = append(c.prepare, float64(peaks[1]-30*mb)/float64(weights.Size()))
	c.children = append(c.children, float64(most))
	return nil
}

// childPeaks watches the preparing children of a process until stop is closed: the
// highest memory of each, in the order they came, and in most how many were there at once.
func childPeaks(pid int, stop <-chan struct{}, most *int) []int64 {
	var order []int
	peaks := make(map[int]int64)
	for tick := time.NewTicker(time.Millisecond); ; {
		there := 0
		for _, child := range machine.Children(pid) {
			if peaks[child] == 0 && !isWorker(child) {
				continue // it does not run its own program yet
			}
			there++
			m, err := machine.Process(child)
			if err != nil {
				continue
			}
			if !slices.Contains(order, child) {
				order = append(order, child)
			}
			peaks[child] = max(peaks[child], m.Peak, m.RSS)
		}
		*most = max(*most, there)
		select {
		case <-tick.C:
		case <-stop:
			tick.Stop()
			out := make([]int64, len(order))
			for i, child := range order {
				out[i] = peaks[child]
			}
			return out
		}
	}
}

// checkpointLives are first requests of a checkpoint over the hot ones after them.
type checkpointLives struct{ fresh, another sample }

// measure is two lives: the medium checkpoint first, and after another model.
func (c *checkpointLives) measure(ctx context.Context, b *work) error {
	for _, before := range []int{-1, nanoONNX} {
		p, err := b.start(ctx, b.lazyolo, b.path("models", checkpoints), "SAVE_ANNOTATED=off")
		if err != nil {
			return err
		}
		extra, err := firstOverHot(ctx, b, p, before)
		if err := p.stopAfter(err); err != nil {
			return err
		}
		if before < 0 {
			c.fresh = append(c.fresh, extra)
		} else {
			c.another = append(c.another, extra)
		}
	}
	return nil
}

// firstOverHot asks for the medium checkpoint, after another model unless that is -1.
func firstOverHot(ctx context.Context, b *work, p *process, before int) (float64, error) {
	var wall sample
	for i := range 2 + hotAfter {
		model := mediumPT
		if i == 0 {
			if model = before; before < 0 {
				continue
			}
		}
		d, err := newDetection(b.picture, model)
		if err != nil {
			return 0, err
		}
		took, err := p.mustDetect(ctx, d)
		if err != nil {
			return 0, err
		}
		if i > 0 {
			wall = append(wall, took.Seconds())
		}
	}
	return wall[0] - wall[1:].median(), nil
}

// square asks the nano checkpoint and its export for a square picture, in turns.
func (b *work) square(ctx context.Context, pt, onnx *turn) error {
	photo, err := jpeg.Decode(bytes.NewReader(b.picture))
	if err != nil {
		return err
	}
	cut := image.NewRGBA(image.Rect(0, 0, 640, 640))
	draw.Draw(cut, cut.Bounds(), photo, photo.Bounds().Min, draw.Src)
	var picture bytes.Buffer
	if err := jpeg.Encode(&picture, cut, nil); err != nil {
		return err
	}
	p, err := b.start(ctx, b.lazyolo, b.path("models", checkpoints), "SAVE_ANNOTATED=off")
	if err != nil {
		return err
	}
	pt.do, err = request(p, picture.Bytes(), nanoPT, "")
	if err == nil {
		onnx.do, err = request(p, picture.Bytes(), nanoONNX, "")
	}
	if err == nil {
		progress("a checkpoint and its export, %d requests of each in turns", b.rounds.pairs)
		err = alternate(ctx, b.rounds.pairs, pt, onnx)
	}
	return errors.Join(err, p.stop())
}
