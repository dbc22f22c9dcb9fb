package torch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// A machine runs a pickle. It is a stack machine with a memo, as Python's; what
// differs is that nothing is looked up and nothing is called.
type machine struct {
	data     []byte
	pos      int
	stack    []any
	marks    []int // heights of the stack at each open MARK
	memo     []any // numbered from 0 without gaps, as all writers do
	sparse   map[uint32]any
	storages map[string]*storage
	foreign  []string // globals that are not allowed, in order, the first few
	left     int64    // bytes of values that may still be built
	steps    int      // opcodes done, and items where one opcode handles many
	done     bool
}

func newMachine(pickle []byte, memory int64) *machine {
	return &machine{data: pickle, left: memory, storages: make(map[string]*storage)}
}

// run returns the value that the pickle builds.
func (m *machine) run() (any, error) {
	for !m.done {
		if err := m.step(1); err != nil {
			return nil, err
		}
		at := m.pos
		code, err := m.byte()
		if err != nil {
			return nil, fmt.Errorf("the pickle ends at byte %d without STOP", at)
		}
		op := opcodes[code]
		if op.do == nil {
			return nil, fmt.Errorf("byte %d: opcode %#02x is not one that torch.save writes", at, code)
		}
		if err := op.do(m); err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				err = errors.New("the pickle ends inside it")
			}
			return nil, fmt.Errorf("byte %d, %s: %w", at, op.name, err)
		}
	}
	return m.pop()
}

// step counts n steps of work.
func (m *machine) step(n int) error {
	if m.steps += n; m.steps > maxOps {
		return fmt.Errorf("the pickle has more than %d opcodes: no checkpoint needs that", maxOps)
	}
	return nil
}

// charge counts n bytes of values.
func (m *machine) charge(n int) error {
	m.left -= int64(n)
	if m.left < 0 {
		return fmt.Errorf("the pickle builds more than %d bytes of values: no checkpoint needs that", maxObjects)
	}
	return nil
}

func (m *machine) byte() (byte, error) {
	b, err := m.take(1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

// take reads n bytes without a copy.
func (m *machine) take(n uint64) ([]byte, error) {
	if n > uint64(len(m.data)-m.pos) {
		return nil, io.ErrUnexpectedEOF
	}
	b := m.data[m.pos:][:n]
	m.pos += int(n)
	return b, nil
}

// counted reads a length of size bytes and as many bytes as it says.
func (m *machine) counted(size uint64) ([]byte, error) {
	n, err := m.uint(size)
	if err != nil {
		return nil, err
	}
	if n > uint64(len(m.data)-m.pos) {
		return nil, fmt.Errorf("a length of %d bytes reaches beyond the end", n)
	}
	return m.take(n)
}

// uint reads a little-endian number of size bytes, at most 8.
func (m *machine) uint(size uint64) (uint64, error) {
	b, err := m.take(size)
	if err != nil {
		return 0, err
	}
	var wide [8]byte
	copy(wide[:], b)
	return u64(wide[:]), nil
}

// line reads up to a newline.
func (m *machine) line() (string, error) {
	n := bytes.IndexByte(m.data[m.pos:], '\n')
	if n < 0 {
		return "", io.ErrUnexpectedEOF
	}
	if n > maxName {
		return "", fmt.Errorf("a name has %d bytes", n)
	}
	b, err := m.take(uint64(n) + 1)
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}

// push puts v on the stack, for which cost bytes were allocated.
func (m *machine) push(v any, cost int) error {
	if err := m.charge(cost); err != nil {
		return err
	}
	if len(m.stack) == maxStack {
		return fmt.Errorf("the stack has more than %d values: no checkpoint needs that", maxStack)
	}
	m.stack = append(m.stack, v)
	return nil
}

// floor is the height below which the stack belongs to an outer MARK.
func (m *machine) floor() int {
	if n := len(m.marks); n > 0 {
		return m.marks[n-1]
	}
	return 0
}

var errUnderflow = errors.New("the stack has too few values")

func (m *machine) top() (any, error) {
	if len(m.stack) <= m.floor() {
		return nil, errUnderflow
	}
	return m.stack[len(m.stack)-1], nil
}

func (m *machine) pop() (any, error) {
	v, err := m.top()
	if err == nil {
		m.stack = m.stack[:len(m.stack)-1]
	}
	return v, err
}

// popN removes the top n values and returns a copy of them.
func (m *machine) popN(n int) (Tuple, error) {
	if len(m.stack)-m.floor() < n {
		return nil, errUnderflow
	}
	at := len(m.stack) - n
	items := append(Tuple(nil), m.stack[at:]...)
	m.stack = m.stack[:at]
	return items, m.charge(16 * n)
}

// popMark removes the values above the last MARK and the mark.
func (m *machine) popMark() (Tuple, error) {
	if len(m.marks) == 0 {
		return nil, errors.New("there is no open MARK")
	}
	items, err := m.popN(len(m.stack) - m.floor())
	m.marks = m.marks[:len(m.marks)-1]
	return items, err
}

// remember puts the top value into the memo.
func (m *machine) remember(at uint32) error {
	v, err := m.top()
	if err != nil {
		return err
	}
	if len(m.memo)+len(m.sparse) > maxMemo {
		return fmt.Errorf("the memo has more than %d values: no checkpoint needs that", maxMemo)
	}
	switch n := uint64(len(m.memo)); {
	case uint64(at) < n:
		m.memo[at] = v
		return nil
	case uint64(at) == n:
		m.memo = append(m.memo, v)
		return nil // maxMemo bounds it
	}
	if m.sparse == nil {
		m.sparse = make(map[uint32]any)
	}
	m.sparse[at] = v
	return m.charge(64)
}

// recall pushes a value of the memo.
func (m *machine) recall(at uint32) error {
	if uint64(at) < uint64(len(m.memo)) {
		return m.push(m.memo[at], 0)
	}
	if v, ok := m.sparse[at]; ok {
		return m.push(v, 0)
	}
	return fmt.Errorf("value %d of the memo was never set", at)
}
