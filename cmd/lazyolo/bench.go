package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"lazyolo/internal/config"
	"lazyolo/internal/load"
)

// loadFlags are the flags of the bench command.
type loadFlags struct {
	load.Options
	models   string
	options  string
	asJSON   bool
	out      string
	maxError float64
}

// benchCommand makes the bench command with its flags.
func benchCommand() command {
	var f loadFlags
	var own *flag.FlagSet
	return command{
		name: "bench", args: "memory [PICTURE] | load PICTURE|FOLDER...",
		does: "compare memory with a server that loads all models at its start, or load a running server",
		more: "bench memory runs three set-ups one after another: all models loaded at the start, lazy, and lazy in a budget.\n" +
			"bench load asks a running server, lazyolo or the old one, and reports how it does.\n" +
			"Of the flags --models and --json are for both, --out and the settings for memory, the others for load.",
		examples: []string{
			"lazyolo bench memory --models-path /srv/models --out report/",
			"lazyolo bench load pictures/ --clients 8 --duration 30s",
			"lazyolo bench load photo.jpg --url http://127.0.0.1:8000 --models 0-9 --zipf 1 --json",
		},
		settings: stageSettings(), interruptible: true,
		flags: func(fs *flag.FlagSet) {
			own = fs
			fs.StringVar(&f.URL, "url", "http://127.0.0.1:8000", "server to load")
			fs.IntVar(&f.Clients, "clients", 8, "requests under way at most")
			fs.Float64Var(&f.Rate, "rate", 0, "requests a second of all clients; default: each asks when it was answered")
			fs.DurationVar(&f.Duration, "duration", 0, "how long requests begin; default: 30s, or until --requests are done")
			fs.IntVar(&f.Requests, "requests", 0, "how many requests in all")
			fs.StringVar(&f.models, "models", "", "model numbers to ask for, the most asked for first: 0,2,5 or 0-9; default: load 0, memory all")
			fs.Float64Var(&f.Zipf, "zipf", 0, "the k-th model is asked for in proportion to 1/k^N; default: all alike")
			fs.StringVar(&f.options, "options", "", "query parameters of every request, such as conf=0.4&imgsz=320")
			fs.DurationVar(&f.Timeout, "timeout", time.Minute, "how long to wait for one answer")
			fs.DurationVar(&f.Sample, "sample", time.Second, "time between two looks at the server's memory")
			fs.IntVar(&f.PID, "pid", 0, "the server's process on this machine, whose memory is read; default: what the server says")
			fs.StringVar(&f.Key, "key", "", "API key to send; default: LAZYOLO_KEY")
			fs.Uint64Var(&f.Seed, "seed", 1, "seed of the choice of models")
			fs.Float64Var(&f.maxError, "max-error-rate", 0, "share of failed requests, 0..1, up to which the command succeeds")
			fs.BoolVar(&f.asJSON, "json", false, "print the report as JSON")
			fs.StringVar(&f.out, "out", "", "memory: folder for memory.svg and memory.html")
		},
		run: func(ctx context.Context, c *config.Config, s sys) error {
			kind := ""
			if len(c.Args) > 0 {
				kind = c.Args[0]
			}
			switch kind {
			case "memory":
				if err := ofOther(own, "memory", "load", func(name string) bool { return name == "models" || name == "json" || name == "out" || isSetting(name) }); err != nil {
					return err
				}
				return runBenchMemory(ctx, f, c, s)
			case "load":
				if err := ofOther(own, "load", "memory", func(name string) bool { return name != "out" && !isSetting(name) }); err != nil {
					return err
				}
				return runBench(ctx, f, c.Args[1:], s)
			}
			return &config.UsageError{Setting: "bench", Msg: "bench has two kinds: memory and load",
				Hint: "lazyolo bench memory; lazyolo bench load pictures/ --clients 8 --duration 30s"}
		},
	}
}

// stageSettings are those that act on bench memory and demo.
func stageSettings() []string {
	return slices.Concat(findSettings(), []string{"MAX_MEMORY_MB", "THREADS"}, makeSettings())
}

// isSetting reports whether a flag is a setting's.
func isSetting(name string) bool {
	return name == "config" || slices.ContainsFunc(config.Settings(), func(s config.Setting) bool { return s.Flag() == name })
}

// ofOther refuses flags that were given and do not act on this kind of bench.
func ofOther(own *flag.FlagSet, kind, other string, acts func(name string) bool) (err error) {
	own.Visit(func(f *flag.Flag) {
		if !acts(f.Name) && err == nil {
			err = &config.UsageError{Setting: "--" + f.Name, Msg: fmt.Sprintf("--%s does nothing for bench %s", f.Name, kind), Hint: "leave it out: it is for bench " + other}
		}
	})
	return err
}

// check refuses numbers that make no sense.
func (f *loadFlags) check() error {
	for _, c := range []struct {
		flag, must string
		ok         bool
	}{
		{"max-error-rate", "lie in 0..1", f.maxError >= 0 && f.maxError <= 1},
		{"clients", "be 1 or more", f.Clients >= 1},
		{"requests", "not be negative", f.Requests >= 0},
		{"duration", "not be negative", f.Duration >= 0},
		{"timeout", "be more than 0", f.Timeout > 0},
		{"sample", "be more than 0", f.Sample > 0},
		{"pid", "not be negative", f.PID >= 0},
	} {
		if !c.ok {
			return &config.UsageError{Setting: "--" + c.flag, Msg: fmt.Sprintf("--%s must %s", c.flag, c.must), Hint: "run: lazyolo help bench"}
		}
	}
	return nil
}

func runBench(ctx context.Context, f loadFlags, args []string, s sys) error {
	if err := f.check(); err != nil {
		return err
	}
	if len(args) == 0 {
		return &config.UsageError{Setting: "bench", Msg: "bench load needs a picture", Hint: "lazyolo bench load pictures/ --clients 8 --duration 30s"}
	}
	var err error
	if f.Models, err = modelList(cmp.Or(f.models, "0")); err != nil {
		return &config.UsageError{Setting: "--models", Msg: err.Error(), Hint: "write numbers and ranges with commas between them: 0,2,5-9"}
	}
	if f.Query, err = url.ParseQuery(f.options); err != nil {
		return &config.UsageError{Setting: "--options", Msg: err.Error(), Hint: "write query parameters: conf=0.4&imgsz=320"}
	}
	if f.Pictures, err = load.ReadPictures(args); err != nil {
		return hinted{fmt.Errorf("read pictures: %w", err), "name picture files, or folders of them, after bench load"}
	}
	if f.Key == "" {
		f.Key = s.getenv("LAZYOLO_KEY")
	}
	if f.Duration == 0 && f.Requests == 0 {
		f.Duration = 30 * time.Second
	}
	if !f.asJSON && terminal(s.stderr) {
		f.Progress = everySecond(func(done, failed int) { fmt.Fprintf(s.stderr, "\r%d requests, %d failed ", done, failed) })
		defer fmt.Fprintln(s.stderr)
	}
	r, err := load.Run(ctx, f.Options)
	if err != nil {
		return &config.UsageError{Setting: "bench", Msg: err.Error(), Hint: "run: lazyolo bench --help"}
	}
	if f.asJSON {
		err = printJSON(s.stdout, r)
	} else {
		err = r.Text(s.stdout)
	}
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return errInterrupted
	}
	if r.Requests == 0 || r.ErrorRate() > f.maxError {
		hint := "is the server there, and has it the models (--models)? codes tell"
		return hinted{fmt.Errorf("%.2f %% of %d requests failed, more than %.2f %%", 100*r.ErrorRate(), r.Requests, 100*f.maxError), hint}
	}
	return nil
}

// modelList reads numbers and ranges such as 0,2,5-9.
func modelList(text string) ([]string, error) {
	const most = 10_000
	var out []string
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		a, err := strconv.Atoi(from)
		b := a
		if isRange && err == nil {
			b, err = strconv.Atoi(to)
		}
		if err != nil || a < 0 || b < a || b-a >= most || len(out)+b-a >= most {
			return nil, fmt.Errorf("%q is no list of model numbers", text)
		}
		for n := a; n <= b; n++ {
			out = append(out, strconv.Itoa(n))
		}
	}
	return out, nil
}

// everySecond calls tell at most once a second.
func everySecond(tell func(done, failed int)) func(done, failed int) {
	var mu sync.Mutex
	var last time.Time
	return func(done, failed int) {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(last) >= time.Second {
			last = time.Now()
			tell(done, failed)
		}
	}
}
