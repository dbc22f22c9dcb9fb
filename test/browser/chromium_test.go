package browser

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A chromium is a running browser. Its messages are JSON with a zero byte after each.
type chromium struct {
	cmd *exec.Cmd
	to  *os.File

	mu     sync.Mutex
	next   int
	waits  map[int]chan message
	listen map[string]func(message) // by session
	ended  chan struct{}
}

// A message is a call, its answer or an event.
type message struct {
	ID      int             `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// needChromium is the browser's path; without one the test fails.
func needChromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("no Chromium on the PATH: the dashboard is not tested in a browser (Debian: apt-get install chromium)")
	return ""
}

// startChromium starts a browser that can reach this machine only and has a camera
// that is none. It ends with the test.
func startChromium(t *testing.T, more ...string) *chromium {
	t.Helper()
	path := needChromium(t)
	theirs, ours, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, answers, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{
		"--headless=new", "--remote-debugging-pipe", "--user-data-dir=" + t.TempDir(), "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-default-browser-check",
		"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
	}, more...)
	if os.Getuid() == 0 {
		args = append(args, "--no-sandbox") // Chromium refuses to run as root with it
	}
	b := &chromium{
		cmd: exec.Command(path, args...), to: ours, waits: make(map[int]chan message), listen: make(map[string]func(message)), ended: make(chan struct{}),
	}
	b.cmd.ExtraFiles = []*os.File{theirs, answers} // 3 and 4
	var log strings.Builder
	b.cmd.Stderr = &log
	b.cmd.WaitDelay = patience
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	answers.Close()
	go b.read(from)
	t.Cleanup(func() {
		_, _ = b.call("", "Browser.close", nil) // it may be gone already
		ours.Close()
		select {
		case <-b.ended:
		case <-time.After(patience):
			_ = b.cmd.Process.Kill()
		}
		if err := b.cmd.Wait(); err != nil {
			t.Logf("chromium: %v\n%s", err, log.String())
		}
	})
	return b
}

// read passes on what the browser says, until it ends.
func (b *chromium) read(from *os.File) {
	defer close(b.ended)
	defer from.Close()
	in := bufio.NewReaderSize(from, 1<<20)
	for {
		raw, err := in.ReadBytes(0)
		if err != nil {
			return
		}
		var m message
		if json.Unmarshal(raw[:len(raw)-1], &m) != nil {
			continue
		}
		b.mu.Lock()
		answer, hear := b.waits[m.ID], b.listen[m.Session]
		delete(b.waits, m.ID)
		b.mu.Unlock()
		if m.ID != 0 && answer != nil {
			answer <- m
		} else if hear != nil {
			hear(m)
		}
	}
}

// call calls a method and waits for its answer.
func (b *chromium) call(session, method string, params any) (json.RawMessage, error) {
	p, err := json.Marshal(params)
	if err != nil {
		return nil, err
	}
	if params == nil {
		p = []byte("{}")
	}
	b.mu.Lock()
	b.next++
	m := message{ID: b.next, Session: session, Method: method, Params: p}
	answer := make(chan message, 1)
	b.waits[m.ID] = answer
	raw, err := json.Marshal(m)
	if err == nil {
		_, err = b.to.Write(append(raw, 0))
	}
	b.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", method, err)
	}
	select {
	case r := <-answer:
		if r.Error != nil {
			return nil, fmt.Errorf("%s: %s", method, r.Error.Message)
		}
		return r.Result, nil
	case <-b.ended:
		return nil, fmt.Errorf("%s: chromium is gone", method)
	case <-time.After(patience):
		return nil, fmt.Errorf("%s: no answer", method)
	}
}

// A page is one tab. What it complains about and asks for is kept.
type page struct {
	t       *testing.T
	b       *chromium
	session string

	mu       sync.Mutex
	errors   []string // of its console, and those that nobody caught
	requests []string // URLs
	received int      // bytes of finished answers, as they came over the network
	expected []string // parts of errors that are part of the test
}

// look is how a page is looked at.
type look struct {
	lang          string // as browsers send it
	dark          bool
	width, height int
	phone         bool
}

var desktop = look{lang: "en-US", width: 1280, height: 900}

// open opens a tab.
func (b *chromium) open(t *testing.T, l look) *page {
	t.Helper()
	p := &page{t: t, b: b}
	var target struct{ TargetID, SessionID string }
	p.must("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	p.must("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &target)
	p.session = target.SessionID
	b.mu.Lock()
	b.listen[p.session] = p.hear
	b.mu.Unlock()
	for _, domain := range []string{"Page", "Runtime", "Log", "Network", "DOM"} {
		p.must(domain+".enable", nil, nil)
	}
	scheme := "light"
	if l.dark {
		scheme = "dark"
	}
	p.must("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
	p.must("Emulation.setDeviceMetricsOverride", map[string]any{"width": l.width, "height": l.height, "deviceScaleFactor": 1, "mobile": l.phone}, nil)
	var version struct{ UserAgent string }
	p.must("Browser.getVersion", nil, &version)
	p.must("Emulation.setUserAgentOverride", map[string]any{"userAgent": version.UserAgent, "acceptLanguage": l.lang}, nil)
	t.Cleanup(func() {
		if _, err := b.call("", "Target.closeTarget", map[string]any{"targetId": target.TargetID}); err != nil {
			t.Log(err)
		}
	})
	return p
}

// must calls a method, on the page once it is attached.
func (p *page) must(method string, params, result any) {
	p.t.Helper()
	raw, err := p.b.call(p.session, method, params)
	if err == nil && result != nil {
		err = json.Unmarshal(raw, result)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *page) hear(m message) {
	var e struct {
		Type  string
		Entry struct{ Level, Text, URL string }
		Args  []struct {
			Value       any
			Description string
		}
		ExceptionDetails struct {
			Text      string
			Exception struct{ Description string }
		}
		Request           struct{ URL string }
		EncodedDataLength float64
	}
	if json.Unmarshal(m.Params, &e) != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch m.Method {
	case "Runtime.exceptionThrown":
		p.errors = append(p.errors, e.ExceptionDetails.Text+" "+e.ExceptionDetails.Exception.Description)
	case "Runtime.consoleAPICalled":
		if e.Type == "error" || e.Type == "warning" || e.Type == "assert" {
			p.errors = append(p.errors, fmt.Sprint(e.Type, " ", e.Args))
		}
	case "Log.entryAdded":
		if e.Entry.Level == "error" || e.Entry.Level == "warning" {
			p.errors = append(p.errors, e.Entry.Text+" "+e.Entry.URL)
		}
	case "Network.loadingFinished":
		p.received += int(e.EncodedDataLength)
	case "Network.requestWillBeSent":
		p.requests = append(p.requests, e.Request.URL)
	}
}

// expect says that errors with this text are part of the test.
func (p *page) expect(text string) { p.expected = append(p.expected, text) }

// clean checks that the page complained about nothing and asked no other host.
func (p *page) clean(url string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.errors {
		if !slices.ContainsFunc(p.expected, func(part string) bool { return strings.Contains(e, part) }) {
			p.t.Errorf("console: %s", e)
		}
	}
	for _, r := range p.requests {
		if !strings.HasPrefix(r, url+"/") && !strings.HasPrefix(r, "blob:"+url) && !strings.HasPrefix(r, "data:") {
			p.t.Errorf("it asked for %s", r)
		}
	}
	if len(p.requests) == 0 {
		p.t.Error("no request was seen")
	}
}

// eval runs JavaScript in the page, waits for what it promises, and decodes that.
func (p *page) eval(script string, to any) {
	p.t.Helper()
	if err := p.tryEval(script, to); err != nil {
		p.t.Fatal(err)
	}
}

func (p *page) tryEval(script string, to any) error {
	raw, err := p.b.call(p.session, "Runtime.evaluate", map[string]any{"expression": script, "awaitPromise": true, "returnByValue": true, "userGesture": true})
	if err != nil {
		return err
	}
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return err
	}
	if e := r.ExceptionDetails; e != nil {
		return fmt.Errorf("%s %s in: %s", e.Text, e.Exception.Description, script)
	}
	if to == nil || r.Result.Value == nil {
		return nil
	}
	return json.Unmarshal(r.Result.Value, to)
}

// until waits until JavaScript says true.
func (p *page) until(what, script string) {
	p.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var done bool
		// A page that is being loaded anew may lose the call.
		if err := p.tryEval("Boolean("+script+")", &done); err == nil && done {
			return
		}
		select {
		case <-deadline:
			p.keep("failed")
			p.mu.Lock()
			defer p.mu.Unlock()
			p.t.Fatalf("waited %v for %s: %s\nconsole: %q", patience, what, script, p.errors)
		case <-tick.C:
		}
	}
}

// visit goes to an address and waits until the page is live.
func (p *page) visit(url string) {
	p.t.Helper()
	p.must("Page.navigate", map[string]any{"url": url}, nil)
	p.until("a live page", `document.readyState === "complete" && document.querySelector("#conn")?.dataset.is === "live"`)
}

// text is what an element says.
func (p *page) text(selector string) string {
	p.t.Helper()
	var s string
	p.eval(fmt.Sprintf("document.querySelector(%q).innerText", selector), &s)
	return s
}

// press types a key.
func (p *page) press(key string, code int) {
	p.t.Helper()
	for _, kind := range []string{"rawKeyDown", "char", "keyUp"} {
		event := map[string]any{"type": kind, "key": key, "windowsVirtualKeyCode": code}
		if kind == "char" {
			if key != "Enter" {
				continue
			}
			event["text"] = "\r"
		}
		p.must("Input.dispatchKeyEvent", event, nil)
	}
}

// choose puts a file into a file input.
func (p *page) choose(selector, file string) {
	p.t.Helper()
	path, err := filepath.Abs(file)
	if err != nil {
		p.t.Fatal(err)
	}
	var doc struct{ Root struct{ NodeID int } }
	p.must("DOM.getDocument", nil, &doc)
	var node struct{ NodeID int }
	p.must("DOM.querySelector", map[string]any{"nodeId": doc.Root.NodeID, "selector": selector}, &node)
	p.must("DOM.setFileInputFiles", map[string]any{"nodeId": node.NodeID, "files": []string{path}}, nil)
}

// keep saves a picture of the page, if pictures are kept.
func (p *page) keep(name string) {
	p.t.Helper()
	if dir := os.Getenv("SCREENSHOTS"); dir != "" {
		p.save(filepath.Join(dir, strings.ReplaceAll(p.t.Name(), "/", "-")+"-"+name+".png"))
	}
}

// save writes a picture of the page to a file.
func (p *page) save(file string) {
	p.t.Helper()
	raw, err := p.b.call(p.session, "Page.captureScreenshot", map[string]any{"format": "png"})
	var shot struct{ Data string }
	if err == nil {
		err = json.Unmarshal(raw, &shot)
	}
	var picture []byte
	if err == nil {
		picture, err = base64.StdEncoding.DecodeString(shot.Data)
	}
	if err == nil {
		err = errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, picture, 0o644))
	}
	if err != nil {
		p.t.Error(err)
	}
}
