// Command soak keeps a server busy in a small budget for a long time, with everything
// that users and accidents do to it: requests of every size over more models than
// fit, callers that hang up, loads, unloads and pins, preparing children that are
// killed, prepared models that are deleted. It fails if the process tree's VmRSS ever
// passes the budget, an answer is none that is allowed, or something is left at the
// end.
//
//	go run ./tools/soak -for 10m
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"log"
	"math/rand/v2"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"lazyolo/internal/machine"
)

const (
	models   = 14
	budgetMB = 190
	clients  = 8
	mib      = 1 << 20

	logFile = "soak.log" // what the server says
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("soak: ")
	lasts := flag.Duration("for", 10*time.Minute, "how long")
	binary := flag.String("binary", "bin/lazyolo", "the program")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "seed of what happens")
	flag.Parse()
	log.Printf("%v, seed %d", *lasts, *seed)
	if err := soak(*lasts, *binary, *seed); err != nil {
		log.Fatal(err)
	}
}

// A soaking is one run.
type soaking struct {
	dir, url string
	cmd      *exec.Cmd
	pictures [][]byte

	highest         atomic.Int64 // bytes
	served, refused atomic.Int64
	left, over      atomic.Int64
	mu              sync.Mutex
	odd             map[string]int // answers that are not allowed
}

func soak(lasts time.Duration, binary string, seed uint64) (err error) {
	s := &soaking{odd: make(map[string]int)}
	if s.dir, err = os.MkdirTemp("", "lazyolo-soak-*"); err != nil {
		return err
	}
	defer os.RemoveAll(s.dir)
	if err := s.start(binary); err != nil {
		return err
	}
	defer func() { _ = s.cmd.Process.Kill() }()
	ctx, cancel := context.WithTimeout(context.Background(), lasts)
	defer cancel()
	var all sync.WaitGroup
	all.Go(func() { s.sample(ctx) })
	all.Go(func() { s.tell(ctx) })
	for i := range clients {
		all.Go(func() { s.ask(ctx, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	all.Go(func() { s.disturb(ctx, rand.New(rand.NewPCG(seed, clients))) })
	all.Wait()
	return s.judge()
}

// start makes the models and the pictures and starts the server.
func (s *soaking) start(binary string) error {
	const demo = "cmd/lazyolo/demo/models/model_0"
	for i := range models {
		dir := filepath.Join(s.dir, "models", fmt.Sprintf("m%02d", i))
		if err := os.CopyFS(dir, os.DirFS(demo)); err != nil {
			return fmt.Errorf("%w: run it from the repository's root", err)
		}
		// A byte behind the graph makes the digests differ.
		f, err := os.OpenFile(filepath.Join(dir, "best.onnx"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.Write([]byte{0x52, 1, byte(i)}) // an unknown field of the message
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	for _, side := range []int{64, 640, 1280, 3000} {
		var b bytes.Buffer
		if err := jpeg.Encode(&b, image.NewYCbCr(image.Rect(0, 0, side, side*3/4), image.YCbCrSubsampleRatio420), nil); err != nil {
			return err
		}
		s.pictures = append(s.pictures, b.Bytes())
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return err
	}
	s.url = "http://127.0.0.1:" + strconv.Itoa(port)
	s.cmd = exec.Command(binary, "serve")
	s.cmd.Env = append(os.Environ(), "PORT="+strconv.Itoa(port), "HOST=127.0.0.1", "MODELS_PATH="+filepath.Join(s.dir, "models"),
		"GRPC_PORT=0", "CACHE_DIR="+filepath.Join(s.dir, "cache"), "STATE_DIR="+filepath.Join(s.dir, "state"), "OUTPUT_IMG_BASE_PATH="+filepath.Join(s.dir, "out"),
		"MAX_MEMORY_MB="+strconv.Itoa(budgetMB), "LOG_LEVEL=WARN", "PREHEAT=auto", "KEEP_ALIVE=20s")
	said, err := os.Create(logFile)
	if err != nil {
		return err
	}
	s.cmd.Stderr = said
	if err := s.cmd.Start(); err != nil {
		return err
	}
	for range 500 {
		if r, err := http.Get(s.url + "/api/v1/health"); err == nil {
			return r.Body.Close()
		}
		pause(context.Background(), 20*time.Millisecond)
	}
	return errors.New("the server does not answer")
}

// sample watches the memory of the process and of its children from their exec on.
func (s *soaking) sample(ctx context.Context) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	pid := s.cmd.Process.Pid
	for ctx.Err() == nil {
		<-tick.C
		own := machine.Resident(pid)
		sum := own
		for _, child := range machine.Children(pid) {
			// Before its exec a child is its parent once more.
			if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child)); err == nil && strings.Contains(string(line), "prepare-worker") {
				sum += machine.Resident(child)
			}
		}
		s.highest.Store(max(s.highest.Load(), sum))
		if sum > budgetMB*mib {
			s.over.Add(1)
			log.Printf("over the budget: %.1f MB, %.1f of it children", float64(sum)/mib, float64(sum-own)/mib)
		}
	}
}

func (s *soaking) tell(ctx context.Context) {
	tick := time.NewTicker(30 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			log.Printf("%d served, %d refused, %d hung up, highest %.1f MB of %d",
				s.served.Load(), s.refused.Load(), s.left.Load(), float64(s.highest.Load())/mib, budgetMB)
		}
	}
}

// ask sends requests without pause; some callers hang up.
func (s *soaking) ask(ctx context.Context, r *rand.Rand) {
	client := &http.Client{Transport: new(http.Transport)}
	for ctx.Err() == nil {
		model := min(r.IntN(models), r.IntN(models))
		var b bytes.Buffer
		form := multipart.NewWriter(&b)
		_ = form.WriteField("model_id", strconv.Itoa(model))
		part, _ := form.CreateFormFile("file", "p.jpg")
		_, _ = part.Write(s.pictures[r.IntN(len(s.pictures))])
		_ = form.Close()
		within := ctx
		stop := func() {}
		leaves := r.IntN(10) == 0
		if leaves {
			within, stop = context.WithTimeout(ctx, time.Duration(r.IntN(60))*time.Millisecond)
		}
		req, err := http.NewRequestWithContext(within, http.MethodPost, s.url+"/api/v2/detect", &b)
		if err != nil {
			log.Fatal(err)
		}
		req.Header.Set("Content-Type", form.FormDataContentType())
		if r.IntN(10) == 0 {
			req.Header.Set("X-Load-Wait", "0")
		}
		if !s.note(client.Do(req)) {
			pause(ctx, 20*time.Millisecond)
		}
		stop()
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// note judges an answer and reports whether the request was served.
func (s *soaking) note(res *http.Response, err error) bool {
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			s.left.Add(1)
			return false
		}
		s.wrong(err.Error())
		return false
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	switch {
	case err != nil:
		s.left.Add(1)
	case res.StatusCode == http.StatusOK && !bytes.Contains(text, []byte(`"error"`)):
		s.served.Add(1)
		return true
	case res.StatusCode == http.StatusTooManyRequests, res.StatusCode == http.StatusServiceUnavailable:
		s.refused.Add(1) // busy, not loaded yet, or its preparation was killed
	default:
		s.wrong(fmt.Sprintf("%d %.200s", res.StatusCode, text))
	}
	return false
}

func (s *soaking) wrong(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.odd[what]++
}

// disturb does what operators and accidents do.
func (s *soaking) disturb(ctx context.Context, r *rand.Rand) {
	for ctx.Err() == nil {
		pause(ctx, time.Duration(20+r.IntN(300))*time.Millisecond)
		model := fmt.Sprintf("%s/api/v2/models/%d/", s.url, r.IntN(models))
		switch r.IntN(12) {
		case 0: // a preparing child is killed
			for _, child := range machine.Children(s.cmd.Process.Pid) {
				_ = syscall.Kill(child, syscall.SIGKILL)
			}
		case 1: // what was prepared of a model is deleted
			entries, _ := filepath.Glob(filepath.Join(s.dir, "cache", "*", "model.ort"))
			if len(entries) > 0 {
				_ = os.RemoveAll(filepath.Dir(entries[r.IntN(len(entries))]))
			}
		default:
			action := []string{"load", "unload", "pin", "unpin", "unpin", "load?dry_run=1"}[r.IntN(6)]
			if res, err := http.Post(model+action, "", nil); err == nil {
				if res.StatusCode == http.StatusInternalServerError {
					s.wrong(action + ": " + res.Status)
				}
				_ = res.Body.Close()
			}
		}
	}
}

// judge asks the server, now idle, what is left, and ends it.
func (s *soaking) judge() error {
	pause(context.Background(), 4*time.Second) // idle: it has rested
	res, err := http.Get(s.url + "/api/v2/memory_status")
	if err != nil {
		return fmt.Errorf("it does not answer any more: %w", err)
	}
	defer res.Body.Close()
	var state struct {
		Used        float64 `json:"memory_used_mb"`
		Unexplained float64 `json:"unexplained_mb"`
		Queue       struct{ Load, Memory int }
		Models      map[string]struct{ Leases, Waiting int }
	}
	if err := json.NewDecoder(res.Body).Decode(&state); err != nil {
		return err
	}
	log.Printf("%d served, %d refused, %d hung up, highest %.1f MB of %d, at rest %.1f MB, %.1f unexplained",
		s.served.Load(), s.refused.Load(), s.left.Load(), float64(s.highest.Load())/mib, budgetMB, state.Used, state.Unexplained)
	var errs []error
	if n := s.over.Load(); n > 0 {
		errs = append(errs, fmt.Errorf("%d samples over the budget", n))
	}
	if s.served.Load() < s.refused.Load() {
		errs = append(errs, errors.New("more were refused than served"))
	}
	for what, n := range s.odd {
		errs = append(errs, fmt.Errorf("%d times: %s", n, what))
	}
	if state.Queue.Load+state.Queue.Memory != 0 || state.Unexplained > budgetMB/10 {
		errs = append(errs, fmt.Errorf("left: %+v", state))
	}
	for id, m := range state.Models {
		if m.Leases+m.Waiting != 0 {
			errs = append(errs, fmt.Errorf("model %s is still used: %+v", id, m))
		}
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(append(errs, s.cmd.Wait())...)
}
