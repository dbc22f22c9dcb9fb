// Package config decides every setting of lazyolo: its default, then the
// settings file, then the environment, then the flags, each one overriding the
// one before. One table (see Settings) drives all four, --help and the manual.
//
// The file is lazyolo.yaml in the working folder, where it exists, or the one
// that --config names. Only the value that wins is checked, and a wrong one is
// told with its origin and what is accepted. Relative paths are relative to the
// working folder, wherever they were written.
package config

import (
	"flag"
	"log/slog"
	"time"
)

// What the settings that are one of several words can be.
const (
	LogText           = "text"       // one line for people
	LogJSON           = "json"       // one JSON object a line
	PolicyCost        = "cost"       // what is cheapest to be without gives way
	PolicyLRU         = "lru"        // what was used longest ago gives way
	PrepareBackground = "background" // prepare every model after the start, one by one
	PrepareLazy       = "lazy"       // prepare a model when it is first asked for
	ReadyStart        = "start"      // ready as soon as requests are taken
	ReadyPreload      = "preload"    // ready when the models to be there from the start are
	PreheatAuto       = "auto"       // load likely models ahead of their use
	PreheatOff        = "off"        // load only what is asked for
	DecodeExact       = "exact"      // decode pictures whole
	DecodeFast        = "fast"       // scale large photos down while decoding them
)

// LevelCritical is what LOG_LEVEL=CRITICAL means: above every record of ours.
const LevelCritical = slog.LevelError + 4

// A Config is the complete, valid settings of one run. Load makes it; nobody
// changes it afterwards.
type Config struct {
	ModelsPath     string        // MODELS_PATH: the folder of model folders; never ""
	AllowModelDirs []string      // ALLOW_MODEL_DIRS: where links may lead beside ModelsPath
	ModelVersion   string        // MODEL_VERSION: repeated by the health answer; "" when not set
	ModelPoll      time.Duration // MODEL_POLL: between two looks at ModelsPath; 0: none

	ConfThres     float32 // CONF_THRES: 0..1
	IoUThres      float32 // IOU_THRES: 0..1
	InputSize     int     // INPUT_SIZE: pixels, for models that do not say
	Decode        string  // DECODE: DecodeExact or DecodeFast
	OutputPath    string  // OUTPUT_IMG_BASE_PATH: where annotated pictures go; never ""
	SaveAnnotated bool    // SAVE_ANNOTATED

	RoboflowLegacy bool     // ROBOFLOW_LEGACY
	AllowURLInput  []string // ALLOW_URL_INPUT: hosts, perhaps with a port, in lower case; none: no URL is fetched

	Host      string     // HOST: name or address to listen on
	Port      int        // PORT: 1..65535; 0, only from the flag, is any free port
	GRPCPort  int        // GRPC_PORT: 1..65535; 0: no gRPC
	LogLevel  slog.Level // LOG_LEVEL: LevelCritical at most
	LogFormat string     // LOG_FORMAT: LogText or LogJSON

	APIKeys        []string      // API_KEYS: name:scopes:sha256:DIGEST each; nil: none
	APIKeysFile    string        // API_KEYS_FILE; "": none
	RateLimit      float64       // RATE_LIMIT: calls a second and key; 0: no limit
	KeyConcurrency int           // MAX_CONCURRENT_PER_KEY; 0: no limit
	TLSCert        string        // TLS_CERT_FILE; "": no TLS
	TLSKey         string        // TLS_KEY_FILE; set where TLSCert is
	TrustedProxies []string      // TRUSTED_PROXIES: addresses and networks, all valid
	CORSOrigins    []string      // CORS_ORIGINS; "*" is any, none is nil
	AdminAddr      string        // ADMIN_ADDR: host:port; "": none
	MaxConnections int           // MAX_CONNECTIONS: >= 1
	WriteTimeout   time.Duration // WRITE_TIMEOUT: to take each part of an answer

	LRUCache            *bool         // ENABLE_LRU_CACHE: nil when not set
	MaxMemory           int64         // MAX_MEMORY_MB, in bytes; 0: decided from the machine
	MemoryCheckInterval int           // MEMORY_CHECK_INTERVAL: requests between two checks; >= 1
	EvictionPolicy      string        // EVICTION_POLICY: PolicyCost or PolicyLRU
	KeepAlive           time.Duration // KEEP_ALIVE; 0: closed at once, negative: never
	PinModels           []string      // PIN_MODELS: ids or numbers
	PreloadModels       []string      // PRELOAD_MODELS: ids or numbers
	ReadyAfter          string        // READY_AFTER: ReadyStart or ReadyPreload
	Preheat             string        // PREHEAT: PreheatAuto or PreheatOff
	TraceFile           string        // TRACE_FILE: where uses of models are recorded; "": nowhere
	MaxQueue            int           // MAX_QUEUE: callers that may wait; >= 1
	MaxQueueBytes       int64         // MAX_QUEUE_MB in bytes, of all request bodies; 0: decided from the budget

	Threads        int // THREADS; 0: as many as there are cores
	MaxConcurrency int // MAX_CONCURRENCY: pictures in work at once; 0: decided from the cores

	ORTLibrary     string        // ORT_LIBRARY: path of libonnxruntime; "": search for it
	CacheDir       string        // CACHE_DIR: prepared models; "" only when there is no home folder
	CacheMax       int64         // CACHE_MAX_MB, in bytes
	StateDir       string        // STATE_DIR: what survives a restart; "": nothing does
	Prepare        string        // PREPARE: PrepareBackground or PrepareLazy
	PrepareTimeout time.Duration // PREPARE_TIMEOUT: for one model

	MaxBody         int64         // MAX_BODY_MB, in bytes
	MaxPixels       int64         // MAX_PIXELS: width x height of a picture
	UploadTimeout   time.Duration // UPLOAD_TIMEOUT: to receive one request
	RequestTimeout  time.Duration // REQUEST_TIMEOUT: to answer one request
	LoadTimeout     time.Duration // LOAD_TIMEOUT: to open one model
	ShutdownTimeout time.Duration // SHUTDOWN_TIMEOUT: for requests in work at the end; 0: none
	ShutdownGrace   time.Duration // SHUTDOWN_GRACE: requests are still taken, but not ready; 0: none

	File     string   // the settings file that was read; "" when none was
	Args     []string // what is left of the arguments after the flags
	Warnings []string // things the operator should know that are not wrong

	origins map[string]Origin
	again   func() (*Config, error)
}

// A UsageError is a setting, flag or settings file that cannot be used as
// given. A command ends with status 2 on it.
type UsageError struct {
	Setting string // the setting, flag or file key as it was spelled
	Msg     string // what is wrong, complete: names the value and where it comes from
	Hint    string // what to do about it; "" when Msg says it all
}

// Error returns Msg.
func (e *UsageError) Error() string { return e.Msg }

// Load reads the settings from args (without the program's name), the
// environment and the settings file. getenv is os.Getenv and readFile
// os.ReadFile outside tests. Flags may stand before and after other arguments;
// a lone "--" ends them.
//
// The error is a *UsageError, or flag.ErrHelp for -h and --help.
func Load(args []string, getenv func(string) string, readFile func(string) ([]byte, error)) (*Config, error) {
	return LoadFlags(flag.NewFlagSet(programName, flag.ContinueOnError), args, getenv, readFile)
}

// programName names a set of flags that is of no command.
const programName = "lazyolo"

// LoadFlags is Load for a command that has flags of its own, which it has
// defined on fs; none may have a setting's name. fs is silenced, and its
// arguments are in Config.Args.
func LoadFlags(fs *flag.FlagSet, args []string, getenv func(string) string, readFile func(string) ([]byte, error)) (*Config, error) {
	table := Settings()
	c := &Config{origins: make(map[string]Origin, len(table))}
	c.again = func() (*Config, error) { return Load(args, getenv, readFile) }
	given, file, err := c.parseFlags(fs, table, args)
	if err != nil {
		return nil, err
	}
	inFile, err := c.loadFile(table, file, readFile)
	if err != nil {
		return nil, err
	}
	for _, s := range table {
		text, from := s.defaultText(getenv), Origin{Source: Default}
		if v, ok := inFile[s.Name]; ok {
			text, from = v.text, v.from
		}
		if v, ok := c.fromEnv(s, getenv); ok {
			text, from = v.text, v.from
		}
		if v, ok := given[s.Name]; ok {
			text, from = v.text, v.from
		}
		if !s.accepts(c, text, from) {
			return nil, s.refuse(text, from)
		}
		c.origins[s.Name] = from
	}
	c.settle()
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return nil, &UsageError{"TLS_CERT_FILE", "TLS_CERT_FILE and TLS_KEY_FILE are not set both", "give both for TLS, or none"}
	}
	return c, nil
}

// Again reads the settings once more, from where c has them: what may differ is the
// settings file. It is for commands without flags of their own.
func (c *Config) Again() (*Config, error) { return c.again() }

// Changed lists the settings that have another value than in old, in the order of
// Settings.
func (c *Config) Changed(old *Config) []Setting {
	var out []Setting
	for _, s := range Settings() {
		if s.value.get(c) != s.value.get(old) {
			out = append(out, s)
		}
	}
	return out
}

// A given is a value as somebody wrote it.
type given struct {
	text string
	from Origin
}

// fromEnv looks a setting up in the environment; an empty variable counts as
// not set, as Docker and Kubernetes templates leave them behind.
func (c *Config) fromEnv(s Setting, getenv func(string) string) (given, bool) {
	text := getenv(s.Name)
	if s.Alias == "" {
		return given{text, Origin{Env, s.Name}}, text != ""
	}
	old := getenv(s.Alias)
	if text != "" && old != "" && text != old {
		c.Warnings = append(c.Warnings, s.Name+" and "+s.Alias+" are both set and differ: "+s.Name+" is used")
	}
	if text == "" && old != "" {
		return given{old, Origin{Env, s.Alias}}, true
	}
	return given{text, Origin{Env, s.Name}}, text != ""
}

// settle applies the rule that spans two settings: the old server limited its
// memory as soon as its cache was switched on.
func (c *Config) settle() {
	if c.LRUCache != nil && *c.LRUCache && c.MaxMemory == 0 {
		c.MaxMemory = 4096 * mib
	}
}

// Value returns the setting called name (as in MAX_BODY_MB) as text that
// could be set again, and "" for a name that is no setting.
func (c *Config) Value(name string) string {
	for _, s := range Settings() {
		if s.Name == name {
			return s.value.get(c)
		}
	}
	return ""
}
