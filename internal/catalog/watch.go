package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"time"

	"lazyolo/yolo"
)

// How soon a watcher looks again.
const (
	// soon is the time between the two looks that Watching.Ask asks for.
	soon = time.Second
	// retryAfter is when a revision is tried again that could not be taken for a reason
	// other than its files.
	retryAfter = time.Minute
)

// Watching says how Watch looks at the folder and what it does about changes.
type Watching struct {
	Every time.Duration // between two looks; 0: it looks when asked
	// Ask asks for two looks, one second apart or Every, if that is shorter. nil: nobody does.
	Ask <-chan struct{}
	// Pace brings another Every. nil: it stays.
	Pace <-chan time.Duration

	// Prepare makes a new revision of a model ready to be taken; ctx ends when its files
	// change again. Its error leaves the old one in force. Several may be asked for at
	// once, one for a model.
	Prepare func(ctx context.Context, m *yolo.Model) error
	// Replace puts a prepared revision in the place of the old one. Its error leaves that.
	Replace func(ctx context.Context, old, m *yolo.Model) error
	// Changed is told of every change once the catalog answers accordingly, but of an added
	// model before; it must not block.
	Changed func(Change)
}

// A ChangeKind says what became of a model's folder.
type ChangeKind string

// The kinds of changes.
const (
	Added    ChangeKind = "added"
	Replaced ChangeKind = "changed"
	Removed  ChangeKind = "removed"
	Kept     ChangeKind = "kept" // it changed and cannot be served: the old revision stays
)

// A Change is what became of a model's folder while the server runs.
type Change struct {
	Kind  ChangeKind
	Model *yolo.Model // as it is served now, or was
	Old   *yolo.Model // the revision before, of Replaced
	Err   error       // why, of Kept
}

// Watch looks at the folder again and again until ctx ends, and waits for what it
// started. A folder is taken when its files were the same in two looks after they
// changed: one that is being copied is let be. Only what changed is read.
//
//   - A new folder is served at once, under the lowest number that no model had since the
//     start, or the one it pins, if that is so.
//   - A changed one is prepared first (Watching.Prepare), then replaced, then answered
//     with. Where any of this fails the old revision stays. Its number does too, whatever
//     id says: numbers never move while the server runs.
//   - A removed one is not found any more. It gets its number back if it comes back.
//
// It is called once.
func (c *Catalog) Watch(ctx context.Context, w Watching) {
	t := newWatcher(c, w)
	defer t.work.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	next := func(d time.Duration) {
		if timer.Stop(); d > 0 {
			timer.Reset(d)
		}
	}
	next(t.Every)
	asked := false // for a second look
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			asked = false
			t.look(ctx)
		case <-w.Ask:
			asked = true
			t.look(ctx)
		case t.Every = <-w.Pace:
		case s := <-t.taken:
			t.settle(s)
			continue
		}
		t.save()
		if wait := t.Every; asked {
			next(min(cmp.Or(wait, soon), soon))
		} else {
			next(wait)
		}
	}
}

// A watcher is what Watch knows of the folder.
type watcher struct {
	Watching
	c       *Catalog
	o       Options // with nobody told what every look would tell again
	folders map[string]*folder
	numbers map[string]int // given out since the start, by model
	looks   int
	root    stamp  // of the models folder, as of the first look
	lost    string // why the folder cannot be looked at, as told
	unsaved bool   // numbers for the next run
	taken   chan taking
	work    sync.WaitGroup
}

// A folder is a model folder as the watcher knows it.
type folder struct {
	seen   mark   // as of the last look
	known  mark   // as of when it was read last
	ref    string // model_path
	look   int    // at which it was there last
	told   string // the problem that was told last
	cancel context.CancelFunc
	retry  time.Time // when it is read again although nothing changed; zero: not

	root, labels, weights string // of the look before: paths of the models folder and the files
}

// errMoved ends the taking of a revision whose files are others by now.
var errMoved = errors.New("its files changed again")

// A taking is how an attempt to take a new revision ended.
type taking struct {
	name     string
	mark     mark
	old, new *yolo.Model
	err      error
}

func newFolder(x reading) folder { return folder{seen: x.mark, known: x.mark, ref: x.ref} }

func newWatcher(c *Catalog, w Watching) *watcher {
	t := &watcher{Watching: w, c: c, o: c.o, folders: make(map[string]*folder), numbers: make(map[string]int), taken: make(chan taking)}
	t.o.Log = slog.New(slog.DiscardHandler)
	for name, f := range c.first {
		t.folders[name] = &f
	}
	for _, m := range c.All() {
		t.numbers[m.ID] = m.Index
	}
	for _, p := range c.Problems() {
		if f := t.folders[p.Folder]; f != nil {
			f.told = p.String()
		}
	}
	t.root = stampOf(c.dir)
	return t
}

// look compares every folder with what is known of it. It reads those that changed and
// stood still since the last look.
func (t *watcher) look(ctx context.Context) {
	_, root, items, err := openDir(t.o.Dir)
	var found []fs.DirEntry
	switch {
	case err != nil:
	case t.c.alone:
	default:
		found = candidates(items)
		if now := stampOf(t.c.dir); len(found) == 0 && len(t.c.All()) > 0 && (now.dev != t.root.dev || now.ino != t.root.ino) {
			err = fmt.Errorf("%s is another folder now, and empty", t.c.dir)
		}
	}
	if err != nil { // a disk that went away is no removal of models
		if t.lost != err.Error() {
			t.lost = err.Error()
			t.c.o.Log.Error("cannot look at the models folder: all models stay", "err", err)
		}
		return
	}
	t.lost = ""
	r := &lookup{watcher: t, root: root}
	if t.c.alone {
		t.lookAt(ctx, r, t.c.id, nil)
		return
	}
	t.looks++
	for _, item := range found {
		t.lookAt(ctx, r, item.Name(), item)
		t.folders[item.Name()].look = t.looks
	}
	var gone []string
	for name, f := range t.folders {
		if f.look != t.looks {
			gone = append(gone, name)
		}
	}
	slices.SortFunc(gone, natural)
	for _, name := range gone {
		t.missing(name)
	}
}

// lookAt looks at one folder.
func (t *watcher) lookAt(ctx context.Context, r *lookup, name string, item fs.DirEntry) {
	f := t.folders[name]
	if f == nil {
		f = &folder{}
		t.folders[name] = f
	}
	now := r.mark(name, item, f)
	if now != f.seen { // not for long enough yet
		f.seen = now
		f.giveUp()
		return
	}
	again := !f.retry.IsZero() && !time.Now().Before(f.retry)
	if now == f.known && !again {
		return
	}
	if f.cancel != nil { // it is being taken
		return
	}
	read := r.read(name, item)
	if after := r.mark(name, item, f); after != now {
		f.seen = after
		return
	}
	f.known, f.retry = now, time.Time{}
	t.decide(ctx, f, name, read)
}

// giveUp ends the preparation of what changed again.
func (f *folder) giveUp() {
	if f.cancel != nil {
		f.cancel()
	}
}

// missing looks at a folder that is not there.
func (t *watcher) missing(name string) {
	f := t.folders[name]
	if f.seen != (mark{}) { // it was there at the last look
		f.seen = mark{}
		f.giveUp()
		return
	}
	if f.cancel != nil {
		return
	}
	delete(t.folders, name)
	t.remove(name)
}

// remove takes a model or a problem out of the catalog.
func (t *watcher) remove(name string) {
	old, served := t.c.snap.Load().byID[name]
	t.change(name, nil, nil)
	if !served {
		return
	}
	t.c.o.Log.Info("model folder removed", "model", name, "id", old.Index)
	t.Changed(Change{Kind: Removed, Model: old})
}

// decide does what follows from how a folder was read.
func (t *watcher) decide(ctx context.Context, f *folder, name string, read reading) {
	old := t.c.snap.Load().byID[name]
	switch {
	case read.problem == nil && read.model == nil:
		t.remove(name)
	case read.problem != nil:
		t.refuse(f, old, *read.problem)
	case old != nil && old.Rev == read.model.Rev:
		t.change(name, old, nil)
		f.told = ""
	case old == nil:
		t.add(f, read.entry)
	default:
		m := read.model
		m.Index = old.Index
		if read.pin >= 0 && read.pin != m.Index {
			t.c.o.Log.Warn("a model's id does not change while the server runs: the new one holds from the next start on", "model", name, "id", m.Index, "new", read.pin)
		}
		withHeads(m)
		t.take(ctx, f, old, m)
	}
}

// refuse tells of a folder that cannot be served; what is served of it stays.
func (t *watcher) refuse(f *folder, old *yolo.Model, p Problem) {
	t.change(p.Folder, old, &p)
	if f.told == p.String() {
		return
	}
	f.told = p.String()
	if old == nil {
		tellProblem(t.c.o.Log, p)
		return
	}
	t.c.o.Log.Error("model folder changed and cannot be served: the old revision goes on", "folder", p.Folder, "field", p.Field, "problem", p.Msg, "remedy", p.Remedy)
	t.Changed(Change{Kind: Kept, Model: old, Err: p.public()})
}

// add serves a new folder.
func (t *watcher) add(f *folder, e entry) {
	m := e.model
	n, had := t.numbers[m.ID]
	if !had {
		used := make(map[int]string, len(t.numbers))
		for id, n := range t.numbers {
			used[n] = id
		}
		if n = max(e.pin, 0); e.pin >= 0 && used[n] != "" {
			t.refuse(f, nil, Problem{Folder: m.ID, Field: "id", Msg: fmt.Sprintf("pins %d, which %s has or had since the start", n, used[n]), Remedy: "give it another id, or restart the server"})
			return
		}
		for used[n] != "" {
			n++
		}
		t.numbers[m.ID] = n
	}
	m.Index, f.told = n, ""
	withHeads(m)
	t.c.o.Log.Info("model folder added", "model", m.ID, "id", m.Index)
	t.Changed(Change{Kind: Added, Model: m})
	t.change(m.ID, m, nil)
}

// take has a new revision prepared and put in the place of the old one.
func (t *watcher) take(ctx context.Context, f *folder, old, m *yolo.Model) {
	if f.told == "" {
		t.c.o.Log.Info("model folder changed: the new revision is prepared, the old one serves meanwhile", "model", m.ID, "revision", m.Rev)
	}
	one, cancel := context.WithCancel(ctx)
	f.cancel = cancel
	s := taking{name: m.ID, mark: f.known, old: old, new: m}
	same := func() bool { // its weights are still those that were seen
		return one.Err() == nil && stampOf(m.Weights) == s.mark.weights
	}
	t.work.Go(func() {
		defer cancel()
		s.err = t.Prepare(one, m)
		if s.err == nil && !same() {
			s.err = errMoved
		}
		if s.err == nil {
			s.err = t.Replace(one, old, m)
		}
		select {
		case t.taken <- s:
		case <-ctx.Done():
		}
	})
}

// settle ends an attempt to take a new revision.
func (t *watcher) settle(s taking) {
	f := t.folders[s.name]
	canceled := f.seen != s.mark || errors.Is(s.err, errMoved)
	f.cancel = nil
	switch {
	case s.err == nil:
		f.told = ""
		t.change(s.name, s.new, nil)
		t.c.o.Log.Info("model folder changed: the new revision serves", "model", s.name, "id", s.new.Index, "revision", s.new.Rev)
		t.Changed(Change{Kind: Replaced, Model: s.new, Old: s.old})
	case canceled: // the next look goes on
		t.c.o.Log.Debug("model folder changed again: its preparation was cancelled", "model", s.name)
		f.known = mark{}
	default:
		if !isFinal(s.err) {
			f.retry = time.Now().Add(retryAfter)
		}
		if f.told == s.err.Error() {
			return
		}
		f.told = s.err.Error()
		t.c.o.Log.Error("the new revision of a model cannot be served: the old one goes on", "model", s.name, "revision", s.new.Rev, "err", s.err)
		t.Changed(Change{Kind: Kept, Model: s.old, Err: s.err})
	}
}

// change replaces what the catalog says of a folder: m, if it is served, and p, if
// something is wrong with it.
func (t *watcher) change(name string, m *yolo.Model, p *Problem) {
	old := t.c.snap.Load()
	if old.byID[name] == m && p == nil && !slices.ContainsFunc(old.problems, func(o Problem) bool { return o.Folder == name }) {
		return
	}
	s := &snapshot{moved: old.moved}
	for _, o := range old.models {
		if o.ID != name {
			s.models = append(s.models, o)
		}
	}
	for _, o := range old.problems {
		if o.Folder != name {
			s.problems = append(s.problems, o)
		}
	}
	if m != nil {
		s.models = append(s.models, m)
	}
	if p != nil {
		s.problems = append(s.problems, *p)
	}
	s.sort()
	s.index()
	t.c.snap.Store(s)
	if old.byID[name] != m {
		t.unsaved = true
		if m != nil {
			s.warnNumericName(t.c.o.Log, m)
		}
	}
}

// save records the numbers for the next run, if they changed.
func (t *watcher) save() {
	if t.unsaved && t.c.o.StateDir != "" {
		compareState(t.c.o, t.c.dir, t.c.All())
	}
	t.unsaved = false
}

func isFinal(err error) bool {
	known, ok := errors.AsType[*yolo.Error](err)
	return ok && known.Final
}
