package lazyolo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"lazyolo/internal/core"
	"lazyolo/yolo"
)

// alone is one model that has no folder.
type alone struct{ m *yolo.Model }

// All implements core.Models.
func (a alone) All() []*yolo.Model { return []*yolo.Model{a.m} }

// Model implements core.Models.
func (a alone) Model(id string) (*yolo.Model, bool) {
	switch {
	case id == a.m.ID || id == "0":
		return a.m, true
	case a.m.OtherHead != nil && id == a.m.OtherHead.ID:
		return a.m.OtherHead, true
	}
	return nil, false
}

// single makes a model of a weights file; nil: path is something else.
func single(path string) (core.Models, error) {
	ext := strings.ToLower(filepath.Ext(path))
	if ext != ".onnx" && ext != ".pt" {
		return nil, nil
	}
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && st.IsDir() {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open weights: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("open weights: %s is not a regular file", path)
	}
	real, err := filepath.Abs(path)
	if err == nil {
		real, err = filepath.EvalSymlinks(real)
	}
	if err != nil {
		return nil, fmt.Errorf("open weights: %w", err)
	}
	name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	m := &yolo.Model{
		ID: name, Name: name, Weights: real, WeightsRef: "./" + filepath.Base(path), Bytes: st.Size(),
		Rev: fmt.Sprintf("%x-%x", st.Size(), st.ModTime().UnixNano()),
	}
	if m.IsCheckpoint() {
		other := *m
		other.ID, other.OneToOne = name+"/one2one", true
		m.OtherHead = &other
	}
	return alone{m}, nil
}
