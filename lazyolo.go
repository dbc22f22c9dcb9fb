// Package lazyolo finds objects in pictures with YOLO models, any number of them within
// one memory budget. A model is loaded when it is first asked for; its weights were
// optimised once, are kept in a cache folder and mapped from there. What it answers is
// what the server of the same name answers: both are the same code.
//
//	d, err := lazyolo.Open("models", lazyolo.MaxMemory(1<<30))
//	if err != nil {
//		return err
//	}
//	defer d.Close()
//	result, err := d.Detect(ctx, picture, "fire")
//
// # What it needs
//
// ONNX Runtime's shared library, which is found beside the executable, in the user's
// cache folder, where "lazyolo doctor --fix" puts it, or where the system's loader
// looks; [ORTLibrary] names another.
//
// A model is prepared in a child process, because that takes several times the memory
// of its weights and reads a file that may be damaged. The child is the executable of
// the program itself, started under another name, by which this package knows it and
// takes it over before main. Variables and init functions of packages that do not
// import this one may run before that, as always in Go; they should not print to
// standard output or wait for anything. A library of another language's program
// (-buildmode=c-shared) cannot prepare models; it can use what was prepared before.
package lazyolo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"lazyolo/internal/catalog"
	"lazyolo/internal/core"
	"lazyolo/yolo"
)

// ErrOpen is returned by Open while another Detector is open: ONNX Runtime allows one
// in a process, and a budget is for all of it.
var ErrOpen = errors.New("another lazyolo.Detector is open in this process: one holds any number of models")

// open says that there is a Detector, see ErrOpen.
var open atomic.Bool

// A Detector answers for pictures. Its methods may be called from several goroutines.
type Detector struct {
	core   *core.Core
	models core.Models
	closed atomic.Bool
	close  func() error // closes once, and has who comes second wait
}

// Open reads the models folder dir: a folder of model folders, one model's folder, each
// with its labels.yaml, or a weights file (.onnx or .pt), which says its task and
// classes itself. Nothing is loaded yet, and the folder is not looked at again. Folders
// that cannot be used are logged and left out; it is an error if none is left, if an
// option has no useful value, or if ONNX Runtime is not to be found.
//
// Without options the Detector takes at most 80 % of the memory that the machine or the
// container has, closes models that were not used for 10 minutes, and logs nothing. No
// environment variable and no lazyolo.yaml counts, except that the cache is in the
// user's cache folder. Close frees what it holds.
func Open(dir string, opts ...Option) (*Detector, error) {
	c, o, err := load(opts)
	if err != nil {
		return nil, fmt.Errorf("open lazyolo: %w", err)
	}
	d := new(Detector)
	d.close = sync.OnceValue(func() error {
		err := d.core.Close(context.Background())
		open.Store(false)
		return err
	})
	if d.models, err = single(dir); err == nil && d.models == nil {
		d.models, err = folder(catalog.Options{Dir: dir, AllowDirs: c.AllowModelDirs, Log: o.log})
	}
	if err != nil {
		return nil, fmt.Errorf("open lazyolo: %w", err)
	}
	if !open.CompareAndSwap(false, true) {
		return nil, ErrOpen
	}
	if d.core, err = core.Open(core.Options{Config: c, Models: d.models, Log: o.log, Aside: o.aside}); err == nil {
		if err = d.core.Engine.Ready(); err == nil {
			return d, nil
		}
		err = errors.Join(err, d.core.Close(context.Background()))
	}
	open.Store(false)
	return nil, fmt.Errorf("open lazyolo: %w", err)
}

// folder reads a folder in which there must be a model.
func folder(o catalog.Options) (core.Models, error) {
	models, err := catalog.Open(o)
	if err != nil {
		return nil, err
	}
	if len(models.All()) > 0 {
		return models, nil
	}
	said := []string{"no model in " + o.Dir}
	for _, p := range models.Problems() {
		said = append(said, p.String())
	}
	return nil, errors.New(strings.Join(said, "; "))
}

// Close waits for calls that are under way, closes every model and frees what the
// Detector holds; later calls are refused. It may be called again, also at the same time.
func (d *Detector) Close() error {
	d.closed.Store(true)
	return d.close()
}

// errClosed refuses calls after Close, and those that wait for a model at that moment.
func errClosed() error { return yolo.Errorf(yolo.Unavailable, "the detector is closed") }

// ended is the error of a call, err, where the Detector may have been closed meanwhile.
func (d *Detector) ended(err error) error {
	if err != nil && d.closed.Load() && yolo.CodeOf(err) == yolo.Unavailable {
		return errClosed()
	}
	return err
}

// Models returns the models in the order of their numbers. Neither the slice nor the
// models may be changed.
func (d *Detector) Models() []*yolo.Model { return d.models.All() }

// Detect finds what a model knows in an encoded picture: JPEG, PNG, WebP, BMP, GIF or
// TIFF. The model is named by its folder or its number in decimal; "" means the only
// one. A call waits for its model to be loaded, and prepared if it is used for the first
// time, and for memory, as long as ctx allows; on the first use that may be seconds.
//
// The objects are in pixels of the picture as it is displayed, best first. Errors have
// codes, see [yolo.CodeOf]: NotFound, Invalid (a picture that cannot be decoded, an
// option out of range), TooLarge, TooBig and NoRoom (the budget), LoadFailed,
// Unsupported, Deadline and Canceled are those to expect.
func (d *Detector) Detect(ctx context.Context, image []byte, model string, opts ...RequestOption) (*yolo.Result, error) {
	if d.closed.Load() {
		return nil, errClosed()
	}
	if all := d.models.All(); model == "" {
		if len(all) != 1 {
			return nil, yolo.Errorf(yolo.NotFound, "there are %d models: name one of them", len(all))
		}
		model = all[0].ID
	}
	r := yolo.Request{Model: model, Image: image}
	for _, o := range opts {
		o(&r)
	}
	result, err := d.core.Detector.Detect(ctx, r)
	return result, d.ended(err)
}

// Annotate writes the encoded picture with what was found in it drawn onto it: boxes,
// masks, skeletons and names. The ending of name chooses the format: .png, .bmp, .tif
// and others write those, everything else JPEG.
func (d *Detector) Annotate(ctx context.Context, w io.Writer, name string, image []byte, r *yolo.Result) error {
	if d.closed.Load() {
		return errClosed()
	}
	if r == nil {
		return yolo.Errorf(yolo.Invalid, "there is no result to draw")
	}
	return d.ended(d.core.Painter.Render(ctx, w, name, image, r))
}
