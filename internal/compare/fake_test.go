package compare

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// fakeName is the variable that makes this program a server for the tests: eager, lazy,
// or one that is broken in a way.
const fakeName = "LAZYOLO_FAKE_SERVER"

func TestMain(m *testing.M) {
	if kind := os.Getenv(fakeName); kind != "" {
		if err := fakeServer(kind); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// fake is a server of that kind as a command.
func fake(kind string) func() *exec.Cmd {
	return func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), fakeName+"="+kind)
		return cmd
	}
}

// The fake's models, and what each takes.
const (
	fakeModels = 4
	fakeTakes  = 16 << 20
)

// A faker holds memory for each model.
type faker struct {
	mu     sync.Mutex
	held   map[string][]byte
	health int
	events chan string
}

func fakeServer(kind string) error {
	debug.SetGCPercent(10)
	f := &faker{held: make(map[string][]byte), events: make(chan string, 100)}
	if kind == "ends" {
		return errors.New("no library here")
	}
	if kind == "deaf" { // to anything but the end of its input
		signal.Ignore(syscall.SIGTERM)
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(7)
		}()
	}
	if kind == "eager" {
		for i := range fakeModels {
			f.load(fmt.Sprint(i))
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/health", func(w http.ResponseWriter, _ *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.health++; f.health < 3 {
			_, _ = w.Write([]byte(`{"inference_ok":true,"status":"starting"}`))
			return
		}
		_, _ = w.Write([]byte(`{"inference_ok":true,"status":"ok"}`))
	})
	mux.HandleFunc("POST /api/v2/detect", func(w http.ResponseWriter, r *http.Request) {
		id := r.FormValue("model_id")
		if kind == "broken" && id == "2" {
			_, _ = w.Write([]byte(`{"error":"Inference failed"}`))
			return
		}
		f.load(id)
		answer := map[string]any{"predictions": []map[string]any{{"class_name": "star"}, {"class_name": "star"}, {"class_name": "cross"}}}
		if r.FormValue("format") == "image_and_json" {
			answer["image"] = []byte("a picture")
		}
		_ = json.NewEncoder(w).Encode(answer)
	})
	mux.HandleFunc("GET /api/v2/events", f.stream)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("a server\nlistens on http://%s, as asked\nhttp://127.0.0.1:1 is another\n", l.Addr())
	return (&http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}).Serve(l)
}

// load takes memory for a model, once, and tells.
func (f *faker) load(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held[id] != nil {
		return
	}
	b := make([]byte, fakeTakes)
	for i := range b {
		b[i] = 1 // so that it is resident
	}
	f.held[id] = b
	f.tell(id, "loaded", "it was asked for")
	if id == "3" {
		f.tell("0", "closed", "room for 3: idle 1 s")
	}
}

func (f *faker) tell(id, kind, why string) {
	data, _ := json.Marshal(map[string]any{"time": time.Now(), "folder": "model_" + id, "kind": kind, "reason": why, "mb": 16})
	f.events <- fmt.Sprintf("id: 1\nevent: decision\ndata: %s\n\n", data)
}

func (f *faker) stream(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.URL.RawQuery, "since=0") {
		http.Error(w, "since", http.StatusBadRequest)
		return
	}
	c := http.NewResponseController(w)
	_, _ = w.Write([]byte(": hello\n\nevent: transition\ndata: {\"folder\":\"model_9\"}\n\n"))
	for {
		_ = c.Flush()
		select {
		case e := <-f.events:
			_, _ = w.Write([]byte(e))
		case <-r.Context().Done():
			return
		}
	}
}

// needMemory skips a test where the memory of processes cannot be read.
func needMemory(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("/proc is missing")
	}
}
