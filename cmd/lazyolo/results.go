package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"lazyolo/internal/compare"
	"lazyolo/internal/httpapi"
	"lazyolo/yolo"
)

// results tells what detect found, picture by picture.
type results struct {
	stdout, stderr io.Writer
	asJSON         bool
	masks          string
	file           int // columns of the widest name
	bar            *progress
	told, failed   int
}

func newResults(f detectFlags, pictures []picture, s sys) *results {
	r := &results{stdout: s.stdout, stderr: s.stderr, asJSON: f.asJSON, masks: f.masks, file: compare.Columns("FILE")}
	for _, p := range pictures {
		r.file = max(r.file, compare.Columns(plain(p.name)))
	}
	if len(pictures) > 1 && terminal(s.stderr) {
		r.bar = &progress{w: s.stderr, total: len(pictures), began: time.Now()}
		r.bar.draw(0, "loading the model")
	}
	return r
}

// tell writes one outcome.
func (r *results) tell(o outcome) error {
	var b bytes.Buffer
	said := ""
	if o.err != nil {
		r.failed++
		said = reason(o.err)
	}
	switch {
	case r.asJSON:
		if err := r.object(&b, o, said); err != nil {
			return err
		}
	case r.told == 0:
		r.line(&b, "FILE", "CLASS", "CONF", [4]string{"X1", "Y1", "X2", "Y2"}, "NAME")
		fallthrough
	default:
		r.rows(&b, o)
	}
	r.told++
	r.bar.clear()
	if o.err != nil {
		fmt.Fprintf(r.stderr, "lazyolo: error: %s: %s\n", plain(o.name), plain(said))
	}
	_, err := b.WriteTo(r.stdout)
	r.bar.draw(r.told, o.name)
	return err
}

// reason is an error without the name of the picture, which is told beside it.
func reason(err error) string {
	if out := new(outputError); errors.As(err, &out) {
		return out.Error()
	}
	return bare(toldTo(err)).Error()
}

// object writes an outcome as one line of JSON: what the server answers, and for which
// picture.
func (r *results) object(b *bytes.Buffer, o outcome, said string) error {
	head := struct {
		File   string `json:"file"`
		Model  string `json:"model,omitempty"`
		Width  int    `json:"width,omitempty"`
		Height int    `json:"height,omitempty"`
		Output string `json:"output,omitempty"`
		Error  string `json:"error,omitempty"`
	}{File: o.name, Error: said}
	var answer []byte
	if o.err == nil {
		head.Model, head.Width, head.Height, head.Output = o.result.Model.ID, o.result.Width, o.result.Height, o.output
		var err error
		if answer, err = httpapi.Answer(o.result, r.masks); err != nil {
			return fmt.Errorf("write %s as JSON: %w", o.name, err)
		}
	}
	encoder := json.NewEncoder(b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(head); err != nil {
		return err
	}
	if answer != nil { // {"file":...} and {"predictions":...} become one
		b.Truncate(b.Len() - len("}\n"))
		b.WriteByte(',')
		b.Write(bytes.TrimSpace(answer)[1:])
		b.WriteByte('\n')
	}
	return nil
}

// rows writes an outcome as rows of the table.
func (r *results) rows(b *bytes.Buffer, o outcome) {
	none := [4]string{"-", "-", "-", "-"}
	if o.err != nil {
		r.line(b, o.name, "-", "-", none, "(failed)")
		return
	}
	if len(o.result.Objects)+len(o.result.Probs)+len(o.result.Regions) == 0 {
		r.line(b, o.name, "-", "-", none, "(nothing found)")
	}
	for _, x := range o.result.Objects {
		r.line(b, o.name, strconv.Itoa(x.Class), confidence(x.Confidence), corners(x.Box), x.Name)
	}
	for _, p := range o.result.Probs {
		r.line(b, o.name, strconv.Itoa(p.Class), confidence(p.Confidence), none, p.Name)
	}
	for _, g := range o.result.Regions {
		r.line(b, o.name, strconv.Itoa(g.Class), "-", none, fmt.Sprintf("%s (%.1f %% of the picture)", g.Name, 100*g.Share))
	}
}

func confidence(v float32) string { return strconv.FormatFloat(float64(v), 'f', 2, 32) }

func corners(b yolo.Box) (out [4]string) {
	for i, v := range []float32{b.X1, b.Y1, b.X2, b.Y2} {
		out[i] = strconv.Itoa(int(v))
	}
	return out
}

// line writes one row. The widths are the same in all, so that rows can be written as
// they come; what varies most stands last.
func (r *results) line(b *bytes.Buffer, file, class, conf string, at [4]string, name string) {
	file, name = plain(file), plain(name)
	fmt.Fprintf(b, "%s%s  %5s  %4s  %5s  %5s  %5s  %5s  %s\n", file, strings.Repeat(" ", max(0, r.file-compare.Columns(file))),
		class, conf, at[0], at[1], at[2], at[3], name)
}

// end takes the bar away.
func (r *results) end() { r.bar.clear() }

// verdict is the error with which the command ends; nil: every picture was answered.
func (r *results) verdict() error {
	if r.failed == 0 {
		return nil
	}
	if r.told == 1 {
		return errReported // its one error was told
	}
	return fmt.Errorf("%d of %d pictures were not answered", r.failed, r.told)
}

// A progress is a bar on a terminal. A nil one draws nothing.
type progress struct {
	w     io.Writer
	total int
	began time.Time
}

// draw shows how many are done, and which was last.
func (p *progress) draw(done int, last string) {
	if p == nil {
		return
	}
	last = plain(last)
	const wide, most = 24, 28 // columns of the bar and of the name: a narrow terminal has 80
	full := wide * done / p.total
	rate := float64(done) / max(time.Since(p.began).Seconds(), 1e-3)
	if compare.Columns(last) > most {
		end := []rune(last)
		for compare.Columns(string(end)) >= most {
			end = end[1:]
		}
		last = "…" + string(end)
	}
	fmt.Fprintf(p.w, "\r\x1b[K[%s%s] %d/%d  %.1f/s  %s", strings.Repeat("=", full), strings.Repeat(" ", wide-full), done, p.total, rate, last)
}

// clear takes the bar away, for other lines.
func (p *progress) clear() {
	if p != nil {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
