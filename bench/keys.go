package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// What the table keys sends beside the requests it measures.
const (
	floodRate    = 1000 // a second
	floodClients = 8
	validKey     = "bench-0123456789abcdef"
)

// keysTable measures a valid key's requests beside a flood of wrong keys, over
// those beside as many requests for the cheapest answer there is.
func keysTable(ctx context.Context, out *report, b *work) error {
	if !b.yolo {
		return nil // the head of the report says why
	}
	p, err := b.start(ctx, b.lazyolo, b.models(nano, "onnx"), "SAVE_ANNOTATED=off", "API_KEYS=bench:infer:"+validKey)
	if err != nil {
		return err
	}
	return p.stopAfter(measureKeys(ctx, out, b, p))
}

func measureKeys(ctx context.Context, out *report, b *work, p *process) error {
	d, err := newDetection(b.picture, 0)
	if err != nil {
		return err
	}
	live := "/livez"
	if status, err := p.status(ctx, http.MethodGet, live, ""); err != nil {
		return err
	} else if status != http.StatusOK {
		live = "/api/v1/health"
	}
	wrong := &flood{p: p, method: http.MethodPost, path: "/api/v2/detect", key: "wrong-0123456789abcdef"}
	cheap := &flood{p: p, method: http.MethodGet, path: live}
	for i := range 2 + b.rounds.windows*6 {
		for _, f := range []*flood{cheap, wrong} {
			progress("keys: %v of requests beside %d/s to %s", b.rounds.window/4, floodRate, f.path)
			if err := f.beside(ctx, d, b.rounds.window/4, i >= 2); err != nil {
				return err
			}
		}
	}
	out.section("Keys", fmt.Sprintf(
		"YOLOv8n through HTTP with a valid key, one request after the other, beside %d requests a second, sent on time whatever the answers do: GET %s, and POST /api/v2/detect with a wrong key and no body; in turns of %v, the first two of each not counted.",
		floodRate, live, b.rounds.window/4))
	ratios := make(sample, len(wrong.medians))
	for i := range ratios {
		ratios[i] = wrong.medians[i] / cheap.medians[i]
	}
	out.table([]figure{
		{what: "p50 beside wrong keys, over beside " + live, in: asRatio, measured: ratios, spread: true, most: 1.03},
		{what: "p50 beside wrong keys", in: inMillis, measured: wrong.medians, spread: true},
		{what: "p50 beside " + live, in: inMillis, measured: cheap.medians, spread: true},
		{what: "wrong keys answered a second", in: perSecond, measured: wrong.rates, spread: true, least: 0.95 * floodRate},
		{what: live + " answered a second", in: perSecond, measured: cheap.rates, spread: true, least: 0.95 * floodRate},
		{what: "wrong keys let through", in: asCount, measured: sample{float64(wrong.through.Load())}, none: true},
	})
	return nil
}

// A flood is requests at a fixed rate, and what was measured beside it.
type flood struct {
	p                 *process
	method, path, key string
	answered, through atomic.Int64
	medians, rates    sample
}

// beside measures detections while the flood runs.
func (f *flood) beside(ctx context.Context, d detection, window time.Duration, counts bool) error {
	flooding, stop := context.WithCancel(ctx)
	defer stop()
	before := f.answered.Load()
	began := time.Now()
	var clients sync.WaitGroup
	for i := range floodClients {
		clients.Go(func() { f.run(flooding, i) })
	}
	var times sample
	var err error
	for err == nil && time.Since(began) < window {
		var took time.Duration
		took, err = f.p.keyed(ctx, d)
		times = append(times, took.Seconds())
	}
	rate := float64(f.answered.Load()-before) / time.Since(began).Seconds()
	stop()
	clients.Wait()
	if counts {
		f.medians, f.rates = append(f.medians, times.median()), append(f.rates, rate)
	}
	return err
}

// run sends one client's share until ctx ends.
func (f *flood) run(ctx context.Context, client int) {
	const each = floodClients * time.Second / floodRate
	next := time.Now().Add(each * time.Duration(client) / floodClients)
	for {
		if wait(ctx, time.Until(next)) != nil {
			return
		}
		next = next.Add(each)
		status, err := f.p.status(ctx, f.method, f.path, f.key)
		if err != nil {
			continue // the rate tells
		}
		f.answered.Add(1)
		if f.key != "" && status != http.StatusUnauthorized && status != http.StatusTooManyRequests {
			f.through.Add(1)
		}
	}
}

// status asks for a path with a key, unless that is empty.
func (p *process) status(ctx context.Context, method, path, key string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, method, p.url+path, nil)
	if err != nil {
		return 0, err
	}
	if key != "" {
		req.Header.Set("X-API-Key", key)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// keyed sends d with the valid key and returns the time to the complete answer.
func (p *process) keyed(ctx context.Context, d detection) (time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/api/v2/detect", bytes.NewReader(d.body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", d.contentType)
	req.Header.Set("X-API-Key", validKey)
	began := time.Now()
	err = p.answer(req, new(struct{}))
	return time.Since(began), err
}
