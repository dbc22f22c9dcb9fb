package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"os"
	"path/filepath"

	"lazyolo/internal/turbojpeg"
)

// photoFile is a photo of 12 megapixels; it is not in the repository.
const photoFile = "../shared/fixtures/compat/images/photo12mp.jpg"

// burst is how many times a turn goes without pause; the first does not count.
const burst = 11

// inBursts gives every turn its go n times, burst times in a row each: what a
// server does after its answer (annotated pictures) then weighs on its own next
// request and not on the next turn.
func inBursts(ctx context.Context, n int, turns ...*turn) error {
	for range n {
		for _, t := range turns {
			for i := range burst {
				took, err := t.do(ctx)
				if err != nil {
					return fmt.Errorf("%s: %w", t.what, err)
				}
				if i > 0 {
					t.times = append(t.times, took.Seconds())
				}
			}
			if err := wait(ctx, 10*pause); err != nil {
				return err
			}
		}
	}
	return nil
}

// needs are why a table cannot be measured; "" when it can.
func (b *work) needs() string {
	if !b.yolo {
		return "no YOLOv8 models"
	}
	if err := new(turbojpeg.Library).Open(); err != nil {
		return "no libjpeg-turbo: " + err.Error()
	}
	return ""
}

// speedTable measures a hot request over a bare run, without pauses.
func speedTable(ctx context.Context, out *report, b *work) error {
	if why := b.needs(); why != "" {
		b.note("Table speed is left out: %s.", why)
		return nil
	}
	rows, err := b.speedRows(ctx, b.picture, "810x1080 JPEG", []speedOf{
		{"annotated pictures off", 1.12, []string{"SAVE_ANNOTATED=off"}},
		{"annotated pictures on", 1.25, []string{"SAVE_ANNOTATED=on"}},
	})
	if err != nil {
		return err
	}
	photo, err := os.ReadFile(photoFile)
	if err != nil {
		rows = append(rows, figure{what: "12-megapixel JPEG", in: asRatio, skipped: filepath.Base(photoFile) + " is not there (" + photoFile + ")"})
	} else {
		more, err := b.speedRows(ctx, photo, "12-megapixel JPEG", []speedOf{
			{"DECODE=exact", 2.5, []string{"SAVE_ANNOTATED=off"}},
			{"DECODE=fast", 1.75, []string{"SAVE_ANNOTATED=off", "DECODE=fast"}},
		})
		if err != nil {
			return err
		}
		rows = append(rows, more...)
	}
	out.section("Speed: one request over one bare run", fmt.Sprintf(
		"YOLOv8n, 640, static, libjpeg-turbo; p50 over HTTP over p50 of the bare ONNX Runtime loop, in turns: %d bursts of %d without a pause, the first of each left out.",
		b.rounds.bursts, burst))
	out.table(rows)
	return nil
}

// A speedOf is one way to serve, and what its ratio must reach.
type speedOf struct {
	what string
	most float64
	env  []string
}

func (b *work) speedRows(ctx context.Context, picture []byte, name string, ways []speedOf) (rows []figure, err error) {
	progress("speed, %s", name)
	r, err := b.openBare(nano, b.picture) // the same run whatever the picture
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.session.Close()) }()
	run := &turn{what: "bare run", do: r.run}
	turns := []*turn{run}
	for _, w := range ways {
		p, err := b.start(ctx, b.lazyolo, b.models(nano, "onnx"), w.env...)
		if err != nil {
			return nil, err
		}
		defer func() { err = p.stopAfter(err) }()
		do, err := request(p, picture, 0, "")
		if err != nil {
			return nil, err
		}
		for range 3 {
			if _, err := do(ctx); err != nil {
				return nil, err
			}
		}
		turns = append(turns, &turn{what: w.what, do: do})
	}
	if err := inBursts(ctx, b.rounds.bursts, turns...); err != nil {
		return nil, err
	}
	for i, w := range ways {
		rows = append(rows, figure{what: name + ", " + w.what, in: asRatio, most: w.most, measured: sample{turns[1+i].times.median() / run.times.median()}})
	}
	for _, t := range turns {
		rows = append(rows, figure{what: name + ", " + t.what, in: inMillis, measured: t.times, spread: true})
	}
	return rows, nil
}

// dynamicTable measures what rectangular input saves.
func dynamicTable(ctx context.Context, out *report, b *work) error {
	if why := b.needs(); why != "" {
		b.note("Table dynamic is left out: %s.", why)
		return nil
	}
	progress("dynamic input")
	wide, err := resized(b.picture, 1280, 720)
	if err != nil {
		return err
	}
	square, err := resized(b.picture, 960, 960) // as many pixels to decode
	if err != nil {
		return err
	}
	p, err := b.start(ctx, b.lazyolo, b.models(dynamic, "onnx"), "SAVE_ANNOTATED=off")
	if err != nil {
		return err
	}
	var turns []*turn
	for _, picture := range [][]byte{square, wide} {
		r, err := b.openBare(dynamic, picture)
		if err != nil {
			return p.stopAfter(err)
		}
		defer r.session.Close()
		do, err := request(p, picture, 0, "")
		if err != nil {
			return p.stopAfter(err)
		}
		turns = append(turns, &turn{what: "run", do: r.run}, &turn{what: "request", do: do})
	}
	if err := p.stopAfter(inBursts(ctx, b.rounds.bursts, turns...)); err != nil {
		return err
	}
	over := func(i int) sample { return sample{turns[2+i].times.median() / turns[i].times.median()} }
	out.section("Dynamic input", "YOLOv8n with free height and width: a 1280x720 JPEG (run at 640x384) over a 960x960 one (640x640), which has as many pixels to decode; in turns.")
	out.table([]figure{
		{what: "run, 16:9 over square", in: asRatio, measured: over(0), most: 0.63},
		{what: "over HTTP, 16:9 over square", in: asRatio, measured: over(1), most: 0.68},
		{what: "run, square", in: inMillis, measured: turns[0].times, spread: true},
		{what: "run, 16:9", in: inMillis, measured: turns[2].times, spread: true},
		{what: "request, square", in: inMillis, measured: turns[1].times, spread: true},
		{what: "request, 16:9", in: inMillis, measured: turns[3].times, spread: true},
	})
	return nil
}

// resized makes another JPEG of a picture, its proportions given up.
func resized(picture []byte, w, h int) ([]byte, error) {
	from, err := jpeg.Decode(bytes.NewReader(picture))
	if err != nil {
		return nil, err
	}
	size := from.Bounds().Size()
	to := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			to.Set(x, y, from.At(x*size.X/w, y*size.Y/h))
		}
	}
	var out bytes.Buffer
	err = jpeg.Encode(&out, to, &jpeg.Options{Quality: 90})
	return out.Bytes(), err
}
