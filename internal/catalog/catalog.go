// Package catalog reads a folder of models — models/NAME/labels.yaml and the
// weights it names — into an immutable list with stable numbers. It reads the
// labels and looks at the weights; it never reads the weights.
//
// A folder that is incomplete or broken is left out and told as a Problem; the
// others are served. Numbers run 0, 1, 2… over the complete folders in natural
// order (model_2 before model_10); id: in labels.yaml pins one. What changed
// since the last run is told as Moves.
//
// # Links
//
// Folders, labels and weights may be symbolic links, as ConfigMaps and shared
// disks make them, as long as they lead to somewhere inside the models folder
// or one of Options.AllowDirs: who may add a model must not be able to make
// the server read any file it can.
package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"lazyolo/yolo"
)

// Options says what Open reads. Only Dir is required.
type Options struct {
	Dir       string       // the folder of model folders, or one model's folder
	AllowDirs []string     // folders outside Dir that links may lead to
	StateDir  string       // where the numbers of the last run are kept; "": nowhere
	Reserved  []string     // names that no folder may have, because paths of the HTTP APIs use them; nil: none
	ReadOnly  bool         // compare with the last run, but leave its record alone
	Log       *slog.Logger // problems, moves and warnings; nil: nobody is told
}

// A Catalog is the list of models as Open found it, and Watch since. Its methods, save
// Watch, do not block, do no I/O and may be called concurrently. The models are shared:
// they must not be changed.
type Catalog struct {
	o     Options
	dir   string            // the models folder, absolute, links not resolved
	alone bool              // it is itself the only model folder
	id    string            // of that model
	first map[string]folder // as Open read them

	// What the folder holds is behind one pointer, so that all of it is replaced at once.
	snap atomic.Pointer[snapshot]
}

// A snapshot is one complete reading of the folder.
type snapshot struct {
	models   []*yolo.Model // ascending Index
	byID     map[string]*yolo.Model
	byIndex  map[int]*yolo.Model
	problems []Problem
	moved    []Move
}

// A Problem is a model folder that is not served, and why.
type Problem struct {
	Folder string // name of the folder in Options.Dir
	Field  string // field of labels.yaml, or "labels.yaml" or "folder" as a whole
	Msg    string // what is wrong, as in "is not a task"; Field is its subject
	Remedy string // what to do about it
	paths  bool   // Msg and Remedy name paths, which callers from elsewhere are not told
}

// public is what callers are told.
func (p Problem) public() error {
	if p.paths {
		return yolo.Errorf(yolo.Unsupported, "%s is a link that cannot be followed, or leads out of the models folder; the server's log says where", p.Field)
	}
	return yolo.Errorf(yolo.Unsupported, "%s %s; %s", p.Field, p.Msg, p.Remedy)
}

// String returns folder, field, message and remedy on one line.
func (p Problem) String() string {
	return fmt.Sprintf("%s: %s %s; %s", p.Folder, p.Field, p.Msg, p.Remedy)
}

// A Move is a folder whose number is not the last run's. To is -1 when the
// folder is no longer served; new folders are no moves.
type Move struct {
	Folder   string
	From, To int
}

// An OpenError says that the models folder itself cannot be read.
type OpenError struct {
	Dir  string
	Hint string // what to do about it
	Err  error
}

// Error returns the folder and the cause.
func (e *OpenError) Error() string {
	cause := e.Err
	var pe *fs.PathError
	if errors.As(cause, &pe) {
		cause = pe.Err // the path is named already
	}
	return fmt.Sprintf("open models folder %s: %v", e.Dir, cause)
}

// Unwrap returns the cause.
func (e *OpenError) Unwrap() error { return e.Err }

// Open reads the folder. It fails, with an *OpenError, only when the folder
// itself cannot be read; an empty one is a catalog without models. Problems,
// moves and warnings are logged once, here.
func Open(o Options) (*Catalog, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	found, err := scan(o)
	if err != nil {
		return nil, err
	}
	s := &snapshot{problems: found.problems}
	s.number(found.entries)
	for _, m := range s.models {
		withHeads(m)
	}
	s.index()
	for _, p := range s.problems {
		tellProblem(o.Log, p)
	}
	for _, m := range s.models {
		s.warnNumericName(o.Log, m)
	}
	if o.StateDir != "" {
		s.moved = compareState(o, found.dir, s.models)
	}
	for _, m := range s.moved {
		if m.To < 0 {
			o.Log.Warn("model id is gone since the last run", "folder", m.Folder, "id", m.From)
			continue
		}
		o.Log.Warn("model id changed since the last run", "folder", m.Folder, "from", m.From, "to", m.To,
			"hint", fmt.Sprintf("id: %d in its labels.yaml keeps the old one", m.From))
	}
	c := &Catalog{o: o, dir: found.dir, alone: found.alone, id: filepath.Base(found.dir), first: found.folders}
	c.snap.Store(s)
	return c, nil
}

func tellProblem(log *slog.Logger, p Problem) {
	log.Error("skip model folder", "folder", p.Folder, "field", p.Field, "problem", p.Msg, "remedy", p.Remedy)
}

// All returns the models in ascending Index. The slice must not be changed.
func (c *Catalog) All() []*yolo.Model { return c.snap.Load().models }

// Model returns the model with this id: a folder's name or, where no folder
// has that name, a decimal Index. "NAME/one2one" is the OtherHead of a checkpoint
// ("NAME/one2many" where labels.yaml takes the former).
func (c *Catalog) Model(id string) (*yolo.Model, bool) {
	s := c.snap.Load()
	if m, ok := s.byID[id]; ok {
		return m, true
	}
	n, err := strconv.Atoi(id)
	if err != nil || strconv.Itoa(n) != id {
		return nil, false
	}
	m, ok := s.byIndex[n]
	return m, ok
}

// ByIndex returns the model with this Index. The old API's model_id means
// exactly this, also where a folder's name is another model's number.
func (c *Catalog) ByIndex(n int) (*yolo.Model, bool) {
	m, ok := c.snap.Load().byIndex[n]
	return m, ok
}

// Problems returns the folders that are not served, in natural order.
func (c *Catalog) Problems() []Problem { return c.snap.Load().problems }

// Moved returns the folders whose numbers differed from the last run's at the start, in
// natural order.
func (c *Catalog) Moved() []Move { return c.snap.Load().moved }

func (s *snapshot) index() {
	s.byID = make(map[string]*yolo.Model, len(s.models))
	s.byIndex = make(map[int]*yolo.Model, len(s.models))
	for _, m := range s.models {
		s.byID[m.ID] = m
		s.byIndex[m.Index] = m
		if m.OtherHead != nil {
			s.byID[m.OtherHead.ID] = m.OtherHead
		}
	}
}

// withHeads completes a new model that has its number.
func withHeads(m *yolo.Model) {
	if m.IsCheckpoint() {
		m.OtherHead = otherHead(m)
	}
}

// otherHead is m with the head that its labels do not take. A folder's name has no slash.
func otherHead(m *yolo.Model) *yolo.Model {
	other := *m
	other.OneToOne = !m.OneToOne
	other.ID += "/one2many"
	if other.OneToOne {
		other.ID = m.ID + "/one2one"
	}
	return &other
}

// warnNumericName tells of a folder called like another model's number: a client
// that means the one would be given the other.
func (s *snapshot) warnNumericName(log *slog.Logger, m *yolo.Model) {
	n, err := strconv.Atoi(m.ID)
	if err != nil || n == m.Index || strconv.Itoa(n) != m.ID {
		return
	}
	if other, ok := s.byIndex[n]; ok {
		log.Warn("model folder is called like another model's id", "folder", m.ID, "id", m.Index, "other", other.ID,
			"hint", "rename it, or write id: "+m.ID+" in its labels.yaml")
	}
}
