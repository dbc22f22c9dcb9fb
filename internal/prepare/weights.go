package prepare

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"lazyolo/yolo"
)

// A fileID tells one state of a file from another without reading it.
type fileID struct {
	size, mtime int64 // bytes, Unix nanoseconds
	inode       uint64
}

func statID(path string) (fileID, error) {
	st, err := os.Stat(path)
	if err != nil {
		return fileID{}, err
	}
	return newFileID(st), nil
}

func newFileID(st fs.FileInfo) fileID {
	return fileID{st.Size(), st.ModTime().UnixNano(), inode(st)}
}

// weights is a model's weights file, opened once: what is hashed, prepared and
// remembered is one descriptor's bytes.
type weights struct {
	*os.File
	path string
	id   fileID
}

// openWeights opens the file and refuses what cannot be prepared at all.
func openWeights(m *yolo.Model) (*weights, error) {
	f, err := os.Open(m.Weights)
	if err != nil {
		return nil, loadFailed(m, "cannot be read", err)
	}
	st, err := f.Stat()
	switch {
	case err != nil:
		err = loadFailed(m, "cannot be read", err)
	case !st.Mode().IsRegular():
		err = loadFailed(m, "is not a regular file", nil)
	case st.Size() == 0:
		err = loadFailed(m, "is empty", nil)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &weights{f, m.Weights, newFileID(st)}, nil
}

func loadFailed(m *yolo.Model, what string, cause error) *yolo.Error {
	return &yolo.Error{Code: yolo.LoadFailed, Model: m.ID, Msg: fmt.Sprintf("model_path %s %s", m.WeightsRef, what), Err: cause}
}

// identity names this state of the file in maps.
func (w *weights) identity() string { return fmt.Sprint(w.path, w.id) }

// unchanged reports whether the file is still as it was when it was opened.
func (w *weights) unchanged() bool {
	st, err := w.Stat()
	return err == nil && newFileID(st) == w.id
}

// digests remembers the SHA-256 of weights by path, size, inode and time, so
// that a restart need not read 100 MB to find a 10 ms file. It keeps them in the
// cache folder, a small file per path, and in memory.
type digests struct {
	store *store // nil: in memory only
	mu    sync.Mutex
	known map[string]memo // by path
}

// A memo is one remembered digest.
type memo struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	Mtime  int64  `json:"mtime_ns"`
	Inode  uint64 `json:"inode"`
	Digest string `json:"sha256"`
}

func newDigests(s *store) *digests { return &digests{store: s, known: make(map[string]memo)} }

func (d *digests) recall(path string, id fileID) (string, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m, ok := d.known[path]
	if !ok && d.store != nil {
		b, err := d.store.readMemo(shortHash(path))
		if err == nil && json.Unmarshal(b, &m) == nil && m.Path == path {
			d.known[path] = m
		}
	}
	same := m.Size == id.size && m.Mtime == id.mtime && m.Inode == id.inode
	return m.Digest, same && m.Digest != ""
}

// of returns the digest of w, reading the file if it must.
func (d *digests) of(ctx context.Context, w *weights) (string, error) {
	if digest, ok := d.recall(w.path, w.id); ok {
		return digest, nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, &ctxReader{ctx, io.NewSectionReader(w, 0, w.id.size)}); err != nil {
		return "", fmt.Errorf("read weights: %w", err)
	}
	digest := hex.EncodeToString(h.Sum(nil))
	m := memo{w.path, w.id.size, w.id.mtime, w.id.inode, digest}
	d.mu.Lock()
	d.known[w.path] = m
	d.mu.Unlock()
	if d.store != nil {
		if b, err := json.Marshal(m); err == nil {
			// Only a shortcut: without it the file is read again next time.
			_ = d.store.writeMemo(shortHash(w.path), b)
		}
	}
	return digest, nil
}

// ctxReader ends a long read when its context does.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// shortHash is the first 32 hex digits of the SHA-256 of its parts.
func shortHash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// pieceSize is how much of a file one core checks at a time.
const pieceSize = 4 << 20

// checksum is the CRC-32C of the CRC-32Cs of b's pieces, which all cores compute
// together: a first request waits for it.
func checksum(b []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	pieces := (len(b) + pieceSize - 1) / pieceSize
	sums := make([]byte, 4*pieces)
	var next atomic.Int64
	var work sync.WaitGroup
	for range min(pieces, runtime.GOMAXPROCS(0)) {
		work.Go(func() {
			for i := int(next.Add(1)) - 1; i < pieces; i = int(next.Add(1)) - 1 {
				piece := b[i*pieceSize : min(len(b), (i+1)*pieceSize)]
				binary.LittleEndian.PutUint32(sums[4*i:], crc32.Checksum(piece, table))
			}
		})
	}
	work.Wait()
	return crc32.Checksum(sums, table)
}
