package torch

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// A member is one file of a zip archive.
type member struct {
	name           string
	method, flags  uint16
	crc            uint32
	header, offset int64 // of the local header, and of the data
	packed, size   int64
	checked        bool // the data matched crc
}

func (m *member) end() int64 { return m.offset + m.packed }

// Signatures and sizes of zip records (APPNOTE 4.3).
const (
	sigLocal, sizeLocal         = 0x04034b50, 30
	sigCentral, sizeCentral     = 0x02014b50, 46
	sigEnd, sizeEnd             = 0x06054b50, 22
	sigEnd64, sizeEnd64         = 0x06064b50, 56
	sigLocator64, sizeLocator64 = 0x07064b50, 20
)

var (
	u16 = binary.LittleEndian.Uint16
	u32 = binary.LittleEndian.Uint32
	u64 = binary.LittleEndian.Uint64
)

// parseZip lists the members of an archive. It is stricter than archive/zip,
// which bounds neither the number of entries nor what they share: members must
// have distinct, plain names and not overlap.
func parseZip(data []byte) ([]*member, error) {
	start, end, err := findDirectory(data)
	if err != nil {
		return nil, err
	}
	var members []*member
	seen := make(map[string]bool)
	for at := start; at < end; {
		m, next, err := parseEntry(data[:end], at)
		if err != nil {
			return nil, fmt.Errorf("zip directory entry %d: %w", len(members), err)
		}
		if len(members) == maxMembers {
			return nil, fmt.Errorf("the archive has more than %d members", maxMembers)
		}
		if seen[m.name] {
			return nil, fmt.Errorf("member %q stands in the archive twice", m.name)
		}
		if err := m.locate(data[:start]); err != nil {
			return nil, fmt.Errorf("member %q: %w", m.name, err)
		}
		seen[m.name] = true
		members, at = append(members, m), next
	}
	return members, disjoint(members)
}

// disjoint refuses members that share bytes: a small file could unfold to many.
func disjoint(members []*member) error {
	sorted := slices.SortedFunc(slices.Values(members), func(a, b *member) int { return cmp.Compare(a.header, b.header) })
	for i := 1; i < len(sorted); i++ {
		if sorted[i].header < sorted[i-1].end() {
			return fmt.Errorf("members %q and %q overlap", sorted[i-1].name, sorted[i].name)
		}
	}
	return nil
}

var (
	errNotZip    = errors.New("not a PyTorch checkpoint: the file is no zip archive")
	errTruncated = errors.New("the file is truncated or damaged: its zip directory is missing; copy or download it again")
)

// findDirectory returns where the central directory starts and ends.
func findDirectory(data []byte) (start, end int64, err error) {
	at := findEnd(data)
	if at < 0 {
		if bytes.HasPrefix(data, []byte("PK\x03\x04")) {
			return 0, 0, errTruncated
		}
		return 0, 0, errNotZip
	}
	b := data[at:]
	size, offset := uint64(u32(b[12:])), uint64(u32(b[16:]))
	end = int64(at)
	if l := at - sizeLocator64; l >= 0 && u32(data[l:]) == sigLocator64 {
		p := u64(data[l+8:])
		if p > uint64(l) || uint64(l)-p < sizeEnd64 || u32(data[p:]) != sigEnd64 {
			return 0, 0, errTruncated
		}
		size, offset, end = u64(data[p+40:]), u64(data[p+48:]), int64(p)
	}
	if size > uint64(end) || offset != uint64(end)-size {
		return 0, 0, errTruncated
	}
	return int64(offset), end, nil
}

// findEnd returns where the end record starts, or -1. A comment may follow it.
func findEnd(data []byte) int {
	for at := len(data) - sizeEnd; at >= 0 && at >= len(data)-sizeEnd-math.MaxUint16; at-- {
		if u32(data[at:]) == sigEnd && at+sizeEnd+int(u16(data[at+20:])) == len(data) {
			return at
		}
	}
	return -1
}

// parseEntry reads the directory entry at; data ends where the directory does.
func parseEntry(data []byte, at int64) (m *member, next int64, err error) {
	if int64(len(data))-at < sizeCentral || u32(data[at:]) != sigCentral {
		return nil, 0, errors.New("the directory is damaged")
	}
	b := data[at:]
	name, extra, comment := int64(u16(b[28:])), int64(u16(b[30:])), int64(u16(b[32:]))
	next = at + sizeCentral + name + extra + comment
	if next > int64(len(data)) {
		return nil, 0, errors.New("the directory is damaged")
	}
	m = &member{flags: u16(b[8:]), method: u16(b[10:]), crc: u32(b[16:]), name: string(b[sizeCentral : sizeCentral+name])}
	if err := checkName(m.name); err != nil {
		return nil, 0, err
	}
	sizes := []uint64{uint64(u32(b[24:])), uint64(u32(b[20:])), uint64(u32(b[42:]))} // size, packed, header
	if err := widen(sizes, b[sizeCentral+name:][:extra]); err != nil {
		return nil, 0, err
	}
	for _, v := range sizes {
		if v > math.MaxInt64/2 {
			return nil, 0, errors.New("a size or an offset is beyond any file")
		}
	}
	m.size, m.packed, m.header = int64(sizes[0]), int64(sizes[1]), int64(sizes[2])
	return m, next, nil
}

// widen replaces the sizes that stand at their maximum by the 64-bit ones of the
// zip64 extra field, in this order.
func widen(sizes []uint64, extra []byte) error {
	wide := []byte(nil)
	for len(extra) >= 4 {
		n := int(u16(extra[2:]))
		if n > len(extra)-4 {
			break // padding that is no field, as some writers leave
		}
		if u16(extra) == 1 {
			wide = extra[4:][:n]
		}
		extra = extra[4+n:]
	}
	for i, v := range sizes {
		if v != math.MaxUint32 {
			continue
		}
		if len(wide) < 8 {
			return errors.New("the 64-bit size is missing")
		}
		sizes[i], wide = u64(wide), wide[8:]
	}
	return nil
}

// checkName refuses names that would mean another place to somebody who
// unpacks. Nothing here unpacks; such a file is not honest, though.
func checkName(name string) error {
	switch {
	case name == "" || len(name) > maxName:
		return fmt.Errorf("a member name has %d bytes", len(name))
	case strings.ContainsAny(name, "\\\x00\n") || strings.HasPrefix(name, "/"):
		return fmt.Errorf("member name %q is not a plain path", name)
	case slices.Contains(strings.Split(name, "/"), ".."):
		return fmt.Errorf("member name %q leaves the archive", name)
	}
	return nil
}

// locate finds the member's data through its local header; data ends where the
// directory starts.
func (m *member) locate(data []byte) error {
	if m.header > int64(len(data))-sizeLocal || u32(data[m.header:]) != sigLocal {
		return errors.New("its header is not where the directory says; the file is truncated or damaged")
	}
	b := data[m.header:]
	name, extra := int64(u16(b[26:])), int64(u16(b[28:]))
	m.offset = m.header + sizeLocal + name + extra
	if m.offset > int64(len(data)) || m.packed > int64(len(data))-m.offset {
		return errors.New("it reaches beyond the end of the archive; the file is truncated or damaged")
	}
	if string(b[sizeLocal:sizeLocal+name]) != m.name {
		return errors.New("its header names another member")
	}
	return nil
}
