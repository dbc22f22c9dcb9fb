package torch

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// A Tensor is a view of a storage: elements at an offset and strides. It is
// immutable.
type Tensor struct {
	storage *storage
	offset  int64
	shape   []int64
	stride  []int64
}

// newTensor reads the arguments of _rebuild_tensor_v2:
// (storage, offset, shape, strides, requires_grad, hooks, ...).
func newTensor(args Tuple) (*Tensor, error) {
	if len(args) < 4 {
		return nil, fmt.Errorf("a tensor of %d arguments", len(args))
	}
	s, ok := args[0].(*storage)
	if !ok {
		return nil, fmt.Errorf("a tensor of %s instead of a storage", describe(args[0]))
	}
	t := &Tensor{storage: s}
	var ok1, ok2, ok3 bool
	t.offset, ok1 = args[1].(int64)
	t.shape, ok2 = ints(args[2])
	t.stride, ok3 = ints(args[3])
	if !ok1 || !ok2 || !ok3 || len(t.shape) != len(t.stride) {
		return nil, fmt.Errorf("a tensor of storage %q whose shape and strides are not the same number of ints", s.key)
	}
	if err := t.check(); err != nil {
		return nil, fmt.Errorf("a tensor of storage %q: %w", s.key, err)
	}
	return t, nil
}

func ints(v any) ([]int64, bool) {
	items, ok := v.(Tuple)
	if !ok || len(items) > maxRank {
		return nil, false
	}
	out := make([]int64, len(items))
	for i, item := range items {
		if out[i], ok = item.(int64); !ok {
			return nil, false
		}
	}
	return out, true
}

// check refuses views that leave their storage or show an element twice, which
// would let a small file stand for any number of elements.
func (t *Tensor) check() error {
	elements, last := int64(1), t.offset
	if t.offset < 0 || t.offset > t.storage.elements {
		return fmt.Errorf("its offset %d lies outside the storage's %d elements", t.offset, t.storage.elements)
	}
	for i, n := range t.shape {
		if n < 0 || t.stride[i] < 0 || n > maxElements || t.stride[i] > maxElements {
			return fmt.Errorf("its shape %v or strides %v are negative or beyond %d", t.shape, t.stride, int64(maxElements))
		}
		if elements *= n; elements > maxElements {
			return fmt.Errorf("its shape %v is beyond %d elements", t.shape, int64(maxElements))
		}
		last += (n - 1) * t.stride[i] // at most 2^61 and 2^62: no overflow
		if last > math.MaxInt64/4 {
			return fmt.Errorf("its shape %v with strides %v lies outside its storage", t.shape, t.stride)
		}
	}
	if elements == 0 {
		return nil
	}
	if last >= t.storage.elements {
		return fmt.Errorf("its shape %v with strides %v reaches element %d of a storage of %d", t.shape, t.stride, last, t.storage.elements)
	}
	if elements > t.storage.elements {
		return fmt.Errorf("its shape %v has more elements than its storage's %d", t.shape, t.storage.elements)
	}
	return nil
}

// DType returns the element type.
func (t *Tensor) DType() DType { return t.storage.dtype }

// Shape returns the dimensions.
func (t *Tensor) Shape() []int64 { return slices.Clone(t.shape) }

// Rank returns the number of dimensions.
func (t *Tensor) Rank() int { return len(t.shape) }

// Dim returns the i-th dimension; 0 when there is none.
func (t *Tensor) Dim(i int) int64 {
	if i < 0 || i >= len(t.shape) {
		return 0
	}
	return t.shape[i]
}

// Elements returns the number of elements.
func (t *Tensor) Elements() int64 {
	n := int64(1)
	for _, d := range t.shape {
		n *= d
	}
	return n
}

// StorageBytes returns the bytes in the file that the tensor is a view of.
func (t *Tensor) StorageBytes() int64 { return t.storage.elements * int64(t.DType().Size()) }

// Transpose returns the view of a matrix with its dimensions exchanged.
func (t *Tensor) Transpose() (*Tensor, error) {
	if t.Rank() != 2 {
		return nil, fmt.Errorf("shape %v is no matrix", t.shape)
	}
	return &Tensor{t.storage, t.offset, []int64{t.shape[1], t.shape[0]}, []int64{t.stride[1], t.stride[0]}}, nil
}

// Rows returns the view of n entries of the first dimension, the first at from.
func (t *Tensor) Rows(from, n int64) (*Tensor, error) {
	if t.Rank() == 0 || from < 0 || n < 0 || from > t.shape[0]-n {
		return nil, fmt.Errorf("shape %v has no rows %d to %d", t.shape, from, from+n)
	}
	v := &Tensor{t.storage, t.offset + from*t.stride[0], slices.Clone(t.shape), t.stride}
	v.shape[0] = n
	return v, nil
}

var errDetached = errors.New("the tensor belongs to no parameter of the model")

// Values opens the tensor's elements, checking their bytes in the file.
func (t *Tensor) Values() (*Values, error) {
	if t.storage.archive == nil {
		return nil, errDetached
	}
	raw, err := t.storage.archive.storage(t.storage)
	if err != nil {
		return nil, err
	}
	v := &Values{tensor: t, raw: raw, dense: true}
	want := int64(1)
	for i := len(t.shape) - 1; i >= 0; i-- {
		v.dense = v.dense && (t.stride[i] == want || t.shape[i] == 1)
		want *= t.shape[i]
	}
	return v, nil
}

// Floats returns all elements.
func (t *Tensor) Floats() ([]float32, error) {
	v, err := t.Values()
	if err != nil {
		return nil, err
	}
	out := make([]float32, t.Elements())
	return out, v.Read(out, 0)
}
