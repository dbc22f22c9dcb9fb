package torch

import (
	"archive/zip"
	"os"
	"path/filepath"
	"testing"
)

// seeds are files of the corpus of bad files, when it is here, and of our own.
func seeds(f *testing.F) [][]byte {
	files, err := filepath.Glob(filepath.Join("..", "..", "..", "shared", "fixtures", "families", "bad", "*.pt"))
	if err != nil {
		f.Fatal(err)
	}
	own, err := filepath.Glob(filepath.Join("testdata", "*.pt"))
	if err != nil {
		f.Fatal(err)
	}
	weight := tensorOf(storageOf("FloatStorage", "0", 4), 0, []int64{4}, []int64{1})
	out := [][]byte{archiveOf(f, checkpoint(weight), floats(1, 2, 3, 4)),
		pack(f, entry{"a/data.pkl", checkpoint(weight), zip.Deflate}, entry{"a/data/0", floats(1, 2, 3, 4), zip.Deflate})}
	for _, name := range append(own, files...) {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		if len(b) < 64<<10 { // the engine is slow on long inputs
			out = append(out, b)
		}
	}
	return out
}

// use reads all there is to read.
func use(c *Checkpoint) {
	_ = c.Verify()
	for m := range c.Model().All() {
		_, _ = m.Value("f")
		for _, t := range m.tensors() {
			if v, err := t.Values(); err == nil {
				dst := make([]float32, min(t.Elements(), 16))
				_ = v.Read(dst, t.Elements()-int64(len(dst)))
			}
		}
	}
}

func FuzzOpen(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := Read(data); err == nil {
			use(c)
		}
	})
}

func FuzzPickle(f *testing.F) {
	for _, b := range seeds(f) {
		if a, err := openArchive(b); err == nil {
			if p, _, err := a.pickle(); err == nil && len(p) < 64<<10 {
				f.Add(p)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a := &archive{members: map[string]*member{"data/0": {name: "data/0", size: 16, packed: 16, checked: true}}, data: make([]byte, 16)}
		m := newMachine(data, maxObjects)
		top, err := m.run()
		if err != nil {
			return
		}
		c := &Checkpoint{archive: a}
		if c.choose(top) == nil && c.build() == nil {
			use(c)
		}
	})
}
