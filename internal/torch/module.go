package torch

import (
	"fmt"
	"iter"
	"strings"
)

// A Module is one place in the tree of modules: an instance of a subclass of
// torch.nn.Module and what its state says. A module that several places share
// is a Module in each.
type Module struct {
	Class string // full name, "ultralytics.nn.modules.conv.Conv"
	Path  string // place in the tree, "model.22.cv2.0"; "" for the root

	object     *Object
	attributes *Dict
	parameters *Dict
	buffers    *Dict
	children   []*Module
}

// Kind returns the class name without its package, which has moved over the
// releases: "Conv".
func (m *Module) Kind() string { return last(m.Class) }

// Name returns the last part of the place: "0", or "cv2".
func (m *Module) Name() string { return last(m.Path) }

// last returns what follows the last dot.
func last(s string) string { return s[strings.LastIndexByte(s, '.')+1:] }

// Children returns the submodules in their order; those that are None are left
// out. The caller must not change the slice.
func (m *Module) Children() []*Module { return m.children }

// Child returns the submodule of that name, or nil: some are removed (fused
// layers), and some were never there in older releases.
func (m *Module) Child(name string) *Module {
	for _, c := range m.children {
		if c.Name() == name {
			return c
		}
	}
	return nil
}

// Tensor returns the parameter or buffer of that name, or nil.
func (m *Module) Tensor(name string) *Tensor {
	if t, ok := m.parameters.Get(name).(*Tensor); ok {
		return t
	}
	t, _ := m.buffers.Get(name).(*Tensor)
	return t
}

// Value returns a plain attribute, and whether there is one: which attributes a
// class has differs over the releases.
func (m *Module) Value(name string) (any, bool) { return m.attributes.lookup(name) }

// Elements returns the number of elements of the parameters of m itself.
func (m *Module) Elements() int64 {
	n := int64(0)
	for i := range m.parameters.Len() {
		if _, v := m.parameters.At(i); isTensor(v) {
			n += v.(*Tensor).Elements()
		}
	}
	return n
}

// All returns m and everything below it, parents first.
func (m *Module) All() iter.Seq[*Module] {
	return func(yield func(*Module) bool) { m.visit(yield) }
}

// visit recurses as deep as the tree, which build has bounded.
func (m *Module) visit(yield func(*Module) bool) bool {
	if !yield(m) {
		return false
	}
	for _, c := range m.children {
		if !c.visit(yield) {
			return false
		}
	}
	return true
}

func (m *Module) walk(f func(*Module) error) error {
	for c := range m.All() {
		if err := f(c); err != nil {
			return err
		}
	}
	return nil
}

// tensors returns the parameters and buffers of m itself.
func (m *Module) tensors() iter.Seq2[string, *Tensor] {
	return func(yield func(string, *Tensor) bool) {
		for _, d := range []*Dict{m.parameters, m.buffers} {
			for i := range d.Len() {
				k, v := d.At(i)
				name, _ := k.(string)
				if t, ok := v.(*Tensor); ok && !yield(name, t) {
					return
				}
			}
		}
	}
}

// join names a place below another.
func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// place names a module in a message.
func (m *Module) place() string {
	if m.Path == "" {
		return "the model"
	}
	return m.Path
}

// A foreignModule is the error of a module whose class is not allowed.
type foreignModule struct{ place, class string }

func (e *foreignModule) Error() string {
	if strings.HasPrefix(e.class, "models.") {
		return fmt.Sprintf("%s is a %s: the file was written by the ultralytics/yolov5 software or one derived from it, which is another "+
			"format than Ultralytics'; export the model to ONNX with it and use that file", e.place, e.class)
	}
	return fmt.Sprintf("%s is a %s, a class that lazyolo does not know: what it computes stands in its own software, not in the file; "+
		"export the model to ONNX and use that file", e.place, e.class)
}

// build makes the tree of modules under the root.
func (c *Checkpoint) build() error {
	b := &builder{archive: c.archive, above: make(map[*Object]bool)}
	return b.fill(c.model, 0)
}

// A builder makes the tree, bounded in depth and size: a pickle can put a
// module inside itself, or twice inside each of a long chain.
type builder struct {
	archive *archive
	above   map[*Object]bool // on the way from the root
	modules int
	entries int
}

// fill reads m's state and makes everything below it.
func (b *builder) fill(m *Module, depth int) error {
	if !allowed(m.Class) && !m.object.called {
		return &foreignModule{m.place(), m.Class}
	}
	if b.modules++; b.modules > maxModules {
		return fmt.Errorf("%s: the model has more than %d modules", m.place(), maxModules)
	}
	if len(m.Path) > maxPath {
		return fmt.Errorf("the place of a module has a name of %d bytes", len(m.Path))
	}
	if depth > maxDepth {
		return fmt.Errorf("%s: modules stand inside one another more than %d deep", m.place(), maxDepth)
	}
	if b.above[m.object] {
		return fmt.Errorf("%s: the module contains itself", m.place())
	}
	b.above[m.object] = true
	defer delete(b.above, m.object)
	state, ok := m.object.State.(*Dict)
	if !ok {
		return fmt.Errorf("%s is no module: the state of its class %s is %s", m.place(), m.Class, describe(m.object.State))
	}
	m.attributes = state
	var err error
	if m.parameters, err = b.dict(m, "_parameters"); err != nil {
		return err
	}
	if m.buffers, err = b.dict(m, "_buffers"); err != nil {
		return err
	}
	if b.entries += m.attributes.Len() + m.parameters.Len() + m.buffers.Len(); b.entries > maxEntries {
		return fmt.Errorf("%s: the model has more than %d attributes and tensors", m.place(), maxEntries)
	}
	if err := b.attach(m); err != nil {
		return err
	}
	return b.children(m, depth)
}

// dict returns one of the dicts that torch keeps a module's parts in.
func (b *builder) dict(m *Module, name string) (*Dict, error) {
	switch v := m.attributes.Get(name).(type) {
	case nil:
		return nil, nil
	case *Dict:
		return v, nil
	default:
		return nil, fmt.Errorf("%s: %s is %s instead of a dict", m.place(), name, describe(v))
	}
}

// attach ties m's tensors to the archive and checks that their storages are
// there and as long as declared. Attributes that are tensors, such as stride,
// are tied too but checked when they are read.
func (b *builder) attach(m *Module) error {
	for _, d := range []*Dict{m.parameters, m.buffers} {
		for i := range d.Len() {
			k, v := d.At(i)
			name, ok := k.(string)
			if !ok {
				return fmt.Errorf("%s: the name of a parameter is %s", m.place(), describe(k))
			}
			switch t := v.(type) {
			case nil:
			case *Tensor:
				t.storage.archive = b.archive
				if _, err := b.archive.storageMember(t.storage); err != nil {
					return fmt.Errorf("%s: %w", join(m.Path, name), err)
				}
			default:
				return fmt.Errorf("%s is %s instead of a tensor", join(m.Path, name), describe(v))
			}
		}
	}
	for i := range m.attributes.Len() {
		if _, v := m.attributes.At(i); isTensor(v) {
			v.(*Tensor).storage.archive = b.archive
		}
	}
	return nil
}

// children makes the modules below m.
func (b *builder) children(m *Module, depth int) error {
	below, err := b.dict(m, "_modules")
	if err != nil {
		return err
	}
	for i := range below.Len() {
		k, v := below.At(i)
		name, ok := k.(string)
		if !ok || name == "" || strings.Contains(name, ".") || len(name) > maxName {
			return fmt.Errorf("%s: a submodule is named by %s, not by a name", m.place(), describe(k))
		}
		switch o := v.(type) {
		case nil:
		case *Object:
			c := &Module{Class: o.Class, Path: join(m.Path, name), object: o}
			if err := b.fill(c, depth+1); err != nil {
				return err
			}
			m.children = append(m.children, c)
		default:
			return fmt.Errorf("%s is %s instead of a module", join(m.Path, name), describe(v))
		}
	}
	return nil
}
