package compare

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"lazyolo/internal/load"
	"lazyolo/internal/machine"
)

// How a process is watched.
const (
	sampleEvery = 20 * time.Millisecond // between two looks at its memory
	askEvery    = 2 * time.Millisecond  // between two questions whether it is ready
	startWithin = 10 * time.Minute      // many models are loaded eagerly in
	stopWithin  = 15 * time.Second
	maxAnswer   = 64 << 20
	maxLog      = 4 << 10 // of what it says, the end
)

// ErrNoMemory says that the memory of another process cannot be read here.
var ErrNoMemory = errors.New("the memory of processes cannot be read here: /proc is missing")

// A Sample is what a server and its children hold at a time, in MB.
type Sample struct {
	At   float64 `json:"at_s"` // since the process began
	MB   float64 `json:"mb"`   // resident
	Anon float64 `json:"anonymous_mb"`
}

// A process is a server under measurement.
type process struct {
	cmd    *exec.Cmd
	input  io.Closer // its standard input: it ends with this
	url    string
	client *http.Client
	began  time.Time
	ready  time.Duration // from its start to its first healthy answer
	log    tail
	watch  sync.WaitGroup
	done   chan struct{} // closed when sampling shall end
	ended  chan struct{} // closed when the process is gone

	mu      sync.Mutex
	samples []Sample
}

var address = regexp.MustCompile(`http://[0-9.]+:\d+`)

// start starts cmd, which prints its address, and waits until it is healthy. However
// this process ends, cmd's standard input does then, and cmd with it.
func start(ctx context.Context, cmd *exec.Cmd) (*process, error) {
	if _, err := machine.Process(0); err != nil {
		return nil, ErrNoMemory
	}
	p := &process{
		cmd: cmd, client: &http.Client{Transport: &http.Transport{}}, began: time.Now(),
		done: make(chan struct{}), ended: make(chan struct{}),
	}
	cmd.Stderr = &p.log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if p.input, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start server: %w", err)
	}
	found := make(chan string, 1)
	p.watch.Go(func() { // reads to the end, before Wait closes the pipe
		scanAddress(out, found)
		_ = cmd.Wait() // how it ended is in ProcessState
		close(p.ended)
	})
	p.watch.Go(p.sample)
	if err := p.healthy(ctx, found); err != nil {
		p.stop()
		return nil, fmt.Errorf("start server: %w", err)
	}
	return p, nil
}

// scanAddress sends the first address in what is read, and reads on.
func scanAddress(out io.Reader, found chan<- string) {
	sent := false
	for r := bufio.NewReader(out); ; {
		line, err := r.ReadString('\n')
		if a := address.FindString(line); a != "" && !sent {
			found <- a
			sent = true
		}
		if err != nil {
			return
		}
	}
}

// healthy waits for the first healthy answer.
func (p *process) healthy(ctx context.Context, found <-chan string) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	select {
	case p.url = <-found:
	case <-p.ended:
		return fmt.Errorf("it ended: %s", p.log.String())
	case <-ctx.Done():
		return ctx.Err()
	}
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		var health struct {
			OK     bool   `json:"inference_ok"`
			Status string `json:"status"`
		}
		err := p.fetch(ctx, "/api/v1/health", &health)
		if err == nil && health.OK && health.Status != "starting" {
			p.ready = time.Since(p.began)
			return nil
		}
		select {
		case <-tick.C:
		case <-p.ended:
			return fmt.Errorf("it ended: %s", p.log.String())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stop ends the process and waits for it, and for all that watched it.
func (p *process) stop() {
	p.client.CloseIdleConnections()
	_ = p.input.Close()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(stopWithin):
		_ = p.cmd.Process.Kill()
	}
	close(p.done)
	p.watch.Wait()
}

// sample looks at the memory until stop.
func (p *process) sample() {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		if s, ok := p.memory(); ok {
			p.mu.Lock()
			p.samples = append(p.samples, s)
			p.mu.Unlock()
		}
		select {
		case <-tick.C:
		case <-p.done:
			return
		}
	}
}

// memory is what the process and its children hold now; false: it is gone.
func (p *process) memory() (Sample, bool) {
	const mib = 1 << 20
	pid := p.cmd.Process.Pid
	own, err := machine.Process(pid)
	if err != nil || own.RSS == 0 {
		return Sample{}, false
	}
	s := Sample{At: time.Since(p.began).Seconds(), MB: float64(own.RSS) / mib, Anon: float64(own.Anon) / mib}
	for _, child := range machine.Children(pid) {
		if m, err := machine.Process(child); err == nil {
			s.MB += float64(m.RSS) / mib
			s.Anon += float64(m.Anon) / mib
		}
	}
	return s, true
}

// seen is every sample until now.
func (p *process) seen() []Sample {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.samples)
}

// fetch reads one JSON answer.
func (p *process) fetch(ctx context.Context, path string, to any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, nil)
	if err != nil {
		return err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", path, resp.Status)
	}
	return json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(to)
}

// An answer is what a model found, as far as it is told.
type answer struct {
	took    time.Duration
	objects []string // class names, best first
	picture []byte   // annotated, where that was asked for
}

// detect asks model for picture. Wanted is a value of format: json, or image_and_json.
func (p *process) detect(ctx context.Context, model int, pic load.Picture, wanted string) (answer, error) {
	kind, form, err := load.Form(strconv.Itoa(model), wanted, pic)
	if err != nil {
		return answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/api/v2/detect", bytes.NewReader(form))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", kind)
	began := time.Now()
	resp, err := p.client.Do(req)
	if err != nil {
		return answer{}, fmt.Errorf("ask model %d: %w", model, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	a := answer{took: time.Since(began)}
	if err != nil {
		return a, fmt.Errorf("ask model %d: %w", model, err)
	}
	return a, a.read(model, resp.StatusCode, body)
}

// read takes apart what the server answered.
func (a *answer) read(model, status int, body []byte) error {
	var said struct {
		Error       *string
		Image       []byte // base64
		Predictions []struct {
			Name string `json:"class_name"`
		}
	}
	err := json.Unmarshal(body, &said)
	switch {
	case err == nil && said.Error != nil:
		return fmt.Errorf("ask model %d: %s", model, *said.Error)
	case status != http.StatusOK:
		return fmt.Errorf("ask model %d: status %d", model, status)
	case err != nil:
		return fmt.Errorf("ask model %d: %w", model, err)
	}
	a.picture = said.Image
	for _, o := range said.Predictions {
		a.objects = append(a.objects, o.Name)
	}
	return nil
}

// events tells what the server decides about its models, from its start on, until ctx ends.
func (p *process) events(ctx context.Context, tell func(Event)) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/api/v2/events?since=0", nil)
	if err != nil {
		return
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	name := ""
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		line := lines.Text()
		if n, ok := strings.CutPrefix(line, "event: "); ok {
			name = n
		}
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok || name != "decision" {
			continue
		}
		var d struct {
			Time                 time.Time
			Folder, Kind, Reason string
			MB                   float64
		}
		if json.Unmarshal([]byte(data), &d) == nil {
			// Its clock is ours, cut to milliseconds.
			at := max(0, d.Time.Sub(p.began).Seconds())
			tell(Event{At: at, Kind: d.Kind, Model: d.Folder, Why: d.Reason, MB: d.MB})
		}
	}
}

// A tail keeps the end of what is written.
type tail struct {
	mu  sync.Mutex
	end []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end = append(t.end, b...)
	if len(t.end) > maxLog {
		t.end = slices.Clone(t.end[len(t.end)-maxLog:])
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.end))
}
