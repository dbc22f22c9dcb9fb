package prepare

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"lazyolo/internal/machine"
	"lazyolo/internal/ort"
	"lazyolo/yolo"
)

// A job is one preparation.
type job struct {
	key         string
	digest      string
	lib         ort.Library
	model       *yolo.Model
	weights     *weights
	speculative bool
	soon        bool
	memory      int64 // resident bytes the child may take
}

// A flight is a preparation under way; whoever wants the same waits for it.
type flight struct {
	speculative bool
	cancel      context.CancelFunc
	done        chan struct{} // closed when err is set
	err         error
}

// ErrTakenOver ends a speculative preparation that a request now waits for and
// does itself. It is no failure.
var ErrTakenOver = errors.New("taken over by a request")

// make prepares j's weights, once however many ask. A request takes over from a
// speculative child, which runs at the lowest priority, by starting its own.
func (c *Cache) make(ctx context.Context, j job) error {
	for {
		c.mu.Lock()
		f := c.flights[j.key]
		if f == nil {
			f = &flight{speculative: j.speculative, done: make(chan struct{})}
			var work context.Context
			work, f.cancel = context.WithCancel(ctx)
			c.flights[j.key] = f
			c.mu.Unlock()
			return c.fly(work, f, j)
		}
		if f.speculative && !j.speculative {
			f.cancel()
		}
		c.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.done:
		}
		// The one who prepared may have left; then somebody else must.
		if !errors.Is(f.err, context.Canceled) && !errors.Is(f.err, ErrTakenOver) {
			return f.err
		}
	}
}

// fly does the work of one flight.
func (c *Cache) fly(ctx context.Context, f *flight, j job) (err error) {
	defer func() {
		c.mu.Lock()
		delete(c.flights, j.key)
		c.mu.Unlock()
		f.err = err
		f.cancel()
		close(f.done)
	}()
	if !j.speculative {
		c.urgent.Lock()
		defer c.urgent.Unlock()
	}
	if c.ready(j.key) {
		return nil // whoever held the lock before us made it
	}
	start := time.Now()
	info, err := c.produce(ctx, j)
	switch {
	case err == nil:
		c.o.Log.Info("prepared model", "model", j.model.ID, "took", time.Since(start).Round(time.Millisecond),
			"bytes", info.Bytes, "private", info.Sizes.Private, "run_peak", info.Sizes.RunPeak)
		return nil
	case ctx.Err() != nil && j.speculative:
		return ErrTakenOver
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return c.judge(j, err)
}

// ready reports whether entry k exists and can be used.
func (c *Cache) ready(k string) bool {
	f, err := c.open(k, false)
	return err == nil && f.Unmap() == nil
}

// produce runs the child into a draft in the cache folder, or into an anonymous
// file where there is none or no room in it, and keeps the result.
func (c *Cache) produce(ctx context.Context, j job) (Info, error) {
	if c.store != nil {
		info, err := c.produceEntry(ctx, j)
		if !errors.Is(err, errFolder) {
			return info, err
		}
		c.warn(err)
	}
	f, err := anonymousFile("lazyolo-" + j.key)
	if err != nil {
		return Info{}, fmt.Errorf("make anonymous file: %w", err)
	}
	info, err := c.runInto(ctx, f, j)
	if err != nil {
		return Info{}, errors.Join(err, f.Close())
	}
	return info, c.keep(&anonymous{j.key, f, info})
}

// errFolder marks failures that lie in the cache folder.
var errFolder = errors.New("the cache folder cannot be used")

func (c *Cache) produceEntry(ctx context.Context, j job) (Info, error) {
	d, err := c.store.newDraft()
	if err != nil {
		return Info{}, fmt.Errorf("%w: %w", errFolder, err)
	}
	info, err := c.runInto(ctx, d.Model, j)
	if err != nil {
		err = errors.Join(err, d.discard())
		var failed *childError
		if errors.As(err, &failed) && failed.kind == kindOutput {
			err = fmt.Errorf("%w: %w", errFolder, err)
		}
		return Info{}, err
	}
	if err := d.publish(j.key, info); err != nil {
		return Info{}, fmt.Errorf("%w: %w", errFolder, errors.Join(err, c.store.remove(d.name)))
	}
	c.mu.Lock()
	c.warned = false // what was wrong is over
	c.mu.Unlock()
	c.trim(j.key)
	return info, nil
}

// runInto has children write the prepared model to out and completes its Info: a
// checkpoint is first converted to ONNX, in a process that has ended before the
// next begins, so that their peaks do not add up.
func (c *Cache) runInto(ctx context.Context, out *os.File, j job) (Info, error) {
	from := j.weights.File
	if j.model.IsCheckpoint() {
		c.o.Log.Info("converting checkpoint to ONNX", "model", j.model.ID, "weights", j.model.Weights)
		graph, err := c.scratch()
		if err != nil {
			return Info{}, fmt.Errorf("%w: %w", errFolder, err)
		}
		defer graph.Close()
		if _, err := c.runChild(ctx, stageConvert, graph, from, j); err != nil {
			return Info{}, err
		}
		from = graph
	}
	info, err := c.runChild(ctx, stageOptimize, out, from, j)
	if err != nil {
		return Info{}, err
	}
	if !j.weights.unchanged() {
		return Info{}, errChanged
	}
	st, err := out.Stat()
	if err != nil {
		return Info{}, err
	}
	info.Bytes, info.Digest, info.Runtime, info.CPU = st.Size(), j.digest, j.lib.Version, machine.CPUFeatures()
	info.Sizes.Mapped = st.Size()
	m, err := mapFile(out, info)
	if err != nil {
		return Info{}, err
	}
	info.CRC32C = checksum(m.Data)
	return info, m.Unmap()
}

// scratch makes a file for an intermediate result, in the cache folder but
// without a name, or in memory where there is no folder.
func (c *Cache) scratch() (*os.File, error) {
	if c.store == nil {
		return anonymousFile("lazyolo-graph")
	}
	d, err := c.store.newDraft()
	if err != nil {
		return nil, err
	}
	return d.Model, c.store.remove(d.name)
}

// errChanged says the weights were replaced while they were being prepared.
var errChanged = errors.New("the weights file changed while it was being prepared")

// trim keeps the folder within its bound.
func (c *Cache) trim(keep string) {
	removed, err := c.store.trim(c.o.MaxBytes, keep)
	if err != nil {
		c.o.Log.Warn("cannot trim the cache folder", "err", err)
	}
	if len(removed) > 0 {
		c.o.Log.Info("removed prepared models unused for longest", "entries", removed, "hint", "CACHE_MAX_MB bounds the cache folder")
	}
}

// A verdict is what failed preparations say of one state of a weights file.
type verdict struct {
	failures int   // in a row, that may have been bad luck
	final    error // not nil: the file itself is wrong
}

// ErrMemory is in the chain of an error about a child that needed more memory
// than it was given.
var ErrMemory = errors.New("more memory may help")

// maxFailures is how often a child may crash on a file before the file counts as wrong.
const maxFailures = 3

// judge turns a failed preparation into the answer for those who wait, and
// remembers what it says of the file.
func (c *Cache) judge(j job, err error) error {
	if errors.Is(err, errChanged) {
		return loadFailed(j.model, "changed while it was being prepared", nil)
	}
	var failed *childError
	if !errors.As(err, &failed) {
		return fmt.Errorf("prepare %s: %w", j.model.ID, err)
	}
	answer := loadFailed(j.model, failed.public(), err)
	switch failed.kind {
	case kindMachine, kindOutput:
		return answer // says nothing of the file
	case kindMemory:
		return errors.Join(answer, ErrMemory) // with more it may work
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	id := j.weights.identity()
	v := c.wrong[id]
	if v == nil {
		v = &verdict{}
		c.wrong[id] = v
	}
	v.failures++
	if failed.kind == kindModel || v.failures >= maxFailures {
		final := *answer
		final.Final = true
		v.final = &final
		return &final
	}
	return answer
}

// refused returns the final verdict on a file, or nil.
func (c *Cache) refused(identity string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v := c.wrong[identity]; v != nil {
		return v.final
	}
	return nil
}

// An anonymous is a prepared model that lies in no folder but in memory, until who loads
// it takes it.
type anonymous struct {
	key  string
	file *os.File
	info Info
}

// keep holds a until it is taken, in the place of the one before: at most one prepared
// file is in memory beside those of open models, which count as theirs.
func (c *Cache) keep(a *anonymous) error {
	c.mu.Lock()
	before := c.anon
	c.anon = a
	c.mu.Unlock()
	if before == nil {
		return nil
	}
	return before.file.Close()
}

// anonymous is the file in memory of key k; nil: there is none. Who takes it owns it.
func (c *Cache) anonymous(k string, take bool) *anonymous {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.anon
	if a == nil || a.key != k {
		return nil
	}
	if take {
		c.anon = nil
	}
	return a
}

// openAnonymous maps the file in memory of key k; errors are those of a missing file too.
// Its memory is free when it was taken and unmapped.
func (c *Cache) openAnonymous(k string, take bool) (*File, error) {
	a := c.anonymous(k, take)
	if a == nil {
		return nil, fs.ErrNotExist
	}
	f, err := mapFile(a.file, a.info)
	if take {
		err = errors.Join(err, a.file.Close()) // the mapping holds it
	}
	if f != nil {
		f.InMemory = true
	}
	return f, err
}

// limitedBuffer keeps the first bytes written to it and drops the rest.
type limitedBuffer struct {
	b    []byte
	most int
}

func (l *limitedBuffer) Write(p []byte) (int, error) {
	l.b = append(l.b, p[:min(len(p), l.most-len(l.b))]...)
	return len(p), nil
}
