package access_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"lazyolo/internal/access"
	"lazyolo/yolo"
)

// secret is the key of a name in these tests.
func secret(name string) string { return name + "-0123456789abcdef" }

// text is a key as a setting has it.
func text(name, scopes string) string {
	return fmt.Sprintf("%s:%s:sha256:%x", name, scopes, sha256.Sum256([]byte(secret(name))))
}

func guard(t *testing.T, o access.Options) *access.Guard {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	g, err := access.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// headers looks values up as a door does.
func headers(pairs ...string) func(string) []string {
	h := make(http.Header)
	for i := 0; i < len(pairs); i += 2 {
		h[pairs[i]] = append(h[pairs[i]], pairs[i+1])
	}
	return func(name string) []string { return h[name] }
}

func bearer(name string) func(string) []string {
	return headers("authorization", "Bearer "+secret(name))
}

// code is what Admit decides: "" for yes.
func code(t *testing.T, g *access.Guard, header func(string) []string, s yolo.Scope) yolo.Code {
	t.Helper()
	done, err := g.Admit(context.Background(), "192.0.2.1:4711", header, s)
	if err == nil {
		done()
		return ""
	}
	var e *yolo.Error
	if !errors.As(err, &e) || done != nil {
		t.Fatalf("%v is no *yolo.Error, or comes with done", err)
	}
	return e.Code
}

func TestScopes(t *testing.T) {
	g := guard(t, access.Options{Keys: []string{text("r", "read"), text("i", "infer"), text("a", "admin"), text("all", "read+infer+admin")}})
	const yes, no = yolo.Code(""), yolo.Forbidden
	for name, want := range map[string][]yolo.Code{
		"r": {yes, yes, no, no}, "i": {yes, no, yes, no}, "a": {yes, no, no, yes}, "all": {yes, yes, yes, yes},
		"unknown": {yes, yolo.Denied, yolo.Denied, yolo.Denied},
	} {
		for s := yolo.Open; s <= yolo.Admin; s++ {
			if got := code(t, g, bearer(name), s); got != want[s] {
				t.Errorf("key %s, scope %s: %q, want %q", name, s, got, want[s])
			}
		}
	}
}

func TestHowKeysAreSent(t *testing.T) {
	g := guard(t, access.Options{Keys: []string{text("i", "infer"), text("j", "infer")}})
	k := secret("i")
	for name, c := range map[string]struct {
		header func(string) []string
		want   yolo.Code
	}{
		"Bearer":            {headers("authorization", "Bearer "+k), ""},
		"bearer, spaces":    {headers("authorization", " bearer   "+k+" "), ""},
		"X-API-Key":         {headers("x-api-key", k), ""},
		"both, the same":    {headers("x-api-key", k, "authorization", "Bearer "+k), ""},
		"both, different":   {headers("x-api-key", k, "authorization", "Bearer "+secret("j")), yolo.Denied},
		"a proxy's Basic":   {headers("x-api-key", k, "authorization", "Basic dTpw"), ""},
		"Basic alone":       {headers("authorization", "Basic "+k), yolo.Denied},
		"no scheme":         {headers("authorization", k), yolo.Denied},
		"twice":             {headers("authorization", "Bearer "+k, "authorization", "Bearer "+k), yolo.Denied},
		"X-API-Key twice":   {headers("x-api-key", k, "x-api-key", k), yolo.Denied},
		"none":              {headers(), yolo.Denied},
		"empty":             {headers("authorization", "Bearer "), yolo.Denied},
		"longer":            {headers("x-api-key", k+"x"), yolo.Denied},
		"shorter":           {headers("x-api-key", k[:len(k)-1]), yolo.Denied},
		"huge":              {headers("x-api-key", strings.Repeat("k", 60_000)), yolo.Denied},
		"the digest itself": {headers("x-api-key", fmt.Sprintf("%x", sha256.Sum256([]byte(k)))), yolo.Denied},
	} {
		if got := code(t, g, c.header, yolo.Infer); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestLocal: without keys, who is not on this machine, or might speak for a stranger,
// changes nothing, and anybody may use models.
func TestLocal(t *testing.T) {
	g := guard(t, access.Options{})
	here := []string{":authority", "127.0.0.1:8000"}
	with := func(pairs ...string) func(string) []string { return headers(append(pairs, here...)...) }
	host := func(h string) func(string) []string { return headers(":authority", h) }
	const loop = "127.0.0.1:4711"
	for _, c := range []struct {
		name, peer string
		header     func(string) []string
		ok         bool
	}{
		{"local", loop, with(), true},
		{"remote peer", "192.0.2.7:1000", with(), false},
		{"remote IPv6 peer", "[2001:db8::1]:1000", with(), false},
		{"no peer", "@", with(), false},
		{"IPv6 loopback", "[::1]:1000", with(), true},
		{"mapped loopback", "[::ffff:127.0.0.1]:1000", with(), true},
		{"X-Forwarded-For", loop, with("x-forwarded-for", "127.0.0.1"), false},
		{"X-Forwarded-Host", loop, with("x-forwarded-host", "localhost"), false},
		{"Forwarded", loop, with("forwarded", "for=127.0.0.1"), false},
		{"Via", loop, with("via", "1.1 proxy"), false},
		{"X-Real-IP, empty", loop, with("x-real-ip", ""), false},
		{"cross-site", loop, with("sec-fetch-site", "cross-site"), false},
		{"same-site", loop, with("sec-fetch-site", "same-site"), false},
		{"same origin", loop, with("sec-fetch-site", "same-origin"), true},
		{"typed by hand", loop, with("sec-fetch-site", "none"), true},
		{"old browser, other origin", loop, with("origin", "http://evil.test"), false},
		{"old browser, other port", loop, with("origin", "http://127.0.0.1:1"), false},
		{"old browser, this origin", loop, with("origin", "http://127.0.0.1:8000"), true},
		{"null origin", loop, with("origin", "null"), false},
		{"rebound name", loop, host("evil.test:8000"), false},
		{"name that only begins so", loop, host("localhost.evil.test"), false},
		{"address of the network", loop, host("10.0.0.5:8000"), false},
		{"no name", loop, host(""), false},
		{"nothing", loop, headers(), false},
		{"localhost", loop, host("LOCALHOST:8000"), true},
		{"another loopback address", loop, host("127.3.2.1"), true},
		{"bare IPv6", loop, host("[::1]"), true},
		{"IPv6 with port", loop, host("[::1]:8000"), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := g.Admit(context.Background(), c.peer, c.header, yolo.Admin)
			if c.ok != (err == nil) || err != nil && yolo.CodeOf(err) != yolo.Forbidden {
				t.Errorf("admin: %v", err)
			}
			for _, s := range []yolo.Scope{yolo.Open, yolo.Read, yolo.Infer} {
				if _, err := g.Admit(context.Background(), c.peer, c.header, s); err != nil {
					t.Errorf("%s: %v", s, err)
				}
			}
		})
	}
	keyed := guard(t, access.Options{Keys: []string{text("i", "infer")}})
	if _, err := keyed.Admit(context.Background(), loop, with(), yolo.Admin); err == nil || yolo.CodeOf(err) != yolo.Denied {
		t.Errorf("with keys a local caller needs one too: %v", err)
	}
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := time.Now().Add(time.Hour)
		path := keysFile(t, 0o600, fmt.Sprintf("- {name: i, scopes: infer, key: %s, expires: %q}\n", secret("i"), at.Format(time.RFC3339)))
		g := guard(t, access.Options{KeysFile: path})
		if got := code(t, g, bearer("i"), yolo.Infer); got != "" {
			t.Errorf("before: %q", got)
		}
		time.Sleep(time.Hour)
		if got := code(t, g, bearer("i"), yolo.Infer); got != yolo.Denied {
			t.Errorf("after: %q", got)
		}
		if got := code(t, g, headers(), yolo.Infer); got != yolo.Denied || !g.Keyed() {
			t.Errorf("an expired key opens the server: %q", got)
		}
	})
}

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := guard(t, access.Options{Keys: []string{text("a", "infer"), text("b", "infer")}, Limits: access.Limits{Rate: 2, Burst: 3}})
		for i := range 3 {
			if got := code(t, g, bearer("a"), yolo.Infer); got != "" {
				t.Fatalf("call %d: %q", i, got)
			}
		}
		_, err := g.Admit(context.Background(), "192.0.2.1:1", bearer("a"), yolo.Infer)
		var e *yolo.Error
		if !errors.As(err, &e) || e.Code != yolo.Overloaded || e.Retry != 500*time.Millisecond {
			t.Fatalf("%+v", err)
		}
		if got := code(t, g, bearer("b"), yolo.Infer); got != "" {
			t.Errorf("another key pays for it: %q", got)
		}
		time.Sleep(e.Retry)
		if got := code(t, g, bearer("a"), yolo.Infer); got != "" {
			t.Errorf("after Retry: %q", got)
		}
		if got := code(t, g, bearer("a"), yolo.Infer); got != yolo.Overloaded {
			t.Errorf("one more: %q", got)
		}
		time.Sleep(time.Hour)
		n := 0
		for code(t, g, bearer("a"), yolo.Infer) == "" {
			n++
		}
		if n != 3 {
			t.Errorf("%d calls after an hour, want the burst of 3", n)
		}
	})
}

func TestConcurrent(t *testing.T) {
	g := guard(t, access.Options{Keys: []string{text("a", "infer")}, Limits: access.Limits{Concurrent: 2}})
	admit := func() (func(), error) {
		return g.Admit(context.Background(), "192.0.2.1:1", bearer("a"), yolo.Infer)
	}
	one, err1 := admit()
	_, err2 := admit()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if got := code(t, g, bearer("a"), yolo.Infer); got != yolo.Overloaded {
		t.Errorf("a third: %q", got)
	}
	one()
	one() // once counts
	if _, err := admit(); err != nil {
		t.Errorf("after one ended: %v", err)
	}
	if got := code(t, g, bearer("a"), yolo.Infer); got != yolo.Overloaded {
		t.Errorf("a third again: %q", got)
	}
}

// TestWrongKeys: an address that offers too many is told to wait, is named in the
// log a few times, and keeps nobody out.
func TestWrongKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		g := guard(t, access.Options{Keys: []string{text("a", "infer")}, Log: slog.New(slog.NewTextHandler(&log, nil))})
		count := make(map[yolo.Code]int)
		for range 1000 {
			count[code(t, g, bearer("wrong"), yolo.Infer)]++
		}
		if d := cmp.Diff(map[yolo.Code]int{yolo.Denied: 20, yolo.Overloaded: 980}, count); d != "" {
			t.Error(d)
		}
		if got := code(t, g, bearer("a"), yolo.Infer); got != "" {
			t.Errorf("the right key from the same address: %q", got)
		}
		if _, err := g.Admit(context.Background(), "192.0.2.2:1", bearer("wrong"), yolo.Infer); yolo.CodeOf(err) != yolo.Denied {
			t.Errorf("another address: %v", err)
		}
		if n := strings.Count(log.String(), "\n"); n == 0 || n > 6 || !strings.Contains(log.String(), "192.0.2.1") || strings.Contains(log.String(), secret("wrong")) {
			t.Errorf("%d lines:\n%s", n, log.String())
		}
		time.Sleep(time.Second)
		if got := code(t, g, bearer("wrong"), yolo.Infer); got != yolo.Denied {
			t.Errorf("after a second: %q", got)
		}
	})
}

func keysFile(t *testing.T, mode os.FileMode, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.yaml")
	writeKeys(t, path, mode, content)
	return path
}

func writeKeys(t *testing.T, path string, mode os.FileMode, content string) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path, []byte(content), mode), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
}

func TestKeysFile(t *testing.T) {
	digest := fmt.Sprintf("%x", sha256.Sum256([]byte(secret("a"))))
	entry := "- {name: a, scopes: [infer], sha256: " + digest + "}\n"
	plain := "- name: p\n  scopes: read,infer\n  key: " + secret("p") + "\n"
	for _, c := range []struct {
		name, content string
		mode          os.FileMode
		want          string // in the error; "": none
	}{
		{"digest", entry, 0o600, ""},
		{"digest, readable", entry, 0o644, ""},
		{"digest, writable", entry, 0o646, "chmod 600"},
		{"plain", plain, 0o640, ""},
		{"plain, readable", plain, 0o644, "chmod 600"},
		{"all", "- {name: a, scopes: [read, infer, admin], sha256: " + digest + ", expires: 2027-01-31, rate: 1.5, burst: 3, concurrent: 2}", 0o600, ""},
		{"empty", "", 0o600, "no key"},
		{"empty list", "[]", 0o600, "no key"},
		{"text", secret("hidden"), 0o600, "not an entry"},
		{"map", "hidden: " + secret("hidden"), 0o600, "not an entry"},
		{"broken", entry + "- {name: hidden", 0o600, "entr"},
		{"unknown member", "- {name: a, scopes: infer, hidden: x, sha256: " + digest + "}", 0o600, "line 1"},
		{"no scope", "- {name: a, sha256: " + digest + "}", 0o600, "no scopes"},
		{"wrong scope", "- {name: a, scopes: [write], sha256: " + digest + "}", 0o600, `no scope "write"`},
		{"open", "- {name: a, scopes: [open], sha256: " + digest + "}", 0o600, "no scope"},
		{"no name", "- {scopes: [infer], sha256: " + digest + "}", 0o600, "name"},
		{"neither", "- {name: a, scopes: [infer]}", 0o600, "either sha256 or key"},
		{"both", "- {name: a, scopes: [infer], key: hidden-0123456789abc, sha256: " + digest + "}", 0o600, "either sha256 or key"},
		{"short digest", "- {name: a, scopes: [infer], sha256: 12ab}", 0o600, "64 hexadecimal"},
		{"short key", "- {name: a, scopes: [infer], key: hidden}", 0o600, "16 to 512"},
		{"expires", "- {name: a, scopes: [infer], expires: soon, sha256: " + digest + "}", 0o600, "expires"},
		{"rate", "- {name: a, scopes: [infer], rate: -1, sha256: " + digest + "}", 0o600, "rate"},
		{"NaN", "- {name: a, scopes: [infer], rate: .nan, sha256: " + digest + "}", 0o600, "rate"},
		{"name twice", entry + entry, 0o600, "two keys have the name a"},
		{"key twice", entry + strings.Replace(entry, "name: a", "name: b", 1), 0o600, "same key"},
		{"two documents", entry + "---\n" + entry, 0o600, "more than one document"},
		{"large", entry + "#" + strings.Repeat("x", 1<<20), 0o600, "larger than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := access.New(access.Options{Log: slog.New(slog.DiscardHandler), KeysFile: keysFile(t, c.mode, c.content)})
			if c.want == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
			if err != nil && strings.Contains(strings.ReplaceAll(err.Error(), "name: ci", ""), "hidden") {
				t.Errorf("the error shows what is in the file: %v", err)
			}
		})
	}
}

func TestSettingAndFileTogether(t *testing.T) {
	path := keysFile(t, 0o600, "- {name: b, scopes: [infer], key: "+secret("b")+"}")
	g := guard(t, access.Options{Keys: []string{text("a", "infer")}, KeysFile: path})
	for _, name := range []string{"a", "b"} {
		if got := code(t, g, bearer(name), yolo.Infer); got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
	for _, texts := range [][]string{{text("b", "read")}, {"x"}, {"x:read"}, {"x:read:sha256:zz"}, {"x y:read:sha256:" + strings.Repeat("0", 64)}} {
		if _, err := access.New(access.Options{Log: slog.New(slog.DiscardHandler), Keys: texts, KeysFile: path}); err == nil {
			t.Errorf("%q was taken", texts)
		}
	}
}

// TestReload: a changed file is seen, a broken one leaves the old keys in force.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		entry := func(name string) string {
			return "- {name: " + name + ", scopes: [infer], key: " + secret(name) + "}\n"
		}
		path := keysFile(t, 0o600, entry("a"))
		g := guard(t, access.Options{KeysFile: path, Log: slog.New(slog.NewTextHandler(&log, nil))})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		hup := make(chan struct{})
		go func() {
			g.Watch(ctx, hup)
			close(ended)
		}()
		expect := func(when, name string, want yolo.Code) {
			t.Helper()
			if got := code(t, g, bearer(name), yolo.Infer); got != want {
				t.Errorf("%s, key %s: %q, want %q", when, name, got, want)
			}
		}
		pass := func() {
			time.Sleep(3 * time.Second)
			synctest.Wait()
		}
		writeKeys(t, path, 0o600, entry("a")+entry("b2"))
		pass()
		expect("added", "a", "")
		expect("added", "b2", "")
		writeKeys(t, path, 0o600, "- broken")
		pass()
		expect("broken", "b2", "")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		pass()
		expect("removed", "a", "")
		writeKeys(t, path, 0o600, entry("c"))
		hup <- struct{}{}
		synctest.Wait()
		expect("SIGHUP", "c", "")
		expect("SIGHUP", "a", yolo.Denied)
		cancel()
		<-ended
		if !strings.Contains(log.String(), "old ones stay in force") {
			t.Error(log.String())
		}
	})
}

func TestNewKey(t *testing.T) {
	plain, k, err := access.NewKey("ci", "read,infer")
	if err != nil || len(plain) < 40 {
		t.Fatal(plain, err)
	}
	g := guard(t, access.Options{KeysFile: keysFile(t, 0o600, "# ours\n"+k.Line()+"\n")})
	header := headers("x-api-key", plain)
	if a, b := code(t, g, header, yolo.Infer), code(t, g, header, yolo.Admin); a != "" || b != yolo.Forbidden {
		t.Error(a, b)
	}
	if strings.Contains(k.Line(), plain) {
		t.Error("the line shows the key")
	}
	if again, _, _ := access.NewKey("ci", "read"); again == plain {
		t.Error("twice the same key")
	}
	for _, bad := range [][2]string{{"", "read"}, {"a b", "read"}, {"a", ""}, {"a", "all"}, {strings.Repeat("n", 65), "read"}} {
		if _, _, err := access.NewKey(bad[0], bad[1]); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzKeysFile(f *testing.F) {
	f.Add([]byte("- {name: a, scopes: [infer], key: " + secret("a") + "}"))
	f.Add([]byte("- &a {name: x, scopes: *a}"))
	f.Add([]byte("- name: a\n  scopes: read\n  sha256: '" + strings.Repeat("0", 64) + "'\n  expires: 2027-01-31\n"))
	path := filepath.Join(f.TempDir(), "keys")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		keys, _, err := access.ReadKeys(path)
		if err == nil && len(keys) == 0 {
			t.Error("no key, and no error")
		}
	})
}

func BenchmarkAdmit(b *testing.B) {
	g, err := access.New(access.Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Keys: []string{text("a", "infer")}})
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"a", "wrong"} {
		header := bearer(name)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				g.Admit(context.Background(), "192.0.2.1:4711", header, yolo.Infer)
			}
		})
	}
}
