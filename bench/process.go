package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// A contender is a server that can be measured.
type contender struct {
	name    string
	format  string   // of its weights: onnx or pt
	eager   bool     // loads every model before it is healthy
	command []string // and its arguments
	env     []string // beside the work folder's
}

// A process is a contender running, healthy.
type process struct {
	cmd     *exec.Cmd
	url     string
	client  *http.Client
	healthy time.Duration // from its start to the first healthy answer
	log     string        // file of its standard error
	ended   chan struct{} // closed when err is set
	err     error
}

// How often a starting server is asked, how long it may take to start and to stop.
const (
	askEvery   = time.Millisecond
	startLimit = 2 * time.Minute
	stopLimit  = 20 * time.Second
)

// start runs a contender over a models folder and waits until it is healthy.
func (b *work) start(ctx context.Context, c contender, models string, env ...string) (*process, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	b.started++ // two or three may run side by side
	p := &process{
		url:    "http://127.0.0.1:" + strconv.Itoa(port),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: time.Minute},
		log:    b.path(fmt.Sprintf("server-%d.log", b.started%4)),
		ended:  make(chan struct{}),
	}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.CommandContext(ctx, c.command[0], c.command[1:]...)
	p.cmd.Dir = b.dir
	p.cmd.Env = append(append(b.env(), c.env...), append(env, "MODELS_PATH="+models, "PORT="+strconv.Itoa(port), "HOST=127.0.0.1")...)
	p.cmd.Stderr = log
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	err = p.waitHealthy(ctx)
	p.healthy = time.Since(began)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w; see %s", c.name, err, p.log), p.stop())
	}
	return p, nil
}

// waitHealthy asks until the server says that it can infer.
func (p *process) waitHealthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	ask := time.NewTicker(askEvery)
	defer ask.Stop()
	for {
		ok, err := p.health(ctx)
		if ok {
			return nil
		}
		select {
		case <-ask.C:
		case <-p.ended:
			return errors.New("it ended before it was healthy")
		case <-ctx.Done():
			return fmt.Errorf("not healthy: %w, last answer: %w", ctx.Err(), err)
		}
	}
}

// stop ends the server as an administrator does, and waits for it.
func (p *process) stop() error {
	p.client.CloseIdleConnections()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(stopLimit):
		_ = p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("stop: it did not end within %v", stopLimit)
	}
	var exit *exec.ExitError
	if errors.As(p.err, &exit) && exit.Sys().(syscall.WaitStatus).Signaled() {
		return nil // Python's way to obey
	}
	return p.err
}

// stopAfter stops the server once it was measured, or could not be.
func (p *process) stopAfter(err error) error { return errors.Join(err, p.stop()) }

// freePort asks the system for a port nobody listens on.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
