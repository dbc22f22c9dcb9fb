package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// A turn is one of several things measured alternately.
type turn struct {
	what  string
	do    func(ctx context.Context) (time.Duration, error)
	times sample
}

// pause lets the threads that spun for the last turn come to rest.
const pause = 20 * time.Millisecond

// alternate gives every turn its go n times, in another order each round, since what went
// before leaves its traces in the caches, after warmUp goes that
// do not count.
func alternate(ctx context.Context, n int, turns ...*turn) error {
	const warmUp = 3
	order := rand.New(rand.NewPCG(1, 2))
	for i := range warmUp + n {
		for _, k := range order.Perm(len(turns)) {
			t := turns[k]
			took, err := t.do(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", t.what, err)
			}
			if i >= warmUp {
				t.times = append(t.times, took.Seconds())
			}
			if err := wait(ctx, pause); err != nil {
				return err
			}
		}
	}
	return nil
}

// hotTables measures hot requests against a bare run, then against the peers.
func hotTables(ctx context.Context, out *report, b *work) error {
	if !b.yolo {
		return nil // the head of the report says why
	}
	r, err := b.openBare(nano, b.picture)
	if err != nil {
		return err
	}
	p, err := b.start(ctx, b.lazyolo, b.models(nano, "onnx"), "SAVE_ANNOTATED=off")
	if err != nil {
		return errors.Join(err, r.session.Close())
	}
	err = hotAlone(ctx, out, b, r, p)
	if err == nil && len(b.peers) > 0 {
		err = hotAgainst(ctx, out, b, r, p)
	}
	return errors.Join(p.stopAfter(err), r.session.Close())
}

// request is a turn that sends the picture to model; the answer's error must be want.
func request(p *process, picture []byte, model int, want string) (func(context.Context) (time.Duration, error), error) {
	d, err := newDetection(picture, model)
	return func(ctx context.Context) (time.Duration, error) {
		took, said, err := p.detect(ctx, d)
		if err == nil && said != want {
			err = fmt.Errorf("answer %q, expected %q; see %s", said, want, p.log)
		}
		return took, err
	}, err
}

func hotAlone(ctx context.Context, out *report, b *work, r *bare, p *process) error {
	whole, err := request(p, b.picture, 0, "")
	if err != nil {
		return err
	}
	door, err := request(p, b.picture, 99, "Model ID 99 not found") // all of a request but the work
	if err != nil {
		return err
	}
	progress("hot YOLOv8n, %d requests and bare runs in turns", b.rounds.pairs)
	http, run := &turn{what: "request", do: whole}, &turn{what: "bare run", do: r.run}
	if err := alternate(ctx, b.rounds.pairs, http, run); err != nil {
		return err
	}
	carry, decode, fill := &turn{what: "door", do: door}, &turn{what: "decode", do: r.decode}, &turn{what: "letterbox", do: r.letterbox}
	if err := alternate(ctx, b.rounds.pairs/2, carry, decode, fill); err != nil {
		return err
	}
	rest := http.times.median() - run.times.median() - carry.times.median() - decode.times.median() - fill.times.median()

	out.section("Hot request of a YOLOv8n", fmt.Sprintf(
		"810x1080 JPEG of %d KB over loopback HTTP, annotated pictures off, against a bare ONNX Runtime loop: the same session options, %s, tensors there before; %d of each in turns.",
		len(b.picture)/1000, "threads and prepared file", b.rounds.pairs))
	row := func(what string, t *turn) figure {
		return figure{what: what, in: inMillis, measured: t.times, spread: true}
	}
	out.table([]figure{
		{what: "p50 of the request over p50 of the bare run", in: asRatio, measured: sample{http.times.median() / run.times.median()}, most: 1.4, original: "2x"},
		row("request", http),
		row("bare run", run),
		row("of the request: HTTP and the form (a request to a model that is not there)", carry),
		row("of the request: decode the JPEG", decode),
		row("of the request: letterbox to the tensor", fill),
		{what: "of the request: all else (candidates, colder caches)", in: inMillis, measured: sample{rest}},
	})
	return nil
}

// hotAgainst measures lazyolo, the bare run and one peer at a time in turns. Only
// the eager ones: once loaded, both are the same.
func hotAgainst(ctx context.Context, out *report, b *work, r *bare, p *process) error {
	own, err := request(p, b.picture, 0, "")
	if err != nil {
		return err
	}
	run, ask := &turn{what: "bare run", do: r.run}, &turn{what: "lazyolo", do: own}
	times := figure{what: "request", in: inMillis, spread: true, original: "126 ms", peers: make([]sample, len(b.peers))}
	ratios := figure{what: "over the bare run", in: asRatio, original: "2x", peers: make([]sample, len(b.peers))}
	for i, c := range b.peers {
		if !c.eager {
			continue
		}
		progress("hot YOLOv8n against %s, %d of each in turns", c.name, b.rounds.against)
		before := len(run.times)
		peer, err := b.hotPeer(ctx, c, run, ask)
		if err != nil {
			return err
		}
		times.peers[i] = peer
		ratios.peers[i] = sample{peer.median() / run.times[before:].median()}
	}
	times.measured, ratios.measured = ask.times, sample{ask.times.median() / run.times.median()}
	out.section("The same against the Python server", fmt.Sprintf(
		"%d requests and bare runs for each peer, in turns; a .pt takes this picture at 480x640, the static .onnx at 640x640, as here.", b.rounds.against))
	out.table([]figure{ratios, times, {what: "bare run", in: inMillis, measured: run.times, spread: true}})
	return nil
}

// hotPeer starts a peer and has it take turns with the others.
func (b *work) hotPeer(ctx context.Context, c contender, others ...*turn) (sample, error) {
	p, err := b.start(ctx, c, b.models(nano, c.format))
	if err != nil {
		return nil, err
	}
	ask, err := request(p, b.picture, 0, "")
	peer := &turn{what: c.name, do: ask}
	if err == nil {
		err = alternate(ctx, b.rounds.against, append(others, peer)...)
	}
	return peer.times, p.stopAfter(err)
}
