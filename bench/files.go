package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"lazyolo/internal/onnx"
)

// A fleet is a models folder with many different weight files of one size, whole
// files and no links, and a cache and a state of its own. It stays for the next run.
type fleet struct {
	b      *work
	name   string
	source string // in weights/: the model they are made of
	n      int
	gain   float64
}

// The gains with which the signal just lives.
const (
	gainNano   = 2.4
	gainMedium = 2.6
)

func (f *fleet) dir() string   { return f.b.path("fleets", f.name) }
func (f *fleet) cache() string { return f.b.path("fleets", f.name+"-cache") }

// env is a server's over the fleet: no annotated pictures, nothing loaded ahead.
func (f *fleet) env(more ...string) []string {
	return append([]string{"CACHE_DIR=" + f.cache(), "STATE_DIR=" + f.b.path("fleets", f.name+"-state"), "SAVE_ANNOTATED=off", "PREHEAT=off"}, more...)
}

// make writes what files are not there and checks that no two are the same.
func (f *fleet) make() error {
	source, err := os.ReadFile(f.b.path("weights", f.source))
	if err != nil {
		return err
	}
	if err := f.room(int64(len(source))); err != nil {
		return err
	}
	seen := make(map[[sha256.Size]byte]bool)
	for i := range f.n {
		name := filepath.Join(f.dir(), fmt.Sprintf("model_%d", i), "best.onnx")
		content, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			if i%100 == 0 {
				progress("different weight files of %s, from %d of %d", f.source, i, f.n)
			}
			content, err = f.write(name, source, i)
		}
		if err != nil {
			return err
		}
		seen[sha256.Sum256(content)] = true
	}
	if len(seen) != f.n {
		return fmt.Errorf("%s: %d different files of %d", f.dir(), len(seen), f.n)
	}
	return f.forget()
}

// forget takes away the folders of an earlier, larger fleet.
func (f *fleet) forget() error {
	for i := f.n; ; i++ {
		dir := filepath.Join(f.dir(), fmt.Sprintf("model_%d", i))
		if _, err := os.Stat(dir); err != nil {
			return nil
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
}

// room checks that the disk has room for what is not there, in fleet and cache.
func (f *fleet) room(size int64) error {
	have, err := filepath.Glob(filepath.Join(f.dir(), "*", "best.onnx"))
	if err != nil {
		return err
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(f.b.dir, &disk); err != nil {
		return err
	}
	const spare = 2 << 30
	need := 2*size*int64(max(0, f.n-len(have))) + spare
	if free := int64(disk.Bavail) * disk.Bsize; free < need {
		return fmt.Errorf("%d files of %d MB and their cache need %d MB of disk, %d are free (BENCH_MODELS)", f.n, size/mb, need/mb, free/mb)
	}
	return nil
}

// write makes variant i: every convolution times a gain with some noise from a seed.
// Without the gain the fresh weights of Ultralytics' configurations let every signal
// die out, and with a larger one it grows without bound: all answers were the same.
func (f *fleet) write(name string, source []byte, i int) ([]byte, error) {
	content := bytes.Clone(source)
	model, err := onnx.Decode(content)
	if err != nil {
		return nil, err
	}
	rnd := rand.New(rand.NewPCG(uint64(i), 3))
	for _, t := range model.Graph.Initializers { // their elements lie in content
		if len(t.Dims) != 4 || t.Type != onnx.Float {
			continue
		}
		factor := float32(f.gain + 0.01*rnd.NormFloat64())
		for at := 0; at+4 <= len(t.Raw); at += 4 {
			v := math.Float32frombits(binary.LittleEndian.Uint32(t.Raw[at:]))
			binary.LittleEndian.PutUint32(t.Raw[at:], math.Float32bits(v*factor))
		}
	}
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := writeLabels(dir, f.name, "onnx", i); err != nil {
		return nil, err
	}
	return content, os.WriteFile(name, content, 0o644)
}

// prepared makes the fleet and prepares all of it.
func (f *fleet) prepared(ctx context.Context) error {
	if err := f.make(); err != nil {
		return err
	}
	return f.b.prepare(ctx, f.dir(), f.env()...)
}

// start runs lazyolo over the fleet.
func (f *fleet) start(ctx context.Context, env ...string) (*process, error) {
	return f.b.start(ctx, f.b.lazyolo, f.dir(), f.env(env...)...)
}
