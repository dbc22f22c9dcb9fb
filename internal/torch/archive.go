package torch

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

// An archive is the zip container of a checkpoint.
type archive struct {
	data     []byte
	members  map[string]*member
	root     string // the folder all is in, with its slash
	inflated int64  // bytes so far; a storage is inflated anew for each tensor in it
}

// legacyMagic starts files of torch before 1.6: a pickle of a magic number.
const legacyMagic = "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e"

func openArchive(data []byte) (*archive, error) {
	list, err := parseZip(data)
	if errors.Is(err, errNotZip) {
		return nil, notZip(data)
	}
	if err != nil {
		return nil, err
	}
	a := &archive{data: data, members: make(map[string]*member, len(list))}
	var roots []string
	for _, m := range list {
		a.members[m.name] = m
		if root, ok := strings.CutSuffix(m.name, "data.pkl"); ok && strings.Count(root, "/") == 1 && strings.HasSuffix(root, "/") {
			roots = append(roots, root)
		}
	}
	for _, m := range list {
		if strings.HasSuffix(m.name, "/constants.pkl") || strings.Contains(m.name, "/code/") {
			return nil, fmt.Errorf("a TorchScript archive (it has %s): it is a program, not a checkpoint; %s", m.name, remedy)
		}
	}
	switch len(roots) {
	case 0:
		return nil, errors.New("not a PyTorch checkpoint: the zip archive has no <folder>/data.pkl")
	case 1:
		a.root = roots[0]
		return a, a.checkByteOrder()
	}
	return nil, fmt.Errorf("the archive has %d members named data.pkl (%s, %s): which is meant cannot be told", len(roots), roots[0], roots[1])
}

// notZip says what the file is instead, when that can be told.
func notZip(data []byte) error {
	const resave = "save it again with a newer torch (torch.save writes the zip format since 1.6), or export the model to ONNX"
	switch {
	case len(data) == 0:
		return errors.New("the file is empty")
	case len(data) > 2 && data[0] == 0x80 && bytes.HasPrefix(data[2:], []byte(legacyMagic)):
		return errors.New("written in the format of torch before 1.6, which is no zip archive; " + resave)
	case len(data) > 262 && string(data[257:262]) == "ustar":
		return errors.New("written in the tar format of the first torch releases; " + resave)
	}
	return errNotZip
}

// checkByteOrder refuses big-endian files; releases before 2.1 do not tell and
// are little-endian.
func (a *archive) checkByteOrder() error {
	m := a.members[a.root+"byteorder"]
	if m == nil {
		return nil
	}
	if m.size > 16 {
		return fmt.Errorf("member %q has %d bytes", m.name, m.size)
	}
	b, err := a.bytes(m, m.size)
	if err != nil {
		return err
	}
	if order := strings.TrimSpace(string(b)); order != "little" {
		return fmt.Errorf("its byte order is %q; only little-endian files are read", order)
	}
	return nil
}

// pickle returns data.pkl and how much memory it takes beside the file.
func (a *archive) pickle() (b []byte, held int64, err error) {
	m := a.members[a.root+"data.pkl"]
	if m.size > maxPickle {
		return nil, 0, fmt.Errorf("member %q has %d bytes, more than %d: no checkpoint needs that", m.name, m.size, maxPickle)
	}
	if b, err = a.bytes(m, maxPickle); err == nil && m.method != 0 {
		held = m.size
	}
	return b, held, err
}

// bytes returns a member's data, checked against its checksum; a stored one
// without a copy. A deflated one may not have more than most bytes.
func (a *archive) bytes(m *member, most int64) ([]byte, error) {
	packed := a.data[m.offset:m.end()]
	b := packed
	switch {
	case m.flags&1 != 0:
		return nil, fmt.Errorf("member %q is encrypted", m.name)
	case m.method == 0 && m.packed != m.size:
		return nil, fmt.Errorf("member %q is stored with two sizes, %d and %d", m.name, m.packed, m.size)
	case m.method == 8 && m.size > most:
		return nil, fmt.Errorf("member %q would inflate from %d to %d bytes", m.name, m.packed, m.size)
	case m.method == 8 && a.inflated+m.size > maxInflated+16*int64(len(a.data)):
		return nil, errors.New("the archive would have to be inflated again and again")
	case m.method == 8:
		a.inflated += m.size
		var err error
		if b, err = inflate(packed, m.size); err != nil {
			return nil, fmt.Errorf("member %q: %w", m.name, err)
		}
	case m.method != 0:
		return nil, fmt.Errorf("member %q is compressed by method %d; stored and deflated members are read", m.name, m.method)
	}
	if !m.checked {
		if crc32.ChecksumIEEE(b) != m.crc {
			return nil, fmt.Errorf("member %q is damaged: its checksum (CRC-32) does not match; copy or download the file again", m.name)
		}
		m.checked = true
	}
	return b, nil
}

// inflate unpacks exactly size bytes.
func inflate(packed []byte, size int64) ([]byte, error) {
	b := make([]byte, size)
	r := flate.NewReader(bytes.NewReader(packed))
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("inflate: it is shorter than the archive says, or damaged: %w", err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		return nil, errors.New("inflate: it is longer than the archive says, or damaged")
	}
	return b, nil
}

// storage returns the raw elements of a storage.
func (a *archive) storage(s *storage) ([]byte, error) {
	m, err := a.storageMember(s)
	if err != nil {
		return nil, err
	}
	return a.bytes(m, max(freeInflation, maxInflation*m.packed))
}

// storageMember finds a storage's member and checks its size, reading nothing.
func (a *archive) storageMember(s *storage) (*member, error) {
	name := a.root + "data/" + s.key
	m := a.members[name]
	if m == nil {
		return nil, fmt.Errorf("storage %q: the archive has no member %q", s.key, name)
	}
	if want := s.elements * int64(s.dtype.Size()); m.size != want {
		return nil, fmt.Errorf("storage %q: %d elements of %s take %d bytes, member %q has %d", s.key, s.elements, s.dtype, want, name, m.size)
	}
	return m, nil
}
