package usage

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// format is the version of the file; another one counts as no file.
const format = 1

// maxFile bounds a file that is read: 2,000 models take a third of it.
const maxFile = 4 << 20

// What a file may say of runs: more is what no server wrote.
const (
	maxRan = 16
	maxRun = 1 << 40
)

// A document is the file.
type document struct {
	Format   int                `json:"format"`
	Folder   string             `json:"folder"` // for people: the file's name is a hash of it
	At       time.Time          `json:"at"`
	Slot     int64              `json:"slot"`
	Days     [24]float64        `json:"days"`
	Resident []string           `json:"resident"`
	Models   map[string]modelV1 `json:"models"`
}

type modelV1 struct {
	Uses  float64     `json:"uses"`
	Hours [24]float64 `json:"hours"`
	Slot  int64       `json:"slot"`
	Rev   string      `json:"rev"`
	Load  float64     `json:"load_ms"`
	Run   float64     `json:"run_ms"`
	Bytes int64       `json:"bytes"`

	Ran map[int64]int64 `json:"ran,omitempty"`
}

// fileName is where the statistics of a models folder are kept.
func fileName(o Options) string {
	dir := o.Models
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	sum := sha256.Sum256([]byte(dir))
	return filepath.Join(o.Dir, "usage-"+hex.EncodeToString(sum[:8])+".json")
}

// ownLocked gets the right to write the file and reports whether this server has
// it. The system takes it back when the process ends, however it does. Who gets it
// from a server that ended goes on with what that one knew.
func (s *Store) ownLocked() bool {
	if s.lock != nil {
		return true
	}
	err := os.MkdirAll(s.o.Dir, 0o700)
	if err != nil {
		s.warnLocked(err)
		return false
	}
	f, err := os.OpenFile(s.file+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		s.warnLocked(err)
		return false
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if !errors.Is(err, unix.EWOULDBLOCK) {
			s.warnLocked(fmt.Errorf("lock %s: %w", f.Name(), err))
		}
		s.warnLocked(f.Close())
		return false
	}
	s.lock = f
	if !s.at.IsZero() { // not the first look at the file
		s.mergeLocked()
	}
	return true
}

func (s *Store) disownLocked() error {
	f := s.lock
	s.lock = nil
	return f.Close()
}

// readLocked takes over what the file knows.
func (s *Store) readLocked() {
	d, err := readFile(s.file)
	if errors.Is(err, fs.ErrNotExist) || err != nil && s.warned {
		return
	}
	if err != nil {
		s.o.Log.Warn("cannot read how models were used: starting with nothing known", "file", s.file, "err", err)
		return
	}
	s.at, s.slot, s.days, s.models = d.At, d.Slot, d.Days, records(d)
	s.fadeLocked(s.o.Now())
	s.resident = d.Resident
}

// mergeLocked adds what another server wrote since this one began. Of what both
// know the larger count stands: they may have begun with the same.
func (s *Store) mergeLocked() {
	d, err := readFile(s.file)
	if err != nil {
		return // it is written anew
	}
	for id, theirs := range records(d) {
		ours := s.models[id]
		if ours == nil {
			s.models[id] = theirs
			continue
		}
		ours.uses = max(ours.uses, theirs.uses)
		for i, n := range theirs.hours {
			ours.hours[i] = max(ours.hours[i], n)
		}
	}
	for i, n := range d.Days {
		s.days[i] = max(s.days[i], n)
	}
}

// readFile reads a file and refuses what no server wrote.
func readFile(name string) (*document, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("more than %d bytes", maxFile)
	}
	d := &document{}
	if err := json.Unmarshal(b, d); err != nil {
		return nil, err
	}
	if d.Format != format {
		return nil, fmt.Errorf("format %d, not %d", d.Format, format)
	}
	if len(d.Resident) > maxModels {
		d.Resident = d.Resident[:maxModels]
	}
	bound(&d.Days)
	return d, nil
}

// records turns the file's models into ours, within bounds.
func records(d *document) map[string]*record {
	out := make(map[string]*record, len(d.Models))
	for id, m := range d.Models {
		bound(&m.Hours)
		maps.DeleteFunc(m.Ran, func(pixels, bytes int64) bool {
			return pixels <= 0 || bytes <= 0 || bytes > maxRun || len(m.Ran) > maxRan
		})
		out[id] = &record{
			uses: min(max(m.Uses, 0), maxUses), hours: m.Hours, slot: m.Slot, rev: m.Rev,
			took: Took{Load: duration(m.Load), Run: duration(m.Run), Bytes: max(m.Bytes, 0), Ran: m.Ran},
		}
	}
	return out
}

func bound(hours *[24]float64) {
	for i, n := range hours {
		hours[i] = min(max(n, 0), maxDays)
	}
}

// duration reads milliseconds; no load takes a day.
func duration(ms float64) time.Duration {
	return time.Duration(min(max(ms, 0), 86_400_000) * float64(time.Millisecond))
}

// writeLocked replaces the file as a whole.
func (s *Store) writeLocked(resident []string) error {
	d := document{
		Format: format, Folder: s.o.Models, At: s.at, Slot: s.slot, Days: rounded(s.days), Resident: resident,
		Models: make(map[string]modelV1, len(s.models)),
	}
	s.boundLocked()
	for id, m := range s.models {
		d.Models[id] = modelV1{
			Uses: round(m.uses), Hours: rounded(m.hours), Slot: m.slot, Rev: m.rev, Load: millis(m.took.Load), Run: millis(m.took.Run), Bytes: m.took.Bytes, Ran: m.took.Ran,
		}
	}
	b, err := json.Marshal(d)
	if err != nil {
		return err
	}
	// The name may be fixed: only the owner of the lock writes.
	if err := writeWhole(s.file, s.file+".tmp", append(b, '\n')); err != nil {
		return err
	}
	s.dirty = false
	return nil
}

// boundLocked forgets the models used least, beyond as many as the file holds.
func (s *Store) boundLocked() {
	if len(s.models) <= maxModels {
		return
	}
	ids := make([]string, 0, len(s.models))
	for id := range s.models {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int {
		return cmp.Or(cmp.Compare(s.models[b].uses, s.models[a].uses), cmp.Compare(a, b))
	})
	for _, id := range ids[maxModels:] {
		delete(s.models, id)
	}
}

func writeWhole(name, draft string, b []byte) (err error) {
	f, err := os.OpenFile(draft, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(draft, name)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(draft))
	}
	return err
}

func round(f float64) float64 { return math.Round(f*1000) / 1000 }

func rounded(hours [24]float64) [24]float64 {
	for i := range hours {
		hours[i] = round(hours[i])
	}
	return hours
}

func millis(d time.Duration) float64 { return round(float64(d) / float64(time.Millisecond)) }
