package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// keyOf is the API key of a name in these tests.
func keyOf(name string) string { return name + "-0123456789abcdef" }

// keyLine is its line in a file of keys.
func keyLine(name, scopes, more string) string {
	return fmt.Sprintf("- {name: %s, scopes: [%s], sha256: %x%s}\n", name, scopes, sha256.Sum256([]byte(keyOf(name))), more)
}

// writeKeys writes a file of keys.
func writeKeys(t *testing.T, path string, lines ...string) {
	t.Helper()
	writeFile(t, path, []byte(strings.Join(lines, "")))
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
}

// do sends a request with headers written as Name: value and reads the answer.
func (s *server) do(t *testing.T, method, path string, headers ...string) (status int, header http.Header, body string) {
	t.Helper()
	status, header, body, err := s.tryDo(method, path, nil, headers...)
	if err != nil {
		t.Fatal(err)
	}
	return status, header, body
}

func (s *server) tryDo(method, path string, send []byte, headers ...string) (int, http.Header, string, error) {
	r, err := http.NewRequest(method, s.url+path, bytes.NewReader(send))
	if err != nil {
		return 0, nil, "", err
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	res, err := s.client.Do(r)
	if err != nil {
		return 0, nil, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, res.Header, string(b), err
}

// Each scope opens its paths and no others, on every listener.
func TestKeysOpenWhatTheirScopesSay(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	keys := filepath.Join(h.cwd, "keys.yaml")
	writeKeys(t, keys, keyLine("reader", "read", ""), keyLine("user", "infer", ""), keyLine("chief", "admin", ""),
		keyLine("old", "read, infer, admin", ", expires: 2020-01-01"))
	port := freePort(t)
	s := start(t, h, "API_KEYS_FILE="+keys, "API_KEYS=env:read:"+keyOf("env"), "ADMIN_ADDR=127.0.0.1:"+port)
	admin := &server{url: "http://127.0.0.1:" + port, client: s.client}
	const no, none = http.StatusForbidden, http.StatusUnauthorized
	for _, c := range []struct {
		at           *server
		method, path string
		reader, user int // 0: let through
		chief, open  int
	}{
		{s, "GET", "/api/v1/health", 0, 0, 0, 0},
		{s, "GET", "/docs", 0, 0, 0, 0},
		{s, "GET", "/api/v2/models", 0, no, no, none},
		{s, "GET", "/api/v2/memory_status", 0, no, no, none},
		{s, "GET", "/api/v2/cache/stats", 0, no, no, none},
		{s, "POST", "/api/v1/detect", no, 0, no, none},
		{s, "POST", "/api/v2/detect", no, 0, no, none},
		{s, "POST", "/api/v2/models/0/unload", no, no, 0, none},
		{s, "POST", "/api/v2/models/0/unpin", no, no, 0, none},
		{admin, "GET", "/debug/pprof/cmdline", no, no, 0, none},
		{admin, "GET", "/api/v1/health", 0, 0, 0, 0},
	} {
		for name, want := range map[string]int{"reader": c.reader, "user": c.user, "chief": c.chief, "": c.open, "wrong": c.open, "old": c.open} {
			var headers []string
			if name != "" {
				headers = []string{"Authorization: Bearer " + keyOf(name)}
			}
			status, header, body := c.at.do(t, c.method, c.path, headers...)
			if want == 0 && (status == no || status == none) || want != 0 && status != want && !(status == 429 && want == none) {
				t.Errorf("%s %s with key %q: %d %s, want %d", c.method, c.path, name, status, body, want)
			}
			if status == none && header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s: no WWW-Authenticate", c.path)
			}
			if want != 0 && !(strings.Contains(body, `"error"`) && strings.Contains(body, `"hint"`)) {
				t.Errorf("%s: %s", c.path, body)
			}
		}
	}
	if status, _, body := s.do(t, "GET", "/api/v2/models", "X-API-Key: "+keyOf("env")); status != 200 {
		t.Errorf("the key of the environment: %d %s", status, body)
	}
	if status, _, _ := s.do(t, "GET", "/debug/pprof/cmdline", "X-API-Key: "+keyOf("chief")); status != 404 {
		t.Errorf("profiles at the public address: %d", status)
	}
	for _, c := range []struct {
		path   string
		status int
	}{{"/api/v2/models", 404}, {"/debug/pprof/profile?seconds=9999", 400}} {
		if status, _, body := admin.do(t, "GET", c.path, "X-API-Key: "+keyOf("chief")); status != c.status {
			t.Errorf("%s at ADMIN_ADDR: %d %s", c.path, status, body)
		}
	}
	for _, name := range []string{"reader", "user", "chief", "env", "wrong", "old"} {
		if strings.Contains(s.log.String(), keyOf(name)) {
			t.Errorf("the log shows the key %s", name)
		}
	}
}

// freePort asks the system for a port nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestKeysAreReadAgain(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	keys := filepath.Join(h.cwd, "keys.yaml")
	writeKeys(t, keys, keyLine("a", "read", ""))
	s := start(t, h, "API_KEYS_FILE="+keys)
	status := func(name string) int {
		status, _, _ := s.do(t, "GET", "/api/v2/models", "X-API-Key: "+keyOf(name))
		return status
	}
	if a, b := status("a"), status("bb"); a != 200 || b != 401 {
		t.Fatalf("at the start: %d, %d", a, b)
	}
	writeKeys(t, keys, keyLine("a", "read", ""), keyLine("bb", "read", ""))
	waitFor(t, "the added key", func() bool { return status("bb") == 200 })
	writeKeys(t, keys, "- broken")
	waitFor(t, "a word on the broken file", func() bool { return s.log.count("old ones stay in force") > 0 })
	if a, b := status("a"), status("bb"); a != 200 || b != 200 {
		t.Errorf("with a broken file: %d, %d", a, b)
	}
	writeKeys(t, keys, keyLine("ccc", "read", ""))
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the key after SIGHUP", func() bool { return status("ccc") == 200 })
	if a := status("a"); a != 401 && a != 429 {
		t.Errorf("the removed key: %d", a)
	}
}

func TestKeyLimits(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	keys := filepath.Join(h.cwd, "keys.yaml")
	writeKeys(t, keys, keyLine("slow", "read", ", rate: 0.001, burst: 2"), keyLine("one", "read", ", concurrent: 1"))
	s := start(t, h, "API_KEYS_FILE="+keys)
	for i, want := range []int{200, 200, 429} {
		status, header, body := s.do(t, "GET", "/api/v2/models", "X-API-Key: "+keyOf("slow"))
		if status != want || (want == 429) != (header.Get("Retry-After") != "") {
			t.Errorf("call %d: %d %v %s", i, status, header, body)
		}
	}
	r, err := http.NewRequest("GET", s.url+"/api/v2/events", nil) // is in work until it is closed
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-API-Key", keyOf("one"))
	res, err := s.client.Do(r)
	if err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	if status, header, _ := s.do(t, "GET", "/api/v2/models", "X-API-Key: "+keyOf("one")); status != 429 || header.Get("Retry-After") == "" {
		t.Errorf("beside a call in work: %d %v", status, header)
	}
	res.Body.Close()
	waitFor(t, "the call to end", func() bool {
		status, _, _ := s.do(t, "GET", "/api/v2/models", "X-API-Key: "+keyOf("one"))
		return status == 200
	})
}

// Wrong keys in a flood, from the same address and with bodies, keep nobody out.
func TestWrongKeysKeepNobodyOut(t *testing.T) {
	t.Parallel()
	needORT(t)
	s := start(t, newHome(t), "API_KEYS=user:infer:"+keyOf("user"), "TRUSTED_PROXIES=127.0.0.1", "SAVE_ANNOTATED=off")
	contentType, form := picture("0", smallPicture(t)).encode()
	detect := func(key string, from string) (int, string, error) {
		status, _, body, err := s.tryDo("POST", "/api/v2/detect", form, "Content-Type: "+contentType, "X-API-Key: "+key, "X-Forwarded-For: "+from)
		return status, body, err
	}
	var flood sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		flood.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				status, body, err := detect("wrong", "198.51.100.1")
				if err == nil && status != 401 && status != 429 {
					t.Errorf("a wrong key: %d %s", status, body)
				}
			}
		})
	}
	for i := range 20 {
		status, body, err := detect(keyOf("user"), "198.51.100.1")
		if err != nil || status != 200 || !strings.Contains(body, "class_id") {
			t.Errorf("call %d beside the flood: %d %s %v", i, status, body, err)
		}
	}
	waitFor(t, "the flood to be told to wait", func() bool {
		status, _, err := detect("wrong", "198.51.100.1")
		return err == nil && status == 429
	})
	if status, body, err := detect("wrong", "198.51.100.2"); status != 401 {
		t.Errorf("another address behind the proxy: %d %s %v", status, body, err)
	}
	close(stop)
	flood.Wait()
}

func TestOpenServersWarn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		settings []string
		warns    int
	}{
		{[]string{"HOST=0.0.0.0"}, 1},
		{[]string{"HOST=127.0.0.1"}, 0},
		{[]string{"HOST=0.0.0.0", "API_KEYS=user:infer:" + keyOf("user")}, 0},
	} {
		s := start(t, newHome(t), c.settings...)
		if n := s.log.count("no API keys are set"); n != c.warns {
			t.Errorf("%q: %d warnings", c.settings, n)
		}
	}
}

func TestWrongAccessSettingsAreRefused(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	plain := filepath.Join(h.cwd, "plain.yaml")
	writeFile(t, plain, []byte("- {name: a, scopes: [read], key: hidden-0123456789}\n")) // for all to read
	empty := filepath.Join(h.cwd, "empty.yaml")
	writeFile(t, empty, nil)
	for _, c := range []struct{ setting, says string }{
		{"API_KEYS_FILE=" + plain, "chmod 600"},
		{"API_KEYS_FILE=" + empty, "no key"},
		{"API_KEYS_FILE=nowhere.yaml", "nowhere.yaml"},
		{"API_KEYS=a:write:hidden-0123456789", `no scope "write"`},
		{"API_KEYS=a:read:hidden", "API_KEYS"},
		{"TLS_CERT_FILE=cert.pem", "TLS_KEY_FILE"},
		{"TRUSTED_PROXIES=everybody", "TRUSTED_PROXIES"},
	} {
		code, _, stderr := h.run(t, "serve", "--port", "0", c.setting)
		if code != 2 {
			t.Errorf("%s: exit code %d", c.setting, code)
		}
		contains(t, stderr, c.says, "lazyolo: hint:")
		if strings.Contains(stderr, "hidden") {
			t.Errorf("%s: the message shows the key:\n%s", c.setting, stderr)
		}
	}
}

// What lazyolo key prints opens the server.
func TestKeyCommand(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	code, line, told := h.run(t, "key", "ci", "--scopes", "read")
	if code != 0 {
		t.Fatal(told)
	}
	var key string
	for f := range strings.FieldsSeq(told) {
		if strings.HasPrefix(f, "lzy_") {
			key = f
		}
	}
	keys := filepath.Join(h.cwd, "keys.yaml")
	writeKeys(t, keys, line)
	s := start(t, h, "API_KEYS_FILE="+keys)
	if status, _, body := s.do(t, "GET", "/api/v2/models", "Authorization: Bearer "+key); status != 200 || key == "" {
		t.Errorf("%q: %d %s", key, status, body)
	}
	if code, _, stderr := h.run(t, "key", "ci", "--scopes", "all"); code != 2 {
		t.Errorf("scopes all: %d %s", code, stderr)
	}
}

func TestCORSOrigins(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string][2]string{ // for https://ours.test and https://other.test
		"CORS_ORIGINS=":                  {"https://ours.test", "https://other.test"},
		"CORS_ORIGINS=https://ours.test": {"https://ours.test", ""},
		"CORS_ORIGINS=none":              {"", ""},
	} {
		s := start(t, newHome(t), setting, "API_KEYS=user:read+infer+admin:"+keyOf("user"))
		for i, origin := range []string{"https://ours.test", "https://other.test"} {
			_, header, _ := s.do(t, "GET", "/api/v2/models", "Origin: "+origin, "X-API-Key: "+keyOf("user"))
			status, asked, _ := s.do(t, "OPTIONS", "/api/v2/detect", "Origin: "+origin, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: x-api-key")
			for _, got := range []string{header.Get("Access-Control-Allow-Origin"), asked.Get("Access-Control-Allow-Origin")} {
				if got != want[i] {
					t.Errorf("%s, %s: allowed is %q", setting, origin, got)
				}
			}
			if (status == 200) != (want[i] != "") {
				t.Errorf("%s, preflight from %s: %d", setting, origin, status)
			}
			_, header, _ = s.do(t, "POST", "/api/v2/models/0/unpin", "Origin: "+origin, "X-API-Key: "+keyOf("user"))
			_, asked, _ = s.do(t, "OPTIONS", "/api/v2/models/0/unpin", "Origin: "+origin, "Access-Control-Request-Method: POST")
			for name := range header {
				if strings.HasPrefix(name, "Access-Control") || asked.Get(name) != "" && strings.HasPrefix(name, "Access-Control") {
					t.Errorf("%s: a state-changing call answers %s", setting, name)
				}
			}
		}
	}
}

// Idle connections make room for new ones, and cost bounded memory.
func TestIdleConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	needProc(t)
	s := start(t, newHome(t), "MAX_CONNECTIONS=100")
	address := strings.TrimPrefix(s.url, "http://")
	var idle []net.Conn
	defer func() {
		for _, c := range idle {
			c.Close()
		}
	}()
	for range 1000 {
		c, err := net.DialTimeout("tcp", address, patience)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
	}
	s.client.CloseIdleConnections()
	if status, _, body := s.do(t, "GET", "/api/v1/health"); status != 200 {
		t.Errorf("beside 1000 idle connections: %d %s", status, body)
	}
	if n := files(t, s.cmd.Process.Pid); n > 200 {
		t.Errorf("%d files are open", n)
	}
	if err := idle[0].SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := idle[0].Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("the oldest is still there: %v", err)
	}
}
