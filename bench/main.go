// Command bench measures what lazyolo promises: a fast start, little memory, a
// first request that is hardly slower than the next, and little time beside ONNX
// Runtime's own. It prints Markdown tables on standard output, progress on
// standard error, and runs from the repository's root after a build:
//
//	go run ./bench > tables.md
//
// Every figure is taken from outside, on bin/lazyolo as a process, through HTTP
// and /proc. Machines are noisy: what is compared is measured in turns in one run,
// and the middle of several rounds counts. Where Python can be used, peers/server.py
// (FastAPI and Ultralytics, in the old server's ways) is measured beside it.
//
// Settings are environment variables: BENCH_QUICK=1 few rounds; BENCH_PEERS=0 no
// Python server; BENCH_ONLY=start,serving,hot,speed,throughput,original,
// dynamic,checkpoint,parts,budget,doors,many,cycles,resident,keys,telemetry some tables; BENCH_MODELS how many files
// the table many has, 13 MB each and as much in the cache; BENCH_DIR the work folder (the user cache's lazyolo-bench); BENCH_VENV a Python environment to use
// instead of making one; BENCH_BINARY another program than bin/lazyolo; ORT_LIBRARY
// as in lazyolo.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 {
		child(os.Args[1:])
		return
	}
	log.SetFlags(0)
	log.SetPrefix("bench: ")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := bench(ctx, os.Stdout)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

// rounds says how often things are measured.
type rounds struct {
	starts  int           // of a process, start to healthy
	lives   int           // of a process, start to idle after serving
	peers   int           // of a peer's start or life
	pairs   int           // of a hot request and its bare run
	against int           // of a hot request of every peer
	settle  time.Duration // "5 s later"

	bursts  int           // of requests, then of bare runs
	windows int           // of clients without pause, of each server
	window  time.Duration // how long they are
	empty   time.Duration // clients over an empty cache
	cycles  int           // of load, run and unload
	steady  int           // requests of the resident model, three times
	many    int           // model files; BENCH_MODELS
	asked   int           // of them, asked once more
	told    int           // of requests to a fake detector, with and without telemetry
	telling int           // requests in each
}

var (
	full = rounds{starts: 15, lives: 7, peers: 3, pairs: 120, against: 30, settle: 5 * time.Second,
		bursts: 12, windows: 3, window: 12 * time.Second, empty: time.Minute, cycles: 1000, steady: 1000, many: 500, asked: 40, told: 7, telling: 10_000}
	quick = rounds{starts: 3, lives: 1, peers: 1, pairs: 15, against: 5, settle: 5 * time.Second,
		bursts: 2, windows: 1, window: 3 * time.Second, empty: 15 * time.Second, cycles: 60, steady: 30, many: 20, asked: 10, told: 3, telling: 10_000}
)

// A table measures its figures and prints them.
type table struct {
	name  string
	print func(ctx context.Context, out *report, b *work) error
}

func bench(ctx context.Context, out io.Writer) error {
	began := time.Now()
	b, err := prepareWork(ctx)
	if err != nil {
		return err
	}
	r := &report{out: out, peers: b.peers}
	r.head(b)
	tables := []table{
		{"start", startTables}, {"serving", servingTables}, {"hot", hotTables},
		{"speed", speedTable}, {"throughput", throughputTable}, {"original", originalTable},
		{"dynamic", dynamicTable}, {"checkpoint", checkpointTable}, {"reload", reloadTable}, {"parts", partsTable}, {"policy", policyTable},
		{"budget", budgetTables}, {"doors", doorsTable}, {"many", manyTable}, {"cycles", cyclesTable}, {"resident", residentTable},
		{"keys", keysTable}, {"telemetry", telemetryTable},
	}
	only := os.Getenv("BENCH_ONLY")
	for _, t := range tables {
		if only != "" && !slices.Contains(strings.Split(only, ","), t.name) {
			continue
		}
		if err := t.print(ctx, r, b); err != nil {
			return fmt.Errorf("table %s: %w", t.name, err)
		}
	}
	r.foot(time.Since(began))
	return nil
}

// progress tells the person who waits.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}
