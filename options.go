package lazyolo

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"lazyolo/internal/config"
	"lazyolo/internal/core"
	"lazyolo/yolo"
)

// An Option changes what Open does without it.
type Option func(*options)

// options are what Open was given: settings by name, and who is told.
type options struct {
	set   map[string]string
	log   *slog.Logger
	aside int64
	err   error // the first option without a meaning
}

func (o *options) refuse(format string, args ...any) {
	o.err = cmp.Or(o.err, fmt.Errorf(format, args...))
}

// MaxMemory is the memory in bytes, in whole MiB, that the process and its preparing
// children never pass through lazyolo's doing. What the rest of the program takes counts
// in it. Without it, 80 % of the lowest limit that the system sets.
func MaxMemory(bytes int64) Option {
	return func(o *options) {
		if bytes < 1<<20 {
			o.refuse("MaxMemory: %d bytes are less than a MiB", bytes)
		}
		Setting("MAX_MEMORY_MB", strconv.FormatInt(max(1, bytes>>20), 10))(o)
	}
}

// Aside is the memory in bytes that the program takes itself, such as for pictures that it
// reads ahead. Models leave it free from the start. Without it, what the program takes
// counts when it is seen, and may then be missing to a call.
func Aside(bytes int64) Option {
	return func(o *options) {
		if bytes < 0 {
			o.refuse("Aside: %d bytes are less than none", bytes)
		}
		o.aside = bytes
	}
}

// CacheDir is the folder for prepared models. It is made if it is missing, must be the
// user's own, and may be shared with other programs and servers of the user. Without it,
// lazyolo/prepared in the user's cache folder.
func CacheDir(dir string) Option { return Setting("CACHE_DIR", dir) }

// Thresholds are the confidence that an object must exceed, and the overlap beyond
// which the weaker of two objects goes, for calls that name none. Both lie in 0..1.
// Without it, 0.25 and 0.45.
func Thresholds(conf, iou float64) Option {
	return func(o *options) {
		Setting("CONF_THRES", decimal(conf))(o)
		Setting("IOU_THRES", decimal(iou))(o)
	}
}

// Threads is how many a run takes that is alone; in a crowd each takes one. Without it,
// or with 0, as many as there are cores.
func Threads(n int) Option { return Setting("THREADS", strconv.Itoa(n)) }

// KeepAlive is how long a model stays open that is not used; 0: not at all, negative:
// for ever. Without it, 10 minutes.
func KeepAlive(d time.Duration) Option {
	if d < 0 {
		return Setting("KEEP_ALIVE", "-1")
	}
	return Setting("KEEP_ALIVE", d.String())
}

// ORTLibrary is the path of ONNX Runtime's shared library. Without it, or with "", the
// usual places are searched.
func ORTLibrary(path string) Option { return Setting("ORT_LIBRARY", path) }

// Logger is told of models that come and go, and of what is wrong with the folder.
// Without it, or with nil, nobody is.
func Logger(l *slog.Logger) Option { return func(o *options) { o.log = l } }

// Setting sets any of the server's settings that acts without a server, under the name of
// its environment variable, such as EVICTION_POLICY or MAX_PIXELS; another is an error of
// Open. With an empty value it is not set. MODELS_PATH is what Open is given.
func Setting(name, value string) Option { return func(o *options) { o.set[name] = value } }

// A RequestOption changes what Detect asks for. Any function of this type is one; see
// [yolo.Request] for what can be asked.
type RequestOption func(*yolo.Request)

// Conf is the confidence that an object must exceed, in 0..1.
func Conf(conf float64) RequestOption { return func(r *yolo.Request) { r.Conf = &conf } }

// IoU is the overlap beyond which the weaker of two objects goes, in 0..1.
func IoU(iou float64) RequestOption { return func(r *yolo.Request) { r.IoU = &iou } }

// MaxDet is how many objects are kept at most, best first; 0: 300.
func MaxDet(n int) RequestOption { return func(r *yolo.Request) { r.MaxDet = n } }

// Classes keeps only objects of these classes; none: all.
func Classes(classes ...int) RequestOption { return func(r *yolo.Request) { r.Classes = classes } }

// AgnosticNMS lets objects of different classes suppress each other.
func AgnosticNMS() RequestOption { return func(r *yolo.Request) { r.AgnosticNMS = true } }

// NMS chooses, of a checkpoint with two heads, the one whose objects are suppressed
// (true) or the one that needs no suppression (false).
func NMS(on bool) RequestOption { return func(r *yolo.Request) { r.NMS = &on } }

// ImgSz is the longer side of a dynamic input in pixels; 0: 640.
func ImgSz(pixels int) RequestOption { return func(r *yolo.Request) { r.ImgSz = pixels } }

// load makes settings of options.
func load(opts []Option) (*config.Config, options, error) {
	o := options{
		// A call waits as long as its context, also for a model that is prepared first.
		set: map[string]string{"LOAD_TIMEOUT": "24h"},
		log: slog.New(slog.DiscardHandler),
	}
	for _, opt := range opts {
		opt(&o)
	}
	if o.log == nil {
		o.log = slog.New(slog.DiscardHandler)
	}
	if o.err != nil {
		return nil, o, o.err
	}
	known := make(map[string]bool)
	for _, s := range config.Settings() {
		known[s.Name] = true
	}
	for name := range o.set {
		if !known[name] {
			return nil, o, fmt.Errorf("there is no setting %q", name)
		}
		if name != "ALLOW_MODEL_DIRS" && !slices.Contains(core.Settings(), name) {
			return nil, o, fmt.Errorf("the setting %s does nothing here: it is the server's", name)
		}
	}
	getenv := func(name string) string {
		if name == "HOME" || name == "XDG_CACHE_HOME" { // where the user's cache folder is
			return os.Getenv(name)
		}
		return o.set[name]
	}
	c, err := config.Load(nil, getenv, func(string) ([]byte, error) { return nil, fs.ErrNotExist })
	var usage *config.UsageError
	if errors.As(err, &usage) { // which takes it for a variable of the environment
		err = errors.New(strings.Replace(usage.Msg, " (environment variable "+usage.Setting+")", "", 1))
	}
	return c, o, err
}

func decimal(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
