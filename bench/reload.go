package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// reloads is how often the model changes under load.
const reloads = 5

// reloadTable measures what clients notice of a model that changes while they use it.
func reloadTable(ctx context.Context, out *report, b *work) error {
	dir := b.path("models", "reload", "model_0")
	from := b.path("demo.onnx")
	if b.yolo {
		from = b.path("weights", "yolov8n.onnx")
	}
	weights, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	c := changing{dir: dir, weights: weights}
	if err := errors.Join(os.MkdirAll(dir, 0o755), c.change(0)); err != nil {
		return err
	}
	if err := b.prepare(ctx, filepath.Dir(dir)); err != nil {
		return err
	}
	p, err := b.start(ctx, b.lazyolo, filepath.Dir(dir), "SAVE_ANNOTATED=off", "MODEL_POLL=200ms")
	if err != nil {
		return err
	}
	all, took, err := b.reload(ctx, p, c)
	if err := p.stopAfter(err); err != nil {
		return err
	}
	out.section("Reload", fmt.Sprintf(
		"%d clients ask for one model without a pause; meanwhile its weights change %d times, each time to bytes that were never prepared; MODEL_POLL=200ms; %d requests.",
		clients, reloads, len(all.took)+all.failed))
	out.table([]figure{
		{what: fmt.Sprintf("failed requests in %d reloads", reloads), in: asCount, measured: sample{float64(all.failed)}, none: true},
		{what: "from the change to the new revision", in: inSeconds, measured: took, spread: true},
		{what: "p50", in: inMillis, measured: sample{all.took.median()}},
		{what: "p99", in: inMillis, measured: sample{all.took.percentile(99)}},
		{what: "slowest request", in: inMillis, measured: sample{all.took.percentile(100)}},
	})
	return nil
}

// reload changes the model while a crowd asks for it.
func (b *work) reload(ctx context.Context, p *process, c changing) (all *served, took sample, err error) {
	d, err := newDetection(b.picture, 0)
	if err != nil {
		return nil, nil, err
	}
	if _, err := p.mustDetect(ctx, d); err != nil {
		return nil, nil, err
	}
	busy, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan *served, 1)
	go func() {
		crowd := &crowd{asks: []detection{d}, seed: 7}
		s, _ := crowd.run(busy, p, time.Hour) // it ends because it is told to
		done <- s
	}()
	for i := range reloads {
		progress("a model changes under load, %d of %d", i+1, reloads)
		began := time.Now()
		if err = c.change(i + 1); err == nil {
			err = p.waitVersion(ctx, c.version(i+1))
		}
		if err != nil {
			break
		}
		took = append(took, time.Since(began).Seconds())
	}
	stop()
	all = <-done
	all.failed -= all.cut // not their fault
	return all, took, err
}

// A changing is a model folder whose content changes.
type changing struct {
	dir     string
	weights []byte
}

// version is what labels.yaml says of a change.
func (c changing) version(i int) string { return fmt.Sprintf("1.0.%d-%d", i, os.Getpid()) }

// change writes other weights of the same meaning, and labels, each in one step.
func (c changing) change(i int) error {
	if err := writeLabels(c.dir, "reload", "onnx", 0); err != nil {
		return err
	}
	labels := filepath.Join(c.dir, "labels.yaml")
	text, err := os.ReadFile(labels)
	if err != nil {
		return err
	}
	mark := c.version(i)
	text = []byte(strings.Replace(string(text), "version: 1.0.0", "version: "+mark, 1))
	unknown := append([]byte{0x7a, byte(len(mark))}, mark...) // a field that readers skip
	for name, content := range map[string][]byte{labels: text, filepath.Join(c.dir, "best.onnx"): append(c.weights[:len(c.weights):len(c.weights)], unknown...)} {
		tmp := name + ".new"
		if err := errors.Join(os.WriteFile(tmp, content, 0o644), os.Rename(tmp, name)); err != nil {
			return err
		}
	}
	return nil
}

// waitVersion waits until a model of this version is served.
func (p *process) waitVersion(ctx context.Context, want string) error {
	const limit = 5 * time.Minute
	for began := time.Now(); time.Since(began) < limit; {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/api/v2/models", nil)
		if err != nil {
			return err
		}
		var models map[string]struct{ Version string }
		if err := p.answer(req, &models); err != nil {
			return err
		}
		if models["0"].Version == want {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return fmt.Errorf("the changed model is not served after %v; see %s", limit, p.log)
}
