package torch

import (
	"errors"
	"fmt"
	"strings"
)

// A DType is the element type of a tensor.
type DType uint8

// The element types a checkpoint may have.
const (
	Float16 DType = iota + 1
	BFloat16
	Float32
	Float64
	Int64
	Int32
	Int16
	Int8
	Uint8
	Bool
)

// dtypeInfo is indexed by DType.
var dtypeInfo = [...]struct {
	name string
	size int
}{{"no type", 0}, {"float16", 2}, {"bfloat16", 2}, {"float32", 4}, {"float64", 8},
	{"int64", 8}, {"int32", 4}, {"int16", 2}, {"int8", 1}, {"uint8", 1}, {"bool", 1}}

// Size returns the bytes of one element.
func (d DType) Size() int { return dtypeInfo[d].size }

// String returns the type's name in torch.
func (d DType) String() string { return dtypeInfo[d].name }

// storageTypes maps the classes of torch that stand for a storage.
var storageTypes = map[string]DType{
	"HalfStorage": Float16, "BFloat16Storage": BFloat16, "FloatStorage": Float32, "DoubleStorage": Float64,
	"LongStorage": Int64, "IntStorage": Int32, "ShortStorage": Int16, "CharStorage": Int8, "ByteStorage": Uint8, "BoolStorage": Bool,
}

// A storage is a run of elements in the archive; tensors are views of one.
type storage struct {
	dtype    DType
	key      string // the member's number
	elements int64
	archive  *archive // set when the tensor's place in the model is known
}

// persistent reads a reference to a storage:
// ('storage', torch.<Type>Storage, key, location, elements).
func persistent(m *machine) error {
	v, err := m.pop()
	if err != nil {
		return err
	}
	id, ok := v.(Tuple)
	if !ok || len(id) != 5 || id[0] != any("storage") {
		return errors.New("a persistent id that is no storage")
	}
	class, ok1 := id[1].(Global)
	key, ok2 := id[2].(string)
	elements, ok3 := id[4].(int64)
	if !ok1 || !ok2 || !ok3 {
		return errors.New("a storage that is not described by its type, key and size")
	}
	dtype := storageTypes[strings.TrimPrefix(string(class), "torch.")]
	switch {
	case dtype == 0 || !strings.HasPrefix(string(class), "torch."):
		return fmt.Errorf("storage type %s is not supported", class)
	case key == "" || len(key) > 20 || strings.Trim(key, "0123456789") != "":
		return fmt.Errorf("storage key %q is not a number", truncate(key))
	case elements < 0 || elements > maxElements:
		return fmt.Errorf("storage %q: %d elements are declared, more than the %d that are read", key, elements, int64(maxElements))
	}
	s := m.storages[key]
	if s == nil {
		s = &storage{dtype: dtype, key: key, elements: elements}
		m.storages[key] = s
		if err := m.charge(160); err != nil {
			return err
		}
	}
	if s.dtype != dtype || s.elements != elements {
		return fmt.Errorf("storage %q is declared as %d of %s and as %d of %s", key, s.elements, s.dtype, elements, dtype)
	}
	return m.push(s, 0)
}

// truncate keeps a message short.
func truncate(s string) string {
	if len(s) > 64 {
		return s[:64] + "..."
	}
	return s
}
