// Package annotate draws results onto pictures ([Painter]) and writes such pictures
// to a folder ([Writer]), off the request path: answers never wait for a drawing.
// What waits is bounded in number and bytes; when requests outrun the disk, the
// oldest waiting picture is dropped.
package annotate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"

	"lazyolo/yolo"
)

// maxWaiting is how many pictures may wait; beyond it the oldest is dropped.
const maxWaiting = 16

// MaxBytes is the most that waiting pictures may take when Options does not say.
const MaxBytes = 64 << 20

// Options configures a Writer. Dir, Painter and Log are required.
type Options struct {
	Dir     string // made when missing
	Painter *Painter
	Log     *slog.Logger
	// MaxBytes bounds the encoded pictures that wait; 0: the constant.
	MaxBytes int64
}

// A Writer draws and saves pictures one at a time, in order of arrival.
type Writer struct {
	o    Options
	root *os.Root

	mu      sync.Mutex
	wake    *sync.Cond // waiting or closed changed
	waiting []picture
	bytes   int64 // encoded bytes of waiting
	dropped int64
	closed  bool
	done    chan struct{} // closed when the writing goroutine ended

	ctx  context.Context // ends when Close has waited long enough
	stop context.CancelFunc
}

type picture struct {
	name   string
	image  []byte
	result *yolo.Result
}

// New makes a Writer and starts its goroutine, which Close ends.
func New(o Options) (*Writer, error) {
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make output folder: %w", err)
	}
	root, err := os.OpenRoot(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("open output folder: %w", err)
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = MaxBytes
	}
	w := &Writer{o: o, root: root, done: make(chan struct{})}
	w.wake = sync.NewCond(&w.mu)
	w.ctx, w.stop = context.WithCancel(context.Background())
	go w.run()
	return w, nil
}

// Save queues the picture that was answered with r, to appear under name in the
// folder, whole, some time later. It never blocks and takes image over. The name
// must be a plain file name; its ending chooses the format.
func (w *Writer) Save(name string, image []byte, r *yolo.Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || int64(len(image)) > w.o.MaxBytes {
		w.dropped++
		return
	}
	w.waiting = append(w.waiting, picture{name, image, r})
	w.bytes += int64(len(image))
	for len(w.waiting) > maxWaiting || w.bytes > w.o.MaxBytes {
		w.takeLocked()
		w.dropped++
	}
	w.wake.Signal()
}

// takeLocked removes the oldest waiting picture.
func (w *Writer) takeLocked() picture {
	p := w.waiting[0]
	w.waiting[0] = picture{}
	w.waiting = w.waiting[1:]
	w.bytes -= int64(len(p.image))
	return p
}

// Dropped counts the pictures that were never drawn.
func (w *Writer) Dropped() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dropped
}

// Close draws what waits until ctx ends, drops the rest and ends the goroutine.
func (w *Writer) Close(ctx context.Context) error {
	w.mu.Lock()
	w.closed = true
	w.wake.Signal()
	w.mu.Unlock()
	defer w.stop()
	select {
	case <-w.done:
	case <-ctx.Done():
		w.stop()
		w.mu.Lock()
		for len(w.waiting) > 0 {
			w.takeLocked()
			w.dropped++
		}
		w.mu.Unlock()
		<-w.done // at most one picture later
	}
	return w.root.Close()
}

func (w *Writer) run() {
	defer close(w.done)
	for {
		w.mu.Lock()
		for len(w.waiting) == 0 && !w.closed {
			w.wake.Wait()
		}
		if len(w.waiting) == 0 {
			w.mu.Unlock()
			return
		}
		p := w.takeLocked()
		w.mu.Unlock()
		if err := w.draw(p); err != nil {
			w.o.Log.Warn("cannot save annotated picture", "name", p.name, "err", err)
		}
	}
}

// tmpName is where a picture grows; only one does at a time.
const tmpName = ".lazyolo.tmp"

// draw writes p aside and renames it into place, so that it appears whole.
func (w *Writer) draw(p picture) error {
	tmp := fmt.Sprintf("%s-%d", tmpName, os.Getpid())
	f, err := w.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	err = errors.Join(w.o.Painter.Render(w.ctx, f, p.name, p.image, p.result), f.Close())
	if err == nil {
		err = w.root.Rename(tmp, p.name)
	}
	if err != nil {
		if gone := w.root.Remove(tmp); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
}
