package torch

import "fmt"

// A value of a pickle is one of nil, bool, int64, float64, string, []byte,
// *big.Int (beyond int64), Tuple, *List, *Dict, *Object, *Tensor and Global.
// Values may contain themselves: whoever walks them must bound the depth.

// A Tuple is a Python tuple or torch.Size.
type Tuple []any

// A List is a Python list or set.
type List struct{ Items []any }

// A Global is a name that the pickle refers to, "module.name"; nothing stands
// behind it.
type Global string

// An Object is an instance of a class, as the pickle describes it.
type Object struct {
	Class string // "torch.nn.modules.conv.Conv2d"
	Args  Tuple  // what it was made with
	State any    // what was built onto it; for a module, the Dict of its attributes
	List  *List  // what was appended to it, for subclasses of list and set
	Dict  *Dict  // what was set in it, for subclasses of dict

	called bool // it stands for what a call would have returned
}

// A Dict is a Python dict, in its order.
type Dict struct {
	keys, values []any
	index        map[any]int // made when there are many keys
}

// manyKeys is where a map becomes worth its memory.
const manyKeys = 40

// Len returns the number of entries; 0 for a nil Dict.
func (d *Dict) Len() int {
	if d == nil {
		return 0
	}
	return len(d.keys)
}

// At returns the i-th entry.
func (d *Dict) At(i int) (key, value any) { return d.keys[i], d.values[i] }

// Get returns the value of a key of type string; nil when there is none.
func (d *Dict) Get(key string) any {
	v, _ := d.lookup(key)
	return v
}

func (d *Dict) lookup(key string) (any, bool) {
	if d == nil {
		return nil, false
	}
	if i := d.find(key); i >= 0 {
		return d.values[i], true
	}
	return nil, false
}

// find returns the place of a comparable key, or -1.
func (d *Dict) find(key any) int {
	if d.index != nil {
		if i, ok := d.index[key]; ok {
			return i
		}
		return -1
	}
	for i, k := range d.keys {
		if comparable(k) && k == key {
			return i
		}
	}
	return -1
}

// comparable reports whether a key may be compared by ==. Other hashable values
// (tuples, objects) are told apart by place: nothing here looks them up.
func comparable(k any) bool {
	switch k.(type) {
	case nil, bool, int64, float64, string, Global:
		return true
	}
	return false
}

// set adds an entry or replaces its value, and reports whether it is new.
func (d *Dict) set(key, value any) bool {
	if comparable(key) {
		if i := d.find(key); i >= 0 {
			d.values[i] = value
			return false
		}
		if d.index == nil && len(d.keys) == manyKeys {
			d.index = make(map[any]int, 2*manyKeys)
			for i, k := range d.keys {
				if comparable(k) {
					d.index[k] = i
				}
			}
		}
		if d.index != nil {
			d.index[key] = len(d.keys)
		}
	}
	d.keys, d.values = append(d.keys, key), append(d.values, value)
	return true
}

// describe names the kind of a value for a message. It never shows contents,
// which may be endless.
func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		return "a bool"
	case int64:
		return "an int"
	case float64:
		return "a float"
	case string:
		return "a str"
	case []byte:
		return "bytes"
	case Tuple:
		return "a tuple"
	case *List:
		return "a list"
	case *Dict:
		return "a dict"
	case *Tensor:
		return "a tensor"
	case *storage:
		return "a storage"
	case Global:
		return "the name " + string(v)
	case *Object:
		return "an object of class " + v.Class
	}
	return fmt.Sprintf("a %T", v)
}
