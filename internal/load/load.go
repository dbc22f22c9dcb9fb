// Package load drives a detection server as its clients do and reports how it did:
// answers per second, latencies, errors and the server's memory. It knows the server
// only by the old HTTP API, so it measures lazyolo and the server it replaces alike.
package load

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Options says what is asked of the server. URL, Models and Pictures are required, and
// one of Duration and Requests.
type Options struct {
	URL      string        // of the server, such as http://127.0.0.1:8000
	Models   []string      // model_ids, the most asked for first
	Zipf     float64       // the k-th model is asked for in proportion to 1/k^Zipf; 0: all alike
	Pictures []Picture     // sent in turns
	Clients  int           // requests under way at most; 0: 1
	Rate     float64       // requests a second of all clients together; 0: each asks when it was answered
	Duration time.Duration // how long requests begin; 0: until Requests are done
	Requests int           // how many in all; 0: until Duration is over
	Timeout  time.Duration // of one request; 0: a minute
	Key      string        // sent as a bearer token; "": none
	Query    url.Values    // more query parameters, such as conf
	Sample   time.Duration // between two looks at the server's memory; 0: a second
	PID      int           // of the server's process on this machine: memory is read there, with its children's; 0: asked of the server
	Seed     uint64        // of the choice of models: the same seed, the same choices

	// Progress is told now and then what is done and how many of those failed; may be nil.
	Progress func(done, failed int)
}

// A Picture is an encoded picture and its file's name.
type Picture struct {
	Name string
	Data []byte
}

// check fills in defaults and refuses what makes no sense.
func (o *Options) check() error {
	u, err := url.Parse(o.URL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return fmt.Errorf("url %q is not one of a server, such as http://127.0.0.1:8000", o.URL)
	case len(o.Models) == 0:
		return errors.New("no models to ask for")
	case len(o.Pictures) == 0:
		return errors.New("no pictures to send")
	case o.Duration <= 0 && o.Requests <= 0:
		return errors.New("neither a duration nor a number of requests")
	case o.Clients < 0 || o.Clients > maxClients:
		return fmt.Errorf("clients must lie in 1..%d, got %d", maxClients, o.Clients)
	case !(o.Rate >= 0 && o.Rate <= maxRate):
		return fmt.Errorf("rate must lie in 0..%d a second, got %v", int(maxRate), o.Rate)
	case !(o.Zipf >= 0 && o.Zipf <= 10):
		return fmt.Errorf("zipf must lie in 0..10, got %v", o.Zipf)
	}
	o.Clients = max(1, o.Clients)
	if o.Timeout <= 0 {
		o.Timeout = time.Minute
	}
	if o.Sample <= 0 {
		o.Sample = time.Second
	}
	return nil
}

// Bounds of what one process can drive.
const (
	maxClients = 10_000
	maxRate    = 1e6
	// maxSilent is after how many requests without any answer it is given up.
	maxSilent = 20
	// maxRecorded bounds the latencies that are kept: 80 MB.
	maxRecorded = 10_000_000
)

// A driver is one measurement under way.
type driver struct {
	o      Options
	client *http.Client
	bodies [][]body // by model and picture
	choice *rand.Rand
	share  []float64 // up to which share of all requests each model is chosen

	mu     sync.Mutex // guards what follows
	next   int        // requests begun
	report *Report
	begun  time.Time
}

// Run drives the server until the options' end, or ctx's, and reports. It fails when the
// options are wrong; that requests fail is in the report.
func Run(ctx context.Context, o Options) (*Report, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	d := &driver{o: o, choice: rand.New(rand.NewPCG(o.Seed, 1)), report: &Report{
		URL: o.URL, Clients: o.Clients, Rate: o.Rate, Models: len(o.Models), Zipf: o.Zipf, Pictures: len(o.Pictures),
		Codes: make(map[string]int), Messages: make(map[string]string),
	}}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, o.Clients
	defer transport.CloseIdleConnections()
	d.client = &http.Client{Transport: transport, Timeout: o.Timeout}
	if err := d.prepare(); err != nil {
		return nil, err
	}
	d.begun = time.Now()
	stop, memory := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(memory)
		d.watch(ctx, stop)
	}()
	var clients sync.WaitGroup
	for range o.Clients {
		clients.Go(func() { d.ask(ctx) })
	}
	clients.Wait()
	d.report.Took = time.Since(d.begun).Seconds()
	close(stop)
	<-memory
	d.report.finish()
	return d.report, nil
}

// prepare makes the bodies, once for each model and picture, and the models' shares.
func (d *driver) prepare() error {
	sum := 0.0
	for k, m := range d.o.Models {
		sum += 1 / math.Pow(float64(k+1), d.o.Zipf)
		d.share = append(d.share, sum)
		var row []body
		for _, p := range d.o.Pictures {
			kind, data, err := Form(m, "", p)
			if err != nil {
				return err
			}
			row = append(row, body{kind, data})
		}
		d.bodies = append(d.bodies, row)
	}
	for k := range d.share {
		d.share[k] /= sum
	}
	return nil
}

// ask is one client: it sends requests one after the other. With a rate each has its
// time, and what it waited for a free client counts as latency: a slow server must not
// be asked less.
func (d *driver) ask(ctx context.Context) {
	for {
		b, due, ok := d.turn()
		if !ok || ctx.Err() != nil {
			return
		}
		if wait := time.Until(due); wait > 0 {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return
			}
		}
		if d.o.Rate == 0 {
			due = time.Now()
		}
		code, said := d.send(ctx, b)
		if ctx.Err() != nil {
			return // it was cut off
		}
		if d.record(time.Since(due), code, said); d.hopeless() {
			return
		}
	}
}

// turn chooses the next request and its time; false: there is none left.
func (d *driver) turn() (b body, due time.Time, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	due = time.Now()
	if d.o.Rate > 0 {
		due = d.begun.Add(time.Duration(float64(d.next) / d.o.Rate * float64(time.Second)))
	}
	if d.o.Requests > 0 && d.next >= d.o.Requests || d.o.Duration > 0 && due.Sub(d.begun) >= d.o.Duration {
		return body{}, due, false
	}
	model, r := 0, d.choice.Float64()
	for model < len(d.share)-1 && d.share[model] <= r {
		model++
	}
	b = d.bodies[model][d.next%len(d.o.Pictures)]
	d.next++
	return b, due, true
}

// record notes how one request ended, and of each kind of failure what was said first.
func (d *driver) record(took time.Duration, code, said string) {
	d.mu.Lock()
	r := d.report
	r.Requests++
	r.Codes[code]++
	if code != ok {
		r.Failed++
		if _, known := r.Messages[code]; !known {
			r.Messages[code] = said
		}
	} else if len(r.latencies) < maxRecorded {
		r.latencies = append(r.latencies, took)
	}
	done, failed := r.Requests, r.Failed
	d.mu.Unlock()
	if d.o.Progress != nil {
		d.o.Progress(done, failed)
	}
}

// hopeless reports whether no server answered the first requests, well or badly.
func (d *driver) hopeless() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.report
	r.GaveUp = r.GaveUp || r.Requests >= max(maxSilent, d.o.Clients) && r.Codes[refused]+r.Codes[broken]+r.Codes[timeout] == r.Requests
	return r.GaveUp
}
