package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// act posts to a path and decodes the answer into to, unless that is nil. Headers
// are NAME: VALUE.
func (s *server) act(t *testing.T, path string, to any, headers ...string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequest("POST", s.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if r.Header.Set(name, value); name == "Host" {
			r.Host = value
		}
	}
	res, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if to != nil {
		if err := json.Unmarshal(b, to); err != nil {
			t.Fatalf("POST %s: %v in %s", path, err, b)
		}
	}
	return res.StatusCode, string(b)
}

// modelState is the answer of load, unload, pin and unpin.
type modelState struct {
	ModelID int `json:"model_id"`
	Folder  string
	State   string
	Pinned  bool
	Loads   int
	Mapped  float64 `json:"mapped_mb"`
}

func TestLoadUnloadPinUnpin(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	h.many(t, 3)
	s := start(t, h)
	steps := []struct {
		path   string
		status int
		state  string
		pinned bool
		loaded string
	}{
		{"b/load", 200, "ready", false, "[1]"},
		{"1/load", 200, "ready", false, "[1]"}, // is there already
		{"1/pin", 200, "ready", true, "[1]"},
		{"b/unload", 409, "", false, "[1]"},
		{"2/pin", 200, "ready", true, "[1 2]"}, // loads it
		{"b/unpin", 200, "ready", false, "[1 2]"},
		{"b/unload", 200, "unloaded", false, "[2]"},
		{"b/unload", 200, "unloaded", false, "[2]"},
		{"z/load", 404, "", false, "[2]"},
		{"c/unload?dry_run=1", 200, "ready", false, "[2]"},
	}
	for _, step := range steps {
		var got modelState
		status, body := s.act(t, "/api/v2/models/"+step.path, &got)
		if status != step.status || got.State != step.state || got.Pinned != step.pinned {
			t.Errorf("%s: %d %s", step.path, status, body)
		}
		if loaded := fmt.Sprint(s.memory(t).Loaded); loaded != step.loaded {
			t.Errorf("after %s %s are loaded, want %s", step.path, loaded, step.loaded)
		}
	}
	s.serves(t, "1")
	if n := s.memory(t).Models["1"].Loads; n != 2 {
		t.Errorf("model 1 was loaded %d times", n)
	}
}

func TestADryRunLoadsNothing(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	h.many(t, 2)
	s := start(t, h)
	type plan struct {
		DryRun, Fits, Prepared bool
		State                  string
		Need                   float64  `json:"need_mb"`
		Keep                   *float64 `json:"keep_mb"`
		Time                   *float64 `json:"expected_ms"`
		Spared                 []struct{ Folder string }
	}
	dry := func(id string) (p plan) {
		t.Helper()
		if status, body := s.act(t, "/api/v2/models/"+id+"/load?dry_run=1", &p); status != 200 {
			t.Fatalf("%d %s", status, body)
		}
		return p
	}
	if p := dry("a"); !p.Fits || p.Prepared || p.Need <= 0 || p.Keep != nil || p.State != "unloaded" {
		t.Errorf("%+v", p)
	}
	if m := s.memory(t); len(m.Loaded) != 0 || len(h.entries(t)) != 0 {
		t.Errorf("a dry run did it: %v", m.Loaded)
	}
	s.serves(t, "0")
	s.serves(t, "1")
	s.act(t, "/api/v2/models/b/unload", nil)
	if p := dry("b"); !p.Fits || !p.Prepared || p.Keep == nil || p.Time == nil || len(p.Spared) != 1 || p.Spared[0].Folder != "a" {
		t.Errorf("%+v", p)
	}
	if p := dry("a"); p.State != "ready" || p.Need != 0 {
		t.Errorf("%+v", p)
	}
	var unload struct {
		Close []struct {
			Folder string
			MB     float64
		}
	}
	if s.act(t, "/api/v2/models/a/unload?dry_run=1", &unload); len(unload.Close) != 1 || unload.Close[0].Folder != "a" || unload.Close[0].MB <= 0 {
		t.Errorf("%+v", unload)
	}
	if m := s.memory(t); len(m.Loaded) != 1 {
		t.Errorf("a dry run unloaded: %v", m.Loaded)
	}
}

// What a stranger may have sent changes nothing.
func TestOnlyThisMachineChangesWhatIsInMemory(t *testing.T) {
	t.Parallel()
	s := start(t, newHome(t))
	for _, header := range []string{
		"X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1", "X-Real-IP: 127.0.0.1", "Origin: http://evil.test",
		"Sec-Fetch-Site: cross-site", "Host: evil.test",
	} {
		for _, what := range []string{"load", "unload", "pin", "unpin"} {
			var body struct{ Error, Hint string }
			status, text := s.act(t, "/api/v2/models/0/"+what, &body, header)
			if status != http.StatusForbidden || body.Error == "" || !strings.Contains(body.Hint, "127.0.0.1") {
				t.Errorf("%s with %s: %d %s", what, header, status, text)
			}
		}
	}
	if m := s.memory(t); len(m.Models) != 0 {
		t.Errorf("%+v", m.Models)
	}
}

// An event is one message of /api/v2/events.
type event struct {
	name   string
	Seq    int
	Folder string
	Kind   string
	Reason string
	To     string
}

// watch opens the stream of events.
func (s *server) watch(t *testing.T, query string) (next func() (event, error)) {
	t.Helper()
	r, err := s.client.Get(s.url + "/api/v2/events" + query)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Body.Close() })
	if r.StatusCode != http.StatusOK {
		t.Fatal(r.Status)
	}
	lines := bufio.NewScanner(r.Body)
	return func() (e event, err error) {
		for lines.Scan() {
			line := lines.Text()
			if name, ok := strings.CutPrefix(line, "event: "); ok {
				e.name = name
			}
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				return e, json.Unmarshal([]byte(data), &e)
			}
		}
		return e, io.EOF
	}
}

func TestEventsTellWhatHappens(t *testing.T) {
	t.Parallel()
	needORT(t)
	s := start(t, newHome(t))
	live := s.watch(t, "")
	s.serves(t, "0")
	if status, body := s.act(t, "/api/v2/models/0/unload", nil); status != 200 {
		t.Fatal(status, body)
	}
	read := func(next func() (event, error)) (told []string) {
		for seq := 1; ; seq++ {
			e, err := next()
			if err != nil || e.Seq != seq {
				t.Fatalf("%v, number %d, want %d, after %q", err, e.Seq, seq, told)
			}
			what := e.name + " " + e.Kind + e.To
			if e.Kind != "" && e.Reason == "" {
				t.Errorf("%s without a reason", what)
			}
			if told = append(told, what); e.To == "unloaded" {
				return told
			}
		}
	}
	first := read(live)
	contains(t, strings.Join(first, ", "), "transition queued, transition loading", "decision loaded, transition ready, decision closed, transition draining, transition unloaded")
	if again := read(s.watch(t, "?since=0")); fmt.Sprint(again) != fmt.Sprint(first) {
		t.Errorf("replayed %q, but it was %q", again, first)
	}
	// A watcher does not hold up the end of the server.
	begin := time.Now()
	s.stop(t)
	if d := time.Since(begin); d > 20*time.Second {
		t.Errorf("stopping took %v", d)
	}
	if e, err := live(); err != io.EOF {
		t.Errorf("%+v %v", e, err)
	}
}

// send posts a picture with headers, NAME: VALUE.
func (s *server) send(t *testing.T, model string, headers ...string) answer {
	t.Helper()
	contentType, body := picture(model, smallPicture(t)).encode()
	r, err := http.NewRequest("POST", s.url+"/api/v2/detect", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	res, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	a, err := readAnswer(res)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestACallerSaysHowLongItWaitsForALoad(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	h.many(t, 3)
	s := start(t, h)
	a := s.send(t, "0", "X-Load-Wait: 0")
	if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || !strings.Contains(a.Error, "being loaded") {
		t.Errorf("%v %v", a, a.header)
	}
	if a = s.send(t, "2", "X-Load-Wait: 1ms"); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("%v %v", a, a.header)
	}
	// It is being loaded meanwhile, for whoever comes back.
	waitFor(t, "model 0 to be there", func() bool {
		a = s.send(t, "0", "X-Load-Wait: 0")
		return a.status == http.StatusOK
	})
	if cold := a.header.Get("X-Model-Cold-Start"); cold != "false" {
		t.Errorf("cold start: %q", cold)
	}
	a = s.send(t, "1", "X-Load-Wait: 60s")
	if cold := a.header.Get("X-Model-Cold-Start"); a.status != http.StatusOK || cold != "true" {
		t.Errorf("%v, cold start: %q", a, cold)
	}
	contains(t, a.header.Get("Server-Timing"), "body;dur=", "load;dur=", "memory;dur=", "decode;dur=", "run;dur=", "total;dur=")
	if a = s.send(t, "1", "X-Load-Wait: soon"); a.status != http.StatusUnprocessableEntity {
		t.Error(a)
	}
}

// Who finds the queue full is told at once, and when to come again.
func TestAFullQueueAnswers429(t *testing.T) {
	t.Parallel()
	needORT(t)
	s := start(t, newHome(t), "MAX_QUEUE=1")
	var mu sync.Mutex
	codes := make(map[int]int)
	var all sync.WaitGroup
	for range 12 {
		all.Go(func() {
			a, err := s.tryPost(picture("0", smallPicture(t)))
			mu.Lock()
			defer mu.Unlock()
			codes[a.status]++
			if err != nil || a.status == http.StatusTooManyRequests && (a.header.Get("Retry-After") != "1" || !strings.Contains(a.Error, "MAX_QUEUE")) {
				t.Errorf("%v %v %v", err, a, a.header)
			}
		})
	}
	all.Wait()
	if codes[200] == 0 || codes[429] == 0 || codes[200]+codes[429] != 12 {
		t.Errorf("%v", codes)
	}
	if n := s.log.count("more are refused"); n == 0 || n > 3 { // not with each
		t.Errorf("logged %d times for %d refusals", n, codes[429])
	}
	s.serves(t, "0")
}

// Bodies have a share of the memory of their own.
func TestMaxQueueMB(t *testing.T) {
	t.Parallel()
	needORT(t)
	s := start(t, newHome(t), "MAX_QUEUE_MB=1")
	large := picture("0", make([]byte, 1<<20))
	if a := s.post(t, large); a.status != http.StatusRequestEntityTooLarge || !strings.Contains(a.Error, "MAX_QUEUE_MB") {
		t.Error(a)
	}
	var held []net.Conn
	for range 2 { // uploads that take their time
		c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		held = append(held, c)
		if _, err := io.WriteString(c, "POST /api/v2/detect HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 600000\r\n\r\nx"); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "the share to be taken", func() bool {
		a := s.post(t, picture("0", smallPicture(t)))
		return a.status == http.StatusTooManyRequests && a.header.Get("Retry-After") != "" && strings.Contains(a.Error, "MAX_QUEUE_MB")
	})
	for _, c := range held {
		c.Close()
	}
	waitFor(t, "the share to be back", func() bool { return s.post(t, picture("0", smallPicture(t))).status == http.StatusOK })
}
