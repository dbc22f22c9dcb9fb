package convert

import (
	"math"

	"lazyolo/internal/torch"
)

// The attributes of modules: each is read with its type checked and with the
// value it has when a release did not have it yet.

// most bounds the ints that attributes may hold.
const most = 1 << 20

func (b *builder) int64At(m *torch.Module, name string, missing int64) int64 {
	v, ok := m.Value(name)
	if !ok {
		return missing
	}
	n, ok := v.(int64)
	if !ok || n < -most || n > most {
		b.fail(m, "its attribute %s is not an int below %d", name, most)
		return missing
	}
	return n
}

// positive is an int of at least 1.
func (b *builder) positive(m *torch.Module, name string, missing int64) int64 {
	n := b.int64At(m, name, missing)
	if n < 1 {
		b.fail(m, "its attribute %s is %d", name, n)
		return 1
	}
	return n
}

func (b *builder) boolAt(m *torch.Module, name string, missing bool) bool {
	switch v, ok := m.Value(name); v := v.(type) {
	case bool:
		return v
	case int64:
		return v != 0
	case nil:
		if !ok {
			return missing
		}
		return false
	}
	b.fail(m, "its attribute %s is not a bool", name)
	return missing
}

func (b *builder) floatAt(m *torch.Module, name string, missing float64) float64 {
	v, ok := m.Value(name)
	if !ok {
		return missing
	}
	f, ok := number(v)
	if !ok {
		b.fail(m, "its attribute %s is not a number", name)
		return missing
	}
	return f
}

// number reads an int or a float.
func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, !math.IsNaN(v) && !math.IsInf(v, 0)
	}
	return 0, false
}

// items reads a tuple or a list.
func items(v any) ([]any, bool) {
	switch v := v.(type) {
	case torch.Tuple:
		return v, true
	case *torch.List:
		return v.Items, true
	}
	return nil, false
}

// intsAt reads a tuple or list of ints; nil when there is none.
func (b *builder) intsAt(m *torch.Module, name string) []int64 {
	v, ok := m.Value(name)
	if !ok || v == nil {
		return nil
	}
	list, ok := items(v)
	if !ok || len(list) > maxList {
		b.fail(m, "its attribute %s is not a list of at most %d ints", name, maxList)
		return nil
	}
	out := make([]int64, len(list))
	for i, item := range list {
		n, isInt := item.(int64)
		if ok = ok && isInt && n >= -most && n <= most; !ok {
			break
		}
		out[i] = n
	}
	if !ok {
		b.fail(m, "its attribute %s is not a list of ints", name)
		return nil
	}
	return out
}

// pair reads an int, which stands for two, or two ints, each at least low.
func (b *builder) pair(m *torch.Module, name string, missing, low int64) []int64 {
	out := []int64{missing, missing}
	v, _ := m.Value(name)
	switch v := v.(type) {
	case nil:
		return out
	case int64:
		out[0], out[1] = v, v
	default:
		list := b.intsAt(m, name)
		if len(list) != 2 {
			b.fail(m, "its attribute %s is not two ints", name)
			return out
		}
		copy(out, list)
	}
	for _, n := range out {
		if n < low || n > most {
			b.fail(m, "its attribute %s is %v", name, out)
			return []int64{missing, missing}
		}
	}
	return out
}

// child returns a submodule that must be there; after a failure one without
// anything in it.
func (b *builder) child(m *torch.Module, name string) *torch.Module {
	if c := m.Child(name); c != nil {
		return c
	}
	b.fail(m, "it has no submodule %s", name)
	return new(torch.Module)
}

// children returns the submodules of a list that must be there and have n.
func (b *builder) children(m *torch.Module, name string, n int) []*torch.Module {
	list := b.child(m, name).Children()
	if len(list) != n {
		b.fail(m, "its list %s has %d modules, not %d", name, len(list), n)
		for len(list) < n {
			list = append(list[:len(list):len(list)], new(torch.Module))
		}
	}
	return list[:n]
}

// tensor returns a parameter or buffer that must be there with this rank.
func (b *builder) tensor(m *torch.Module, name string, rank int) *torch.Tensor {
	t := m.Tensor(name)
	switch {
	case t == nil:
		b.fail(m, "it has no tensor %s", name)
	case t.Rank() != rank || t.Elements() == 0:
		b.fail(m, "its tensor %s has shape %v; %d dimensions are expected", name, t.Shape(), rank)
	default:
		return t
	}
	return nil
}

// vector reads a small tensor of n elements, or nil when there is none.
func (b *builder) vector(m *torch.Module, name string, n int64) []float64 {
	t := m.Tensor(name)
	if t == nil {
		return nil
	}
	if t.Rank() != 1 || t.Dim(0) != n {
		b.fail(m, "its tensor %s has shape %v, not [%d]", name, t.Shape(), n)
		return nil
	}
	return b.read(m, name, t)
}

func (b *builder) read(m *torch.Module, name string, t *torch.Tensor) []float64 {
	f, err := t.Floats()
	if err != nil {
		b.fail(m, "its tensor %s: %v", name, err)
		return nil
	}
	out := make([]float64, len(f))
	for i, v := range f {
		out[i] = float64(v)
	}
	return out
}

// width returns the channels that a module gives, from its weights; 0 when they
// do not tell.
func width(m *torch.Module) int64 {
	for range maxWidthDepth {
		if w := m.Tensor("weight"); w != nil && w.Rank() == 4 {
			if m.Kind() == "ConvTranspose2d" {
				return 0
			}
			return w.Dim(0)
		}
		if c := m.Child("conv"); c != nil {
			m = c
			continue
		}
		below := m.Children()
		if len(below) == 0 || m.Kind() != "Sequential" {
			return 0
		}
		m = below[len(below)-1]
	}
	return 0
}

// maxWidthDepth bounds the search of width; real heads are three deep.
const maxWidthDepth = 8

// wide returns the channels that a module gives, which must be told.
func (b *builder) wide(m *torch.Module) int64 {
	n := width(m)
	if n == 0 {
		b.fail(m, "its number of channels cannot be told from its weights")
		return 1
	}
	return n
}
