package config

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// A Setting describes one setting under all its names.
type Setting struct {
	Name    string // as an environment variable: MAX_BODY_MB
	Alias   string // an older environment variable with the same meaning; "" for none
	Group   string // the heading it stands under in --help and the manual
	Default string // the default, or in words where it depends on the machine
	Help    string // what it does, in one line
	Live    bool   // another value in the settings file takes effect at SIGHUP, not only at a start

	value    value
	fallback func(getenv func(string) string) string // the default where Default is in words
}

// Flag returns the name as a flag, without dashes in front: max-body-mb.
func (s Setting) Flag() string { return strings.ReplaceAll(s.Key(), "_", "-") }

// Key returns the name in the settings file: max_body_mb.
func (s Setting) Key() string { return strings.ToLower(s.Name) }

// Type returns the kind of value in a word: text, path, paths, number, size,
// time, switch, choice, list, secrets, origins, networks or address.
func (s Setting) Type() string { return s.value.kind }

// Accepts returns the accepted values in words.
func (s Setting) Accepts() string { return s.value.accepts }

func (s Setting) defaultText(getenv func(string) string) string {
	if s.fallback != nil {
		return s.fallback(getenv)
	}
	return s.Default
}

// accepts stores text in c, unless it is no valid value.
func (s Setting) accepts(c *Config, text string, from Origin) bool {
	if from.Source == Default && text == "" {
		return true // not set: the field's zero value says so
	}
	if !s.value.set(c, text) {
		return false
	}
	// A service must know its port; only someone at a terminal can read
	// afterwards which one it got.
	return s.Name != "PORT" || c.Port != 0 || from.Source == Flag
}

func (s Setting) refuse(text string, from Origin) error {
	if len(text) > 100 {
		text = text[:100] + "…"
	}
	shown := fmt.Sprintf("%q", text)
	if s.value.kind == "secrets" {
		shown = "…"
	}
	e := &UsageError{
		Setting: s.Name,
		Msg:     fmt.Sprintf("%s=%s (%s) is not %s", s.Name, shown, from, s.value.accepts),
		Hint:    "leave it out for the default, " + s.Default,
	}
	if s.Default == "" {
		e.Hint = "leave it out if you do not need it"
	}
	return e
}

// Settings returns every setting in the order of --help and the manual. The
// slice is the caller's.
func Settings() []Setting {
	var all []Setting
	for _, g := range []struct {
		name     string
		settings []Setting
	}{
		{"Models", modelSettings()},
		{"Detection", detectionSettings()},
		{"Server", serverSettings()},
		{"Memory and processors", memorySettings()},
		{"Preparation", prepareSettings()},
		{"Limits", limitSettings()},
		{"Access", accessSettings()},
	} {
		for _, s := range g.settings {
			s.Group = g.name
			all = append(all, s)
		}
	}
	return all
}

func modelSettings() []Setting {
	return []Setting{{
		Name: "MODELS_PATH", Alias: "MODEL_PATH", Default: "./models",
		Help:  "folder with one folder per model, or one model's folder",
		value: path(func(c *Config) *string { return &c.ModelsPath }),
	}, {
		Name:  "ALLOW_MODEL_DIRS",
		Help:  "folders outside MODELS_PATH that links in it may lead to",
		value: paths(func(c *Config) *[]string { return &c.AllowModelDirs }),
	}, {
		Name:  "MODEL_VERSION",
		Help:  "version of your models as a whole; the health answer repeats it",
		value: text(func(c *Config) *string { return &c.ModelVersion }),
	}, {
		Name: "MODEL_POLL", Default: "5s", Live: true,
		Help:  "time between two looks for changed models; 0: only SIGHUP has it look",
		value: duration(func(c *Config) *time.Duration { return &c.ModelPoll }, true),
	}}
}

func detectionSettings() []Setting {
	return []Setting{{
		Name: "CONF_THRES", Default: "0.25", Live: true,
		Help:  "lowest confidence of an object, where a request names none",
		value: number(func(c *Config) *float32 { return &c.ConfThres }, 0, 1),
	}, {
		Name: "IOU_THRES", Default: "0.45", Live: true,
		Help:  "overlap from which two boxes count as one object, where a request names none",
		value: number(func(c *Config) *float32 { return &c.IoUThres }, 0, 1),
	}, {
		Name: "INPUT_SIZE", Default: "640",
		Help:  "input size in pixels of models that name none",
		value: integer(func(c *Config) *int { return &c.InputSize }, 1, 8192),
	}, {
		Name: "DECODE", Default: DecodeExact,
		Help:  "decode photos whole (exact) or, far larger than the input, at a fraction (fast: results differ a little; no effect on classifiers)",
		value: choice(func(c *Config) *string { return &c.Decode }, DecodeExact, DecodeFast),
	}, {
		Name: "SAVE_ANNOTATED", Default: "on",
		Help:  "write each picture with its boxes to OUTPUT_IMG_BASE_PATH",
		value: onOff(func(c *Config) *bool { return &c.SaveAnnotated }),
	}, {
		Name: "OUTPUT_IMG_BASE_PATH", Default: "output_img",
		Help:  "folder for the annotated pictures",
		value: path(func(c *Config) *string { return &c.OutputPath }),
	}}
}

func serverSettings() []Setting {
	port := integer(func(c *Config) *int { return &c.Port }, 0, 65535)
	port.accepts = "a whole number from 1 to 65535 (or --port 0 for any free port)"
	return []Setting{{
		Name: "HOST", Default: "0.0.0.0",
		Help:  "address to listen on",
		value: host(func(c *Config) *string { return &c.Host }),
	}, {
		Name: "PORT", Default: "8000",
		Help:  "port to listen on",
		value: port,
	}, {
		Name: "GRPC_PORT", Default: "8001",
		Help:  "port of the Open Inference Protocol over gRPC; 0: none",
		value: integer(func(c *Config) *int { return &c.GRPCPort }, 0, 65535),
	}, {
		Name: "LOG_LEVEL", Default: "INFO", Live: true,
		Help:  "least important messages to log",
		value: level(),
	}, {
		Name: "LOG_FORMAT", Default: LogText,
		Help:  "log lines for people (text) or programs (json)",
		value: choice(func(c *Config) *string { return &c.LogFormat }, LogText, LogJSON),
	}, {
		Name: "ROBOFLOW_LEGACY", Default: "off",
		Help:  "answer the Roboflow dialect's older POST /MODEL/VERSION, too; folders called like the first part of another path are refused then",
		value: onOff(func(c *Config) *bool { return &c.RoboflowLegacy }),
	}, {
		Name:  "ALLOW_URL_INPUT",
		Help:  "hosts that pictures of the Roboflow dialect may be fetched from, with commas between them; without it none are fetched",
		value: hosts(func(c *Config) *[]string { return &c.AllowURLInput }),
	}}
}

func memorySettings() []Setting {
	return []Setting{{
		Name:  "ENABLE_LRU_CACHE",
		Help:  "as in the old server: true sets MAX_MEMORY_MB to 4096 unless it is given; false: no model is closed to make room for another, what does not fit is refused",
		value: lruCache(),
	}, {
		Name: "MAX_MEMORY_MB", Live: true,
		Help:  "memory in MB that the process and its children never pass; without it 80 % of the lowest limit of machine and control groups",
		value: megabytes(func(c *Config) *int64 { return &c.MaxMemory }),
	}, {
		Name: "MEMORY_CHECK_INTERVAL", Default: "10",
		Help:  "requests between two memory checks, as in the old server",
		value: integer(func(c *Config) *int { return &c.MemoryCheckInterval }, 1, 1<<30),
	}, {
		Name: "EVICTION_POLICY", Default: PolicyCost,
		Help:  "which model gives way: the one that is cheapest to be without (cost) or the one used longest ago (lru)",
		value: choice(func(c *Config) *string { return &c.EvictionPolicy }, PolicyCost, PolicyLRU),
	}, {
		Name: "KEEP_ALIVE", Default: "10m", Live: true,
		Help:  "a model unused for so long is closed; 0: at once, -1: never",
		value: keepAlive(func(c *Config) *time.Duration { return &c.KeepAlive }),
	}, {
		Name:  "PIN_MODELS",
		Help:  "models to load at the start and keep in memory, by folder or number, with commas between them",
		value: words(func(c *Config) *[]string { return &c.PinModels }),
	}, {
		Name:  "PRELOAD_MODELS",
		Help:  "models to load at the start, by folder or number, with commas between them",
		value: words(func(c *Config) *[]string { return &c.PreloadModels }),
	}, {
		Name: "READY_AFTER", Default: ReadyStart,
		Help:  "when /readyz says ready and the health answer no longer starting: at once (start), or when the pinned and preloaded models are loaded (preload)",
		value: choice(func(c *Config) *string { return &c.ReadyAfter }, ReadyStart, ReadyPreload),
	}, {
		Name: "PREHEAT", Default: PreheatOff,
		Help:  "load models that are likely to be used soon, after a restart and before their usual hour, into free memory only (auto), or not (off)",
		value: choice(func(c *Config) *string { return &c.Preheat }, PreheatOff, PreheatAuto),
	}, {
		Name:  "TRACE_FILE",
		Help:  "file to append every use of a model to, for lazyolo simulate; it grows to 256 MB at most",
		value: path(func(c *Config) *string { return &c.TraceFile }),
	}, {
		Name: "MAX_QUEUE", Default: "256", Live: true,
		Help:  "requests that may wait for a model or for memory; more are refused at once",
		value: integer(func(c *Config) *int { return &c.MaxQueue }, 1, 1<<20),
	}, {
		Name:  "MAX_QUEUE_MB",
		Help:  "memory in MB for all requests that are received or wait, and so the size of the largest; without it a 32nd of the budget, from 8 to 256",
		value: megabytes(func(c *Config) *int64 { return &c.MaxQueueBytes }),
	}, {
		Name: "THREADS", Default: "0",
		Help:  "threads of a run that is alone; in a crowd each run has one. 0: as many as there are cores",
		value: integer(func(c *Config) *int { return &c.Threads }, 0, 1024),
	}, {
		Name: "MAX_CONCURRENCY", Default: "0",
		Help:  "pictures in work at the same time; 0: as many as there are cores",
		value: integer(func(c *Config) *int { return &c.MaxConcurrency }, 0, 1024),
	}}
}

func prepareSettings() []Setting {
	return []Setting{{
		Name:  "ORT_LIBRARY",
		Help:  "path of the ONNX Runtime library; without it the usual places are searched",
		value: path(func(c *Config) *string { return &c.ORTLibrary }),
	}, {
		Name: "CACHE_DIR", Default: "lazyolo/prepared in the user's cache folder", fallback: cacheDir,
		Help:  "folder for prepared models; may be deleted at any time",
		value: path(func(c *Config) *string { return &c.CacheDir }),
	}, {
		Name: "CACHE_MAX_MB", Default: "10240",
		Help:  "size in MB that CACHE_DIR may grow to",
		value: megabytes(func(c *Config) *int64 { return &c.CacheMax }),
	}, {
		Name: "STATE_DIR", Default: "lazyolo in the user's state folder", fallback: stateDir,
		Help:  "folder for what is remembered between runs, such as model ids",
		value: path(func(c *Config) *string { return &c.StateDir }),
	}, {
		Name: "PREPARE", Default: PrepareBackground,
		Help:  "prepare models after the start (background) or when first asked for (lazy)",
		value: choice(func(c *Config) *string { return &c.Prepare }, PrepareBackground, PrepareLazy),
	}, {
		Name: "PREPARE_TIMEOUT", Default: "300s",
		Help:  "time to prepare one model",
		value: duration(func(c *Config) *time.Duration { return &c.PrepareTimeout }, false),
	}}
}

func limitSettings() []Setting {
	return []Setting{{
		Name: "MAX_BODY_MB", Default: "64",
		Help:  "size of a request in MB",
		value: megabytes(func(c *Config) *int64 { return &c.MaxBody }),
	}, {
		Name: "MAX_PIXELS", Default: "100000000",
		Help:  "width x height of a picture",
		value: integer(func(c *Config) *int64 { return &c.MaxPixels }, 1, 10_000_000_000),
	}, {
		Name: "UPLOAD_TIMEOUT", Default: "60s",
		Help:  "time to receive a request",
		value: duration(func(c *Config) *time.Duration { return &c.UploadTimeout }, false),
	}, {
		Name: "REQUEST_TIMEOUT", Default: "60s",
		Help:  "time to answer a request",
		value: duration(func(c *Config) *time.Duration { return &c.RequestTimeout }, false),
	}, {
		Name: "LOAD_TIMEOUT", Default: "30s", Live: true,
		Help:  "time a request waits for its model to be loaded",
		value: duration(func(c *Config) *time.Duration { return &c.LoadTimeout }, false),
	}, {
		Name: "SHUTDOWN_TIMEOUT", Default: "30s",
		Help:  "time for requests in work when the server stops; 0: they are cut off",
		value: duration(func(c *Config) *time.Duration { return &c.ShutdownTimeout }, true),
	}, {
		Name: "WRITE_TIMEOUT", Default: "60s",
		Help:  "time for a client to take each part of an answer",
		value: duration(func(c *Config) *time.Duration { return &c.WriteTimeout }, false),
	}, {
		Name: "MAX_CONNECTIONS", Default: "1000",
		Help:  "connections at once, of HTTP and of gRPC each; beyond them a new one takes the place of the one that has waited longest for a request, and one of gRPC waits",
		value: integer(func(c *Config) *int { return &c.MaxConnections }, 1, 1<<20),
	}, {
		Name: "SHUTDOWN_GRACE", Default: "0s",
		Help:  "time after SIGTERM in which /readyz already says no and requests are still taken, for load balancers to look elsewhere",
		value: duration(func(c *Config) *time.Duration { return &c.ShutdownGrace }, true),
	}}
}

func accessSettings() []Setting {
	return []Setting{{
		Name:  "API_KEYS",
		Help:  "keys that calls need; once there is one, only paths that are open to all are without. The environment or API_KEYS_FILE hide them better than a flag",
		value: secrets(func(c *Config) *[]string { return &c.APIKeys }),
	}, {
		Name:  "API_KEYS_FILE",
		Help:  "file of keys, read again when it changes; lazyolo key makes its lines",
		value: path(func(c *Config) *string { return &c.APIKeysFile }),
	}, {
		Name: "RATE_LIMIT", Default: "0",
		Help:  "calls a second that a key may make, where its file says nothing; 0: no limit",
		value: real(func(c *Config) *float64 { return &c.RateLimit }, 0, 1e6),
	}, {
		Name: "MAX_CONCURRENT_PER_KEY", Default: "0",
		Help:  "calls that a key may have in work at once, where its file says nothing; 0: no limit",
		value: integer(func(c *Config) *int { return &c.KeyConcurrency }, 0, 1_000_000),
	}, {
		Name:  "TLS_CERT_FILE",
		Help:  "certificate chain in PEM, for TLS; read again when it changes",
		value: path(func(c *Config) *string { return &c.TLSCert }),
	}, {
		Name:  "TLS_KEY_FILE",
		Help:  "private key of the certificate in PEM",
		value: path(func(c *Config) *string { return &c.TLSKey }),
	}, {
		Name:  "TRUSTED_PROXIES",
		Help:  "proxies whose X-Forwarded-For says which address a call comes from",
		value: networks(func(c *Config) *[]string { return &c.TrustedProxies }),
	}, {
		Name: "CORS_ORIGINS", Default: "*",
		Help:  "web pages that may use the old paths from a browser: of any origin (*), as in the old server, of these, or of none",
		value: origins(func(c *Config) *[]string { return &c.CORSOrigins }),
	}, {
		Name:  "ADMIN_ADDR",
		Help:  "address of another listener, for /debug/pprof and /metrics; profiles are nowhere else",
		value: address(func(c *Config) *string { return &c.AdminAddr }),
	}}
}

// cacheDir follows os.UserCacheDir on Unix, from the given environment. A
// relative XDG_CACHE_HOME is ignored, as the XDG specification asks.
func cacheDir(getenv func(string) string) string {
	return userDir(getenv, "XDG_CACHE_HOME", ".cache", "prepared")
}

func stateDir(getenv func(string) string) string {
	return userDir(getenv, "XDG_STATE_HOME", filepath.Join(".local", "state"), "")
}

func userDir(getenv func(string) string, xdg, inHome, sub string) string {
	if base := getenv(xdg); filepath.IsAbs(base) {
		return filepath.Join(base, "lazyolo", sub)
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, inHome, "lazyolo", sub)
	}
	return ""
}
