package prepare

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The names inside the cache folder.
const (
	modelFile = "model.ort"
	infoFile  = "info.json"
	memoDir   = "digests"
	tmpPrefix = "tmp-"
	maxInfo   = 32 << 20 // bytes of a sidecar that are read
	// abandoned is how old a folder left by a crash must be before it is removed.
	abandoned = time.Hour
)

// errNotPrivate is in the chain of errors about a folder others can write to.
var errNotPrivate = errors.New("the cache folder must be private")

// errDamaged is in the chain of errors about an entry that is there and of no
// use: a file is missing, cut, not what it should be, or a link.
var errDamaged = errors.New("the entry is damaged")

// A store is the cache folder. Everything in it is reached through one os.Root
// and symlinks in it are not followed.
type store struct {
	root *os.Root
	dir  string
}

// openStore opens dir, making it if it is missing. Whoever can write to it can
// put code's worth of trust into the server, so it must be ours and 0700.
func openStore(dir string) (*store, error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, fmt.Errorf("make cache folder: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make cache folder: %w", err)
	}
	st, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("open cache folder: %w", err)
	}
	if !st.IsDir() {
		return nil, fmt.Errorf("open cache folder: %s is not a folder: %w", dir, errNotPrivate)
	}
	if st.Mode().Perm()&0o077 != 0 || !ownedByUs(st) {
		return nil, fmt.Errorf("open cache folder %s: %w; run: chown -R %d %s && chmod 700 %s",
			dir, errNotPrivate, os.Geteuid(), dir, dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open cache folder: %w", err)
	}
	s := &store{root: root, dir: dir}
	if err := root.Mkdir(memoDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return s, fmt.Errorf("write cache folder: %w", err)
	}
	return s, nil
}

func (s *store) close() error { return s.root.Close() }

// openFile opens a regular file of the store that is not a symlink.
func (s *store) openFile(name string) (*os.File, fs.FileInfo, error) {
	before, err := s.root.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	if !before.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is not a regular file: %w", name, errDamaged)
	}
	f, err := s.root.Open(name)
	if err != nil {
		return nil, nil, err
	}
	st, err := f.Stat()
	if err == nil && !os.SameFile(before, st) {
		err = fmt.Errorf("%s changed while it was opened", name)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, st, nil
}

// info reads the sidecar of entry k.
func (s *store) info(k string) (Info, error) {
	st, err := s.root.Lstat(k)
	if err != nil {
		return Info{}, err
	}
	if !st.IsDir() {
		return Info{}, fmt.Errorf("%s is not a folder: %w", k, errDamaged)
	}
	f, _, err := s.openFile(path.Join(k, infoFile))
	if err != nil {
		return Info{}, incomplete(err)
	}
	defer f.Close()
	var info Info
	if err := json.NewDecoder(io.LimitReader(f, maxInfo)).Decode(&info); err != nil {
		return Info{}, fmt.Errorf("read %s/%s: %w: %w", k, infoFile, err, errDamaged)
	}
	return info, nil
}

// incomplete says of a missing file that its entry is damaged.
func incomplete(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", err, errDamaged)
	}
	return err
}

// open maps entry k. Its checksum is not verified here.
func (s *store) open(k string) (*File, fileID, error) {
	info, err := s.info(k)
	if err != nil {
		return nil, fileID{}, err
	}
	f, st, err := s.openFile(path.Join(k, modelFile))
	if err != nil {
		return nil, fileID{}, incomplete(err)
	}
	defer f.Close() // the mapping stays
	if st.Size() != info.Bytes || st.Size() == 0 {
		return nil, fileID{}, fmt.Errorf("%s/%s has %d bytes, expected %d: %w", k, modelFile, st.Size(), info.Bytes, errDamaged)
	}
	file, err := mapFile(f, info)
	return file, newFileID(st), err
}

// touch marks entry k as used now.
func (s *store) touch(k string) {
	now := time.Now()
	_ = s.root.Chtimes(path.Join(k, infoFile), now, now) // a read-only folder has no order of use
}

// remove unlinks entry k, at once for everybody; mappings of it stay valid.
func (s *store) remove(k string) error {
	gone := tmpName()
	if err := s.root.Rename(k, gone); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another server was first
		}
		return err
	}
	return s.root.RemoveAll(gone)
}

// tmpName makes a name for what is not an entry yet, or no longer.
func tmpName() string { return fmt.Sprintf("%s%d-%d", tmpPrefix, os.Getpid(), time.Now().UnixNano()) }

// A draft is an entry being written, in a folder of its own.
type draft struct {
	store *store
	name  string
	Model *os.File // open for reading and writing, empty
}

// newDraft makes a folder beside the entries.
func (s *store) newDraft() (*draft, error) {
	name := tmpName()
	if err := s.root.Mkdir(name, 0o700); err != nil {
		return nil, err
	}
	f, err := s.root.OpenFile(path.Join(name, modelFile), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, errors.Join(err, s.root.RemoveAll(name))
	}
	return &draft{s, name, f}, nil
}

// discard removes the draft.
func (d *draft) discard() error {
	return errors.Join(d.Model.Close(), d.store.root.RemoveAll(d.name))
}

// publish syncs the draft and renames it to entry k. When k is there already,
// made by another server, that one stays and the draft goes.
func (d *draft) publish(k string, info Info) error {
	b, err := json.Marshal(info)
	if err != nil {
		return err
	}
	if err := errors.Join(d.Model.Chmod(0o400), d.Model.Sync(), d.Model.Close()); err != nil {
		return fmt.Errorf("write prepared model: %w", err)
	}
	if err := d.store.write(path.Join(d.name, infoFile), b, 0o400); err != nil {
		return fmt.Errorf("write prepared model: %w", err)
	}
	if err := d.store.sync(d.name); err != nil {
		return fmt.Errorf("write prepared model: %w", err)
	}
	if err := d.store.root.Rename(d.name, k); err != nil {
		if _, there := d.store.info(k); there == nil {
			return d.store.root.RemoveAll(d.name)
		}
		return fmt.Errorf("write prepared model: %w", err)
	}
	return d.store.sync(".")
}

// write creates a new synced file.
func (s *store) write(name string, b []byte, perm fs.FileMode) error {
	f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// sync makes the names in a folder durable.
func (s *store) sync(name string) error {
	f, err := s.root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (s *store) readMemo(name string) ([]byte, error) {
	f, st, err := s.openFile(path.Join(memoDir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, min(st.Size(), maxInfo)))
}

func (s *store) writeMemo(name string, b []byte) error {
	tmp := path.Join(memoDir, tmpName())
	if err := s.write(tmp, b, 0o600); err != nil {
		return err
	}
	return s.root.Rename(tmp, path.Join(memoDir, name))
}

// size is what the entries take together, in bytes, and how many there are.
func (s *store) size() (bytes int64, entries int, err error) {
	dir, err := s.root.Open(".")
	if err != nil {
		return 0, 0, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	for _, name := range names {
		model, err := s.root.Lstat(path.Join(name, modelFile))
		if err != nil || strings.HasPrefix(name, tmpPrefix) {
			continue // not an entry, or gone meanwhile
		}
		bytes += model.Size()
		entries++
	}
	return bytes, entries, err
}

// trim removes drafts that a crash left and, while the entries together take
// more than most bytes (0: any), the one unused for longest; keep is spared.
func (s *store) trim(most int64, keep string) (removed []string, err error) {
	dir, err := s.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	type entry struct {
		name  string
		bytes int64
		used  time.Time
	}
	var entries []entry
	var total int64
	for _, name := range names {
		if strings.HasPrefix(name, tmpPrefix) {
			if st, err := s.root.Stat(name); err == nil && time.Since(st.ModTime()) > abandoned {
				err = s.root.RemoveAll(name)
				if err != nil {
					return removed, err
				}
			}
			continue
		}
		model, err1 := s.root.Lstat(path.Join(name, modelFile))
		info, err2 := s.root.Lstat(path.Join(name, infoFile))
		if err1 != nil || err2 != nil {
			continue // not an entry
		}
		entries = append(entries, entry{name, model.Size() + info.Size(), info.ModTime()})
		total += model.Size() + info.Size()
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.used.UnixNano(), b.used.UnixNano()) })
	for _, e := range entries {
		if most == 0 || total <= most {
			break
		}
		if e.name == keep {
			continue
		}
		if err := s.remove(e.name); err != nil {
			return removed, err
		}
		total -= e.bytes
		removed = append(removed, e.name)
	}
	return removed, nil
}
