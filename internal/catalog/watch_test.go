package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"lazyolo/internal/catalog"
	"lazyolo/yolo"
)

// A watched is a catalog that is being watched, every second of the bubble's time.
type watched struct {
	t   *testing.T
	dir string
	c   *catalog.Catalog

	mu      sync.Mutex
	log     strings.Builder
	told    []string
	prepare func(ctx context.Context, m *yolo.Model) error // nil: it succeeds at once
	replace error
}

// watch opens the folder and watches it until the test ends.
func watch(t *testing.T, dir string, w catalog.Watching) *watched {
	t.Helper()
	s := &watched{t: t, dir: dir}
	s.c = open(t, catalog.Options{Dir: dir, Log: slog.New(slog.NewTextHandler(s, nil))})
	w.Prepare = func(ctx context.Context, m *yolo.Model) error {
		s.tell("prepare " + m.ID)
		s.mu.Lock()
		prepare := s.prepare
		s.mu.Unlock()
		if prepare == nil {
			return nil
		}
		return prepare(ctx, m)
	}
	w.Replace = func(_ context.Context, old, m *yolo.Model) error {
		if old.Index != m.Index || old.Rev == m.Rev {
			t.Errorf("replace %+v by %+v", old, m)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.replace
	}
	w.Changed = func(c catalog.Change) {
		line := fmt.Sprintf("%s %s=%d", c.Kind, c.Model.ID, c.Model.Index)
		if c.Err != nil {
			line += ": " + c.Err.Error()
		}
		s.tell(line)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { s.c.Watch(ctx, w) })
	t.Cleanup(func() {
		cancel()
		done.Wait()
	})
	synctest.Wait()
	return s
}

// Write adds to the log.
func (s *watched) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(b)
}

func (s *watched) logged() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// answer sets how new revisions are prepared and replaced.
func (s *watched) answer(prepare func(ctx context.Context, m *yolo.Model) error, replace error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prepare, s.replace = prepare, replace
}

func (s *watched) tell(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, line)
}

// after lets so many looks happen and compares what was told since the last call, and
// what is served then.
func (s *watched) after(looks int, told, served []string) {
	s.t.Helper()
	for range looks {
		time.Sleep(time.Second)
		synctest.Wait()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := cmp.Diff(told, s.told); d != "" {
		s.t.Errorf("told (-want +got):\n%s", d)
	}
	s.told = nil
	if d := cmp.Diff(served, ids(s.c)); d != "" {
		s.t.Errorf("served (-want +got):\n%s", d)
	}
}

const everySecond = time.Second

// A folder is taken once its files were the same in two looks after they changed.
func TestWatchTakesWhatStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		folder(t, dir, "b", "")
		s := watch(t, dir, catalog.Watching{Every: everySecond})
		weights := filepath.Join(dir, "a", "best.onnx")
		write(t, filepath.Join(dir, "a", "labels.yaml"), good)
		for n := range 4 { // it is being copied
			write(t, weights, strings.Repeat("w", n+1))
			s.after(1, nil, []string{"b=0"})
		}
		s.after(1, []string{"added a=1"}, []string{"b=0", "a=1"})
		for n := range 3 { // and again
			write(t, weights, strings.Repeat("x", n+10))
			s.after(1, nil, []string{"b=0", "a=1"})
		}
		s.after(1, []string{"prepare a", "changed a=1"}, []string{"b=0", "a=1"})
		if m, _ := s.c.Model("a"); m.Bytes != 12 {
			t.Errorf("%d bytes", m.Bytes)
		}
		if err := os.RemoveAll(filepath.Join(dir, "b")); err != nil {
			t.Fatal(err)
		}
		s.after(1, nil, []string{"b=0", "a=1"})
		s.after(1, []string{"removed b=0"}, []string{"a=1"})
		s.after(100, nil, []string{"a=1"})
	})
}

// Numbers never move, and one that was given is not given again.
func TestWatchKeepsNumbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		folder(t, dir, "m1", "")
		folder(t, dir, "m3", "id: 5\n")
		s := watch(t, dir, catalog.Watching{Every: everySecond})
		folder(t, dir, "m0", "")
		folder(t, dir, "m2", "id: 7\n")
		s.after(2, []string{"added m0=1", "added m2=7"}, []string{"m1=0", "m0=1", "m3=5", "m2=7"})
		if err := os.RemoveAll(filepath.Join(dir, "m1")); err != nil {
			t.Fatal(err)
		}
		s.after(2, []string{"removed m1=0"}, []string{"m0=1", "m3=5", "m2=7"})
		folder(t, dir, "m4", "")
		folder(t, dir, "m5", "id: 0\n") // was m1's
		s.after(2, []string{"added m4=2"}, []string{"m0=1", "m4=2", "m3=5", "m2=7"})
		if p := s.c.Problems(); len(p) != 1 || p[0].Folder != "m5" || p[0].Field != "id" || !strings.Contains(p[0].Msg, "m1") {
			t.Errorf("problems %v", p)
		}
		folder(t, dir, "m1", "")
		write(t, filepath.Join(dir, "m3", "labels.yaml"), good+"id: 9\n")
		s.after(2, []string{"added m1=0", "prepare m3", "changed m3=5"}, []string{"m1=0", "m0=1", "m4=2", "m3=5", "m2=7"})
		if !strings.Contains(s.logged(), "id does not change while the server runs") {
			t.Errorf("the log says nothing of m3's id:\n%s", s.logged())
		}
	})
}

// What cannot be served leaves the old revision in force, and is told once.
func TestWatchKeepsTheOldRevision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		folder(t, dir, "a", "")
		s := watch(t, dir, catalog.Watching{Every: everySecond})
		first, _ := s.c.Model("a")
		labels := filepath.Join(dir, "a", "labels.yaml")
		kept := "kept a=0: "
		write(t, labels, strings.Replace(good, "task: detection", "task: nothing", 1))
		s.after(2, []string{kept + `task "nothing" is not a task; write one of classification, detection, segmentation, classify, detect, segment, pose, obb, semantic`}, []string{"a=0"})
		s.after(100, nil, []string{"a=0"})
		write(t, labels, good+"\n\n")
		s.answer(func(context.Context, *yolo.Model) error { return errors.New("no memory") }, nil)
		s.after(2, []string{"prepare a", kept + "no memory"}, []string{"a=0"})
		s.after(59, nil, []string{"a=0"})
		s.after(3, []string{"prepare a"}, []string{"a=0"}) // tried again, not told again
		s.answer(func(context.Context, *yolo.Model) error {
			return &yolo.Error{Code: yolo.LoadFailed, Msg: "no model", Final: true}
		}, nil)
		s.after(61, []string{"prepare a", kept + "no model"}, []string{"a=0"})
		s.after(200, nil, []string{"a=0"}) // it will not do before a file changes
		s.answer(nil, errors.New("it does not open"))
		write(t, labels, good+"\n\n\n")
		s.after(2, []string{"prepare a", kept + "it does not open"}, []string{"a=0"})
		if m, _ := s.c.Model("a"); m != first {
			t.Error("the model is another")
		}
		s.answer(nil, nil)
		write(t, labels, good+"\n\n\n\n")
		s.after(2, []string{"prepare a", "changed a=0"}, []string{"a=0"})
		if m, _ := s.c.Model("a"); m == first || m.Rev == first.Rev {
			t.Error("the model is the same")
		}
	})
}

// A preparation ends when the files change again; the last of them is taken.
func TestWatchCancelsWhatChangedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		folder(t, dir, "a", "")
		s := watch(t, dir, catalog.Watching{Every: everySecond})
		s.answer(func(ctx context.Context, m *yolo.Model) error {
			select {
			case <-ctx.Done():
				s.tell(fmt.Sprintf("ended %d", m.Bytes))
				return ctx.Err()
			case <-time.After(5*time.Second + 500*time.Millisecond):
				return nil
			}
		}, nil)
		weights := filepath.Join(dir, "a", "best.onnx")
		write(t, weights, "1")
		s.after(3, []string{"prepare a"}, []string{"a=0"})
		write(t, weights, "22")
		s.after(1, []string{"ended 1"}, []string{"a=0"})
		s.after(1, []string{"prepare a"}, []string{"a=0"})
		s.after(5, nil, []string{"a=0"})
		write(t, weights, "333") // after the last look, before it is put in force
		s.after(2, []string{"prepare a"}, []string{"a=0"})
		s.after(6, []string{"changed a=0"}, []string{"a=0"})
		if m, _ := s.c.Model("a"); m.Bytes != 3 {
			t.Errorf("%d bytes", m.Bytes)
		}
		write(t, weights, "4444")
		s.after(3, []string{"prepare a"}, []string{"a=0"})
		if err := os.RemoveAll(filepath.Join(dir, "a")); err != nil {
			t.Fatal(err)
		}
		s.after(2, []string{"ended 4", "removed a=0"}, nil)
	})
}

// A disk that goes away is no removal of models.
func TestWatchOutlastsALostFolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "models")
		folder(t, dir, "a", "")
		s := watch(t, dir, catalog.Watching{Every: everySecond})
		move := func(from, to string) {
			t.Helper()
			if err := os.Rename(from, to); err != nil {
				t.Fatal(err)
			}
		}
		move(dir, dir+".away")
		s.after(10, nil, []string{"a=0"})
		if err := os.Mkdir(dir, 0o755); err != nil { // an empty mount point
			t.Fatal(err)
		}
		s.after(10, nil, []string{"a=0"})
		if n := strings.Count(s.logged(), "cannot look at the models folder"); n != 2 {
			t.Errorf("told %d times, want once each:\n%s", n, s.logged())
		}
		move(dir, dir+".empty")
		move(dir+".away", dir)
		s.after(10, nil, []string{"a=0"})
		if err := os.RemoveAll(filepath.Join(dir, "a")); err != nil {
			t.Fatal(err)
		}
		s.after(2, []string{"removed a=0"}, nil)
	})
}

// Asked for, there are two looks a second apart, and no more.
func TestWatchLooksWhenAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		folder(t, dir, "a", "")
		ask, pace := make(chan struct{}), make(chan time.Duration)
		s := watch(t, dir, catalog.Watching{Ask: ask, Pace: pace})
		folder(t, dir, "b", "")
		s.after(100, nil, []string{"a=0"})
		ask <- struct{}{}
		s.after(1, []string{"added b=1"}, []string{"a=0", "b=1"})
		folder(t, dir, "c", "")
		s.after(100, nil, []string{"a=0", "b=1"})
		pace <- 10 * time.Second
		s.after(19, nil, []string{"a=0", "b=1"})
		s.after(1, []string{"added c=2"}, []string{"a=0", "b=1", "c=2"})
	})
}

// What changes nothing but a file's inode, such as its mode, has the folder read again.
func TestWatchSeesWhatSizeAndTimeHide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		folder(t, dir, "a", "keep_alive: 5m\n")
		labels := filepath.Join(dir, "a", "labels.yaml")
		info, err := os.Stat(labels)
		if err != nil {
			t.Fatal(err)
		}
		s := watch(t, dir, catalog.Watching{Every: everySecond})
		f, err := os.OpenFile(labels, os.O_WRONLY|os.O_TRUNC, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteString(good + "keep_alive: 6m\n")
		if err := errors.Join(err, f.Close(), os.Chtimes(labels, info.ModTime(), info.ModTime())); err != nil {
			t.Fatal(err)
		}
		s.after(2, []string{"prepare a", "changed a=0"}, []string{"a=0"})
		if err := os.Chmod(labels, 0o640); err != nil {
			t.Fatal(err)
		}
		s.after(3, nil, []string{"a=0"}) // the same model
	})
}

// Who watches events may come from elsewhere: paths are for the log.
func TestWatchTellsNoPaths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := realPath(t, t.TempDir())
		dir, outside := filepath.Join(base, "models"), filepath.Join(base, "secret.onnx")
		folder(t, dir, "a", "")
		write(t, outside, "weights")
		s := watch(t, dir, catalog.Watching{Every: everySecond})
		weights := filepath.Join(dir, "a", "best.onnx")
		if err := errors.Join(os.Remove(weights), os.Symlink(outside, weights)); err != nil {
			t.Fatal(err)
		}
		s.after(2, []string{"kept a=0: model_path is a link that cannot be followed, or leads out of the models folder; the server's log says where"}, []string{"a=0"})
		if log := s.logged(); !strings.Contains(log, outside) {
			t.Errorf("the log does not say where: %s", log)
		}
	})
}

// A model folder alone, and links that move on, are followed too.
func TestWatchFollowsLinksAndTheSingleLayout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "only")
		for i, text := range []string{"", "keep_alive: 5m\n"} {
			write(t, filepath.Join(dir, fmt.Sprintf("..%d", i), "labels.yaml"), good+text)
			write(t, filepath.Join(dir, fmt.Sprintf("..%d", i), "best.onnx"), "weights")
		}
		link := func(to, name string) {
			t.Helper()
			if err := errors.Join(os.Symlink(to, filepath.Join(dir, "tmp")), os.Rename(filepath.Join(dir, "tmp"), filepath.Join(dir, name))); err != nil {
				t.Fatal(err)
			}
		}
		link("..0", "..data")
		link("..data/labels.yaml", "labels.yaml")
		link("..data/best.onnx", "best.onnx")
		s := watch(t, dir, catalog.Watching{Every: everySecond})
		link("..1", "..data")
		s.after(2, []string{"prepare only", "changed only=0"}, []string{"only=0"})
		if m, _ := s.c.Model("only"); m.KeepAlive == nil {
			t.Error("the labels are the old ones")
		}
	})
}
