package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"lazyolo/yolo"
)

// A state is what one run leaves to the next about a models folder.
type state struct {
	Dir string         `json:"dir"` // for people: the file's name is a hash of it
	IDs map[string]int `json:"ids"` // folder -> Index
}

// compareState returns how the models' numbers differ from the last run's, and
// records the new ones unless o.ReadOnly. Not being able to remember is told,
// but no reason not to serve. dir is absolute.
func compareState(o Options, dir string, models []*yolo.Model) []Move {
	sum := sha256.Sum256([]byte(dir))
	file := filepath.Join(o.StateDir, "ids-"+hex.EncodeToString(sum[:8])+".json")
	now := state{Dir: dir, IDs: make(map[string]int, len(models))}
	for _, m := range models {
		now.IDs[m.ID] = m.Index
	}
	last, err := readState(file)
	hint := "changes of ids since then cannot be told"
	if !o.ReadOnly && (err != nil || !maps.Equal(last.IDs, now.IDs)) {
		if werr := writeState(file, now); werr != nil {
			err = errors.Join(err, werr)
			hint = "make STATE_DIR writable, or changes of ids cannot be told at the next start"
		}
	}
	if err != nil {
		o.Log.Warn("remember model ids", "error", err, "hint", hint)
	}
	var moved []Move
	for folder, from := range last.IDs {
		to, ok := now.IDs[folder]
		if !ok {
			to = -1
		}
		if to != from {
			moved = append(moved, Move{folder, from, to})
		}
	}
	slices.SortFunc(moved, func(a, b Move) int { return natural(a.Folder, b.Folder) })
	return moved
}

// readState returns the zero state when there is none yet.
func readState(file string) (state, error) {
	var s state
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return state{}, fmt.Errorf("read %s: %w", file, err)
	}
	return s, nil
}

// writeState replaces file as a whole: a crash leaves the old one or the new
// one. os.CreateTemp makes it readable for its owner only.
func writeState(file string, s state) (err error) {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	dir, name := filepath.Split(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, name+".tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(append(data, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
