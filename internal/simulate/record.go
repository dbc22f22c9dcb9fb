package simulate

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"lazyolo/yolo"
)

// A Recorder appends the uses of models to a trace file that Read reads. It never
// keeps its caller waiting: what the disk is too slow for is dropped and counted.
type Recorder struct {
	file    *os.File
	left    int64 // bytes that may still be written
	queue   chan record
	dropped atomic.Int64
	known   map[string]Model
	last    float64 // t of the last use
	err     error   // of writing; read after done
	done    chan struct{}

	mu     sync.RWMutex
	closed bool
}

type record struct {
	at    time.Time
	model Model
}

// recordQueue is how many uses may wait to be written.
const recordQueue = 1024

// NewRecorder opens or makes the file. It grows to limit bytes at most, counting
// what was in it; later uses are dropped. Close ends it.
func NewRecorder(path string, limit int64) (*Recorder, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open trace: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open trace: %w", errors.Join(err, f.Close()))
	}
	r := &Recorder{
		file: f, left: limit - info.Size(), queue: make(chan record, recordQueue),
		known: make(map[string]Model), done: make(chan struct{}),
	}
	// A line cut short by a crash is ended, or its rest would spoil the next one.
	if err := r.endLine(info.Size()); err != nil {
		return nil, fmt.Errorf("open trace: %w", errors.Join(err, f.Close()))
	}
	go r.write()
	return r, nil
}

// endLine cuts off what a crash left of a last line.
func (r *Recorder) endLine(size int64) error {
	if !isRegular(r.file) {
		return nil
	}
	buf := make([]byte, 1)
	for end := size; end > 0; end-- {
		if _, err := r.file.ReadAt(buf, end-1); err != nil {
			return err
		}
		if buf[0] == '\n' {
			return r.file.Truncate(end)
		}
		if size-end > maxLine {
			return errors.New("it is not a trace")
		}
	}
	return r.file.Truncate(0)
}

func isRegular(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular()
}

// Record notes a use of a model, now, which takes bytes in memory and load to get
// there. It does not block and may be called under a lock.
func (r *Recorder) Record(m *yolo.Model, bytes int64, load time.Duration) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.closed {
		return
	}
	select {
	case r.queue <- record{time.Now(), Model{ID: m.ID, Bytes: max(1, bytes), LoadMS: float64(load.Microseconds()) / 1000}}:
	default:
		r.dropped.Add(1)
	}
}

// Dropped is how many uses were not recorded: the file is full or could not be
// written fast enough, or at all.
func (r *Recorder) Dropped() int64 { return r.dropped.Load() }

// Close writes what waits and closes the file; Record does nothing afterwards.
func (r *Recorder) Close() error {
	r.mu.Lock()
	if !r.closed {
		r.closed = true
		close(r.queue)
	}
	r.mu.Unlock()
	<-r.done
	return r.err
}

// flushEvery is how long a use may stay out of the file.
const flushEvery = time.Second

func (r *Recorder) write() {
	defer close(r.done)
	out := bufio.NewWriter(r.file)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case u, open := <-r.queue:
			if !open {
				r.err = errors.Join(r.err, out.Flush(), r.file.Close())
				return
			}
			if r.err == nil {
				r.err = r.append(out, u)
			} else {
				r.dropped.Add(1)
			}
		case <-tick.C:
			if r.err == nil {
				r.err = out.Flush()
			}
		}
	}
}

// append writes one use, after a header when the model or its size is new.
func (r *Recorder) append(out *bufio.Writer, u record) error {
	var text []byte
	if old, known := r.known[u.model.ID]; !known || old.Bytes != u.model.Bytes {
		head, err := json.Marshal(line{Models: []Model{u.model}})
		if err != nil {
			return fmt.Errorf("write trace: %w", err)
		}
		text = append(head, '\n')
	}
	// Callers overtake each other on the way to the queue, and clocks step back.
	t := max(r.last, float64(u.at.UnixMicro())/1e6)
	r.last = t
	use, err := json.Marshal(line{T: &t, Model: u.model.ID})
	if err != nil {
		return fmt.Errorf("write trace: %w", err)
	}
	text = append(append(text, use...), '\n')
	if int64(len(text)) > r.left {
		r.left = 0 // nothing smaller either: a gap would look like a quiet hour
		r.dropped.Add(1)
		return nil
	}
	r.left -= int64(len(text))
	r.known[u.model.ID] = u.model
	if _, err := out.Write(text); err != nil {
		return fmt.Errorf("write trace: %w", err)
	}
	return nil
}
