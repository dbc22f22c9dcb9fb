package config_test

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"lazyolo/internal/config"
)

// A world is what Load sees of the machine.
type world struct {
	args  []string
	env   map[string]string
	files map[string]string
}

func (w world) load() (*config.Config, error) {
	return config.Load(w.args, w.getenv, w.readFile)
}

func (w world) getenv(name string) string { return w.env[name] }

func (w world) readFile(name string) ([]byte, error) {
	if s, ok := w.files[name]; ok {
		return []byte(s), nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// must loads w, which must be valid.
func must(t *testing.T, w world) *config.Config {
	t.Helper()
	c, err := w.load()
	if err != nil {
		t.Fatalf("%+v: %v", w, err)
	}
	return c
}

// usage loads w, which must be refused.
func usage(t *testing.T, w world) *config.UsageError {
	t.Helper()
	_, err := w.load()
	var ue *config.UsageError
	if !errors.As(err, &ue) {
		t.Fatalf("%+v: error %v, want a *UsageError", w, err)
	}
	return ue
}

func env(pairs ...string) world {
	w := world{env: make(map[string]string)}
	for i := 0; i < len(pairs); i += 2 {
		w.env[pairs[i]] = pairs[i+1]
	}
	return w
}

func TestDefaults(t *testing.T) {
	want := &config.Config{
		ModelsPath: "./models", ModelPoll: 5 * time.Second, ConfThres: 0.25, IoUThres: 0.45, InputSize: 640, Decode: "exact", OutputPath: "output_img", SaveAnnotated: true,
		Host: "0.0.0.0", Port: 8000, GRPCPort: 8001, LogLevel: slog.LevelInfo, LogFormat: "text", MemoryCheckInterval: 10,
		EvictionPolicy: "cost", ReadyAfter: "start", Preheat: "off", KeepAlive: 10 * time.Minute, MaxQueue: 256,
		CacheDir: "/home/u/.cache/lazyolo/prepared", CacheMax: 10240 << 20, StateDir: "/home/u/.local/state/lazyolo",
		Prepare: "background", PrepareTimeout: 300 * time.Second, MaxBody: 64 << 20, MaxPixels: 100_000_000,
		UploadTimeout: time.Minute, RequestTimeout: time.Minute, LoadTimeout: 30 * time.Second, ShutdownTimeout: 30 * time.Second,
		WriteTimeout: time.Minute, MaxConnections: 1000, CORSOrigins: []string{"*"},
	}
	c := must(t, env("HOME", "/home/u"))
	if d := cmp.Diff(want, c, cmpopts.IgnoreUnexported(config.Config{})); d != "" {
		t.Error(d)
	}
	for _, s := range config.Settings() {
		if o := c.Origin(s.Name); o.Source != config.Default || o.String() != "default" {
			t.Errorf("Origin(%s) = %v", s.Name, o)
		}
	}
}

func TestUserFolders(t *testing.T) {
	for _, c := range []struct {
		w            world
		cache, state string
	}{
		{env(), "", ""},
		{env("HOME", "/h", "XDG_CACHE_HOME", "/c", "XDG_STATE_HOME", "/s"), "/c/lazyolo/prepared", "/s/lazyolo"},
		{env("HOME", "/h", "XDG_CACHE_HOME", "c", "XDG_STATE_HOME", "s"), "/h/.cache/lazyolo/prepared", "/h/.local/state/lazyolo"},
		{env("HOME", "/h", "CACHE_DIR", "c", "STATE_DIR", "s"), "c", "s"},
	} {
		if got := must(t, c.w); got.CacheDir != c.cache || got.StateDir != c.state {
			t.Errorf("%v: CacheDir %q, StateDir %q", c.w.env, got.CacheDir, got.StateDir)
		}
	}
}

func TestPrecedence(t *testing.T) {
	for _, c := range []struct {
		name   string
		w      world
		port   int
		origin string
	}{
		{"default", world{}, 8000, "default"},
		{"file", world{files: map[string]string{"lazyolo.yaml": "# ours\nport: 1\n"}}, 1, "lazyolo.yaml line 2"},
		{"named file", world{args: []string{"--config", "etc/x.yaml"}, files: map[string]string{"lazyolo.yaml": "port: 1", "etc/x.yaml": "port: 2"}}, 2, "x.yaml line 1"},
		{"environment", world{env: map[string]string{"PORT": "3"}, files: map[string]string{"lazyolo.yaml": "port: 1"}}, 3, "environment variable PORT"},
		{"empty environment", world{env: map[string]string{"PORT": ""}, files: map[string]string{"lazyolo.yaml": "port: 1"}}, 1, "lazyolo.yaml line 1"},
		{"flag", world{args: []string{"--port=4"}, env: map[string]string{"PORT": "3"}, files: map[string]string{"lazyolo.yaml": "port: 1"}}, 4, "flag --port"},
		{"one dash", world{args: []string{"-port", "5"}}, 5, "flag --port"},
		{"last flag", world{args: []string{"-port", "5", "--port", "6"}}, 6, "flag --port"},
		{"any port", world{args: []string{"--port", "0"}}, 0, "flag --port"},
		{"overridden", world{args: []string{"--port", "7"}, env: map[string]string{"PORT": "wrong"}}, 7, "flag --port"},
		{"empty in file", world{files: map[string]string{"lazyolo.yaml": "port:\n"}}, 8000, "default"},
		{"spaces", world{env: map[string]string{"PORT": " 9 "}}, 9, "environment variable PORT"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := must(t, c.w)
			if got.Port != c.port || got.Origin("PORT").String() != c.origin {
				t.Errorf("Port = %d from %v, want %d from %s", got.Port, got.Origin("PORT"), c.port, c.origin)
			}
		})
	}
}

// bad has wrong values for every type of setting.
var bad = map[string][]string{
	"text":   {"a\x00b", "a\nb", "\xff"},
	"path":   {"a\x00b", "\xff"},
	"paths":  {"a\x00b", "\xff"},
	"number": {"-1", "many", "99999999999999999999", "NaN", "Inf", "0.5.1", " "},
	"size":   {"0", "-1", "1.5", "1GB", "99999999999999999999"},
	"time":   {"-1s", "soon", "25h", "1e300", "-1e300", "NaN", "5 m"},
	"switch": {"maybe", "2"},
	"choice": {"none", "x y"},
	"list":   {",", "a,,b", "a\x00b", "\xff"},
	"secrets": {"hidden", "a:read", "a::hidden-0123456789", "a:read:hidden", "a:read:hidden 0123456789", "a:read:sha256:hidden", ",",
		"a:read:" + strings.Repeat("0f", 32), "a:read:hidden-0123456789,", "a\x00:read:hidden-0123456789"},
	"origins":  {"example.com", "https://a.test/", "https://a.test/x", "*,https://a.test", "https://", "a\x00b", ","},
	"networks": {"10.0.0.0/33", "10.0.0", "proxy", "10.0.0.0/8,", "fe80::1%eth0", "\xff"},
	"address":  {"9000", "127.0.0.1", "127.0.0.1:", "127.0.0.1:70000", "::1:9000", "a:-1"},
}

func TestBadValues(t *testing.T) {
	for _, s := range config.Settings() {
		if s.Name == "ENABLE_LRU_CACHE" {
			continue // takes every word, see TestLRUCache
		}
		if len(bad[s.Type()]) == 0 {
			t.Errorf("%s: no bad values for type %s", s.Name, s.Type())
		}
		for _, v := range bad[s.Type()] {
			for _, w := range []world{
				env(s.Name, v),
				{args: []string{"--" + s.Flag(), v}},
				{files: map[string]string{"lazyolo.yaml": fmt.Sprintf("%s: %q", s.Key(), v)}},
			} {
				if strings.Contains(v, "\xff") && w.files != nil {
					continue // %q would spell it as U+00FF, which is text
				}
				ue := usage(t, w)
				shown := fmt.Sprintf("%q", v)
				if s.Type() == "secrets" {
					shown = "…"
				}
				if strings.Contains(ue.Msg+ue.Hint, "hidden") {
					t.Errorf("%s: the message shows the key: %v", s.Name, ue)
				}
				if ue.Setting != s.Name || !strings.HasPrefix(ue.Msg, fmt.Sprintf("%s=%s (", s.Name, shown)) || !strings.Contains(ue.Msg, s.Accepts()) || ue.Hint == "" {
					t.Errorf("%s=%q: %s: %s; %s", s.Name, v, ue.Setting, ue.Msg, ue.Hint)
				}
			}
		}
	}
	for name, v := range map[string]string{"PORT": "0", "HOST": "[::]", "CONF_THRES": "1.01", "IOU_THRES": "-0.01", "INPUT_SIZE": "8193", "MEMORY_CHECK_INTERVAL": "0", "REQUEST_TIMEOUT": "0"} {
		if ue := usage(t, env(name, v)); ue.Setting != name {
			t.Errorf("%s=%s: %v", name, v, ue)
		}
	}
	for _, v := range []string{"http://a", "*.a.example", "a/b", "a b", "a:", "a:0", "a:99999", "a:b:1", "u@a", "ä.example", "[::1", ":80"} {
		if ue := usage(t, env("ALLOW_URL_INPUT", v)); ue.Setting != "ALLOW_URL_INPUT" {
			t.Errorf("ALLOW_URL_INPUT=%s: %v", v, ue)
		}
	}
	ue := usage(t, env("PORT", "70000"))
	if want := `PORT="70000" (environment variable PORT) is not a whole number from 1 to 65535 (or --port 0 for any free port)`; ue.Msg != want || ue.Hint != "leave it out for the default, 8000" {
		t.Errorf("%s; %s", ue.Msg, ue.Hint)
	}
}

// TestValueRoundTrip: what Value returns can be set again and means the same.
func TestValueRoundTrip(t *testing.T) {
	w := env("HOME", "/h", "ALLOW_MODEL_DIRS", "/a:/b", "CONF_THRES", ".3", "HOST", "::1", "LOG_LEVEL", "warn", "LOG_FORMAT", "JSON",
		"ENABLE_LRU_CACHE", "True", "MAX_MEMORY_MB", "512", "PREPARE_TIMEOUT", "1.5", "SAVE_ANNOTATED", "no", "SHUTDOWN_TIMEOUT", "0", "MODEL_VERSION", "2 b",
		"ROBOFLOW_LEGACY", "on", "ALLOW_URL_INPUT", "Pictures.Example, b-1.example:8443,2606:4700::1,[2606:4700::1]:80",
		"API_KEYS", "ci:read+infer:hidden-0123456789, b:admin:sha256:"+strings.Repeat("0F", 32), "RATE_LIMIT", "1.5", "CORS_ORIGINS", "none",
		"TRUSTED_PROXIES", "10.1.2.3/8, ::1,192.0.2.1", "ADMIN_ADDR", "[::1]:0", "TLS_CERT_FILE", "c", "TLS_KEY_FILE", "k")
	first := must(t, w)
	again := env()
	for _, s := range config.Settings() {
		again.env[s.Name] = first.Value(s.Name)
	}
	second := must(t, again)
	if d := cmp.Diff(first, second, cmpopts.IgnoreUnexported(config.Config{})); d != "" {
		t.Error(d)
	}
	if first.PrepareTimeout != 1500*time.Millisecond || first.LogLevel != slog.LevelWarn || first.LogFormat != config.LogJSON || first.SaveAnnotated || first.MaxMemory != 512<<20 {
		t.Errorf("%+v", first)
	}
	if d := cmp.Diff([]string{"pictures.example", "b-1.example:8443", "2606:4700::1", "[2606:4700::1]:80"}, first.AllowURLInput); d != "" || !first.RoboflowLegacy {
		t.Error(d)
	}
	keys := fmt.Sprintf("ci:read+infer:sha256:%x,b:admin:sha256:%s", sha256.Sum256([]byte("hidden-0123456789")), strings.Repeat("0f", 32))
	if first.Value("API_KEYS") != keys || first.Value("TRUSTED_PROXIES") != "10.0.0.0/8,::1/128,192.0.2.1/32" {
		t.Errorf("%q, %q", first.Value("API_KEYS"), first.Value("TRUSTED_PROXIES"))
	}
	if ue := usage(t, env("TLS_CERT_FILE", "c")); ue.Hint == "" {
		t.Error(ue)
	}
	if first.Value("NONE") != "" || first.Origin("NONE") != (config.Origin{}) {
		t.Error("a name that is no setting has a value")
	}
}

func TestModelsPathAlias(t *testing.T) {
	for _, c := range []struct {
		w        world
		path     string
		warnings int
	}{
		{env("MODEL_PATH", "/old"), "/old", 0},
		{env("MODEL_PATH", "/x", "MODELS_PATH", "/x"), "/x", 0},
		{env("MODEL_PATH", "/old", "MODELS_PATH", "/new"), "/new", 1},
		{env("MODEL_PATH", "", "MODELS_PATH", "/new"), "/new", 0},
	} {
		got := must(t, c.w)
		if got.ModelsPath != c.path || len(got.Warnings) != c.warnings {
			t.Errorf("%v: ModelsPath %q, warnings %q", c.w.env, got.ModelsPath, got.Warnings)
		}
	}
	if o := must(t, env("MODEL_PATH", "/old")).Origin("MODELS_PATH"); o.String() != "environment variable MODEL_PATH" {
		t.Errorf("Origin = %v", o)
	}
}

func TestLRUCache(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		cache, memory string
		want          *bool
		max           int64
		warnings      int
	}{
		{"", "", nil, 0, 0},
		{"", "100", nil, 100 << 20, 0},
		{"true", "", &yes, 4096 << 20, 0},
		{"TRUE", "100", &yes, 100 << 20, 0},
		{"1", "", &yes, 4096 << 20, 0},
		{"yes", "", &yes, 4096 << 20, 0},
		{"on", "", &yes, 4096 << 20, 0},
		{"false", "", &no, 0, 0},
		{"0", "100", &no, 100 << 20, 0},
		{"enabled", "", &no, 0, 1},
	} {
		got := must(t, env("ENABLE_LRU_CACHE", c.cache, "MAX_MEMORY_MB", c.memory))
		if d := cmp.Diff(c.want, got.LRUCache); d != "" || got.MaxMemory != c.max || len(got.Warnings) != c.warnings {
			t.Errorf("%+v: %s MaxMemory %d, warnings %q", c, d, got.MaxMemory, got.Warnings)
		}
	}
}

func TestSettings(t *testing.T) {
	seen := make(map[string]bool)
	for _, s := range config.Settings() {
		if !regexp.MustCompile(`^[A-Z][A-Z_]*[A-Z]$`).MatchString(s.Name) || s.Help == "" || s.Group == "" || s.Accepts() == "" {
			t.Errorf("incomplete: %+v", s)
		}
		if s.Flag() != strings.ReplaceAll(s.Key(), "_", "-") || seen[s.Name] {
			t.Errorf("names of %s: %s %s", s.Name, s.Flag(), s.Key())
		}
		seen[s.Name] = true
	}
}

func TestHelp(t *testing.T) {
	for _, arg := range []string{"-h", "--help", "-help"} {
		if _, err := (world{args: []string{arg}}).load(); !errors.Is(err, flag.ErrHelp) {
			t.Errorf("%s: %v", arg, err)
		}
	}
}
