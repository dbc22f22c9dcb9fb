package torch

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
)

// An opcode is one instruction of the pickle language, under its name in
// Python's pickletools.
type opcode struct {
	name string
	do   func(*machine) error
}

// opcodes are the binary instructions of protocols 2 to 5, but for those that
// torch.save cannot produce: the text forms of protocol 0, extension codes,
// instances of old-style classes and out-of-band buffers.
var opcodes = [256]opcode{
	0x80: {"PROTO", proto}, 0x95: {"FRAME", frame}, '.': {"STOP", stop},
	'N': {"NONE", constant(nil)}, 0x88: {"NEWTRUE", constant(true)}, 0x89: {"NEWFALSE", constant(false)},
	'K': {"BININT1", unsigned(1)}, 'M': {"BININT2", unsigned(2)}, 'J': {"BININT", binInt},
	0x8a: {"LONG1", long(1)}, 0x8b: {"LONG4", long(4)}, 'G': {"BINFLOAT", binFloat},
	0x8c: {"SHORT_BINUNICODE", text(1)}, 'X': {"BINUNICODE", text(4)}, 0x8d: {"BINUNICODE8", text(8)},
	'U': {"SHORT_BINSTRING", data(1)}, 'T': {"BINSTRING", data(4)},
	'C': {"SHORT_BINBYTES", data(1)}, 'B': {"BINBYTES", data(4)}, 0x8e: {"BINBYTES8", data(8)}, 0x96: {"BYTEARRAY8", data(8)},
	')': {"EMPTY_TUPLE", tuple(0)}, 0x85: {"TUPLE1", tuple(1)}, 0x86: {"TUPLE2", tuple(2)}, 0x87: {"TUPLE3", tuple(3)},
	'(': {"MARK", mark}, 't': {"TUPLE", markedTuple}, '0': {"POP", popOne}, '1': {"POP_MARK", popToMark}, '2': {"DUP", dup},
	']': {"EMPTY_LIST", emptyList}, 0x8f: {"EMPTY_SET", emptyList}, 'l': {"LIST", markedList}, 0x91: {"FROZENSET", markedList},
	'a': {"APPEND", appendOne}, 'e': {"APPENDS", appendMarked}, 0x90: {"ADDITEMS", appendMarked},
	'}': {"EMPTY_DICT", emptyDict}, 'd': {"DICT", markedDict}, 's': {"SETITEM", setOne}, 'u': {"SETITEMS", setMarked},
	'q': {"BINPUT", put(1)}, 'r': {"LONG_BINPUT", put(4)}, 0x94: {"MEMOIZE", memoize},
	'h': {"BINGET", get(1)}, 'j': {"LONG_BINGET", get(4)},
	'c': {"GLOBAL", global}, 0x93: {"STACK_GLOBAL", stackGlobal}, 'Q': {"BINPERSID", persistent},
	'R': {"REDUCE", reduce}, 0x81: {"NEWOBJ", newObject}, 0x92: {"NEWOBJ_EX", newObjectEx}, 'b': {"BUILD", build},
}

func proto(m *machine) error {
	v, err := m.byte()
	if err == nil && (v < 2 || v > 5) {
		return fmt.Errorf("pickle protocol %d; 2 to 5 are read", v)
	}
	return err
}

func frame(m *machine) error { _, err := m.take(8); return err }

func stop(m *machine) error { m.done = true; _, err := m.top(); return err }

func constant(v any) func(*machine) error {
	return func(m *machine) error { return m.push(v, 0) }
}

func unsigned(size uint64) func(*machine) error {
	return func(m *machine) error {
		v, err := m.uint(size)
		if err != nil {
			return err
		}
		return m.push(int64(v), 8)
	}
}

func binInt(m *machine) error {
	v, err := m.uint(4)
	if err != nil {
		return err
	}
	return m.push(int64(int32(v)), 8)
}

// long reads a two's complement number of any length.
func long(size uint64) func(*machine) error {
	return func(m *machine) error {
		b, err := m.counted(size)
		if err != nil {
			return err
		}
		if len(b) > maxName {
			return fmt.Errorf("an int has %d bytes", len(b))
		}
		big := bigInt(b)
		if big.IsInt64() {
			return m.push(big.Int64(), 8)
		}
		return m.push(big, 64+len(b))
	}
}

func bigInt(b []byte) *big.Int {
	b = slices.Clone(b)
	slices.Reverse(b)
	v := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0] >= 0x80 {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return v
}

func binFloat(m *machine) error {
	b, err := m.take(8)
	if err != nil {
		return err
	}
	var v uint64
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	return m.push(math.Float64frombits(v), 8)
}

// text reads a string. Python lets lone surrogates through, which are not
// UTF-8; the bytes are kept as they are.
func text(size uint64) func(*machine) error {
	return func(m *machine) error {
		b, err := m.counted(size)
		if err != nil {
			return err
		}
		if err := m.charge(len(b)); err != nil {
			return err
		}
		return m.push(string(b), 16)
	}
}

func data(size uint64) func(*machine) error {
	return func(m *machine) error {
		b, err := m.counted(size)
		if err != nil {
			return err
		}
		if err := m.charge(len(b)); err != nil {
			return err
		}
		return m.push(slices.Clone(b), 24)
	}
}

func tuple(n int) func(*machine) error {
	return func(m *machine) error {
		items, err := m.popN(n)
		if err != nil {
			return err
		}
		return m.push(items, 24)
	}
}

func mark(m *machine) error {
	if len(m.marks) == maxStack {
		return fmt.Errorf("more than %d marks are open: no checkpoint needs that", maxStack)
	}
	m.marks = append(m.marks, len(m.stack))
	return nil
}

func markedTuple(m *machine) error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	return m.push(items, 24)
}

// popOne removes the top value, or the mark that stands there.
func popOne(m *machine) error {
	if n := len(m.marks); n > 0 && m.marks[n-1] == len(m.stack) {
		m.marks = m.marks[:n-1]
		return nil
	}
	_, err := m.pop()
	return err
}

func popToMark(m *machine) error { _, err := m.popMark(); return err }

func dup(m *machine) error {
	v, err := m.top()
	if err != nil {
		return err
	}
	return m.push(v, 0)
}

func emptyList(m *machine) error { return m.push(&List{}, 24) }

func markedList(m *machine) error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	return m.push(&List{Items: items}, 24)
}

func appendOne(m *machine) error {
	items, err := m.popN(1)
	if err != nil {
		return err
	}
	return m.extend(items)
}

func appendMarked(m *machine) error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	return m.extend(items)
}

// extend appends to the list on the stack.
func (m *machine) extend(items Tuple) error {
	v, err := m.top()
	if err != nil {
		return err
	}
	var l *List
	switch v := v.(type) {
	case *List:
		l = v
	case *Object:
		if v.List == nil {
			v.List = &List{}
		}
		l = v.List
	default:
		return fmt.Errorf("%s is no list", describe(v))
	}
	l.Items = append(l.Items, items...)
	return m.charge(32 * len(items)) // append may leave as much again unused
}

func emptyDict(m *machine) error { return m.push(&Dict{}, 80) }

func markedDict(m *machine) error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	if err := m.push(&Dict{}, 80); err != nil {
		return err
	}
	return m.update(items)
}

func setOne(m *machine) error {
	items, err := m.popN(2)
	if err != nil {
		return err
	}
	return m.update(items)
}

func setMarked(m *machine) error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	return m.update(items)
}

// update sets entries of the dict on the stack: keys and values in turn.
func (m *machine) update(items Tuple) error {
	if len(items)%2 != 0 {
		return errors.New("a key has no value")
	}
	v, err := m.top()
	if err != nil {
		return err
	}
	var d *Dict
	switch v := v.(type) {
	case *Dict:
		d = v
	case *Object:
		if v.Dict == nil {
			v.Dict = &Dict{}
		}
		d = v.Dict
	default:
		return fmt.Errorf("%s is no dict", describe(v))
	}
	for i := 0; i < len(items); i += 2 {
		if err := checkKey(items[i]); err != nil {
			return err
		}
		if !d.set(items[i], items[i+1]) {
			continue
		}
		cost := 64 // two slots of 16 bytes, and as much unused
		if d.index != nil {
			cost += 64
		}
		if err := m.charge(cost); err != nil {
			return err
		}
	}
	return nil
}

// checkKey refuses what Python could not have hashed, and what would be slow to find.
func checkKey(k any) error {
	switch k := k.(type) {
	case string:
		if len(k) > maxName {
			return fmt.Errorf("a key has %d bytes", len(k))
		}
	case *List, *Dict, *Tensor, *storage:
		return fmt.Errorf("%s cannot be a key", describe(k))
	}
	return nil
}

func put(size uint64) func(*machine) error {
	return func(m *machine) error {
		at, err := m.uint(size)
		if err != nil {
			return err
		}
		return m.remember(uint32(at))
	}
}

func memoize(m *machine) error {
	if len(m.sparse) > 0 {
		return errors.New("it follows numbered memo entries with gaps")
	}
	return m.remember(uint32(len(m.memo)))
}

func get(size uint64) func(*machine) error {
	return func(m *machine) error {
		at, err := m.uint(size)
		if err != nil {
			return err
		}
		return m.recall(uint32(at))
	}
}
