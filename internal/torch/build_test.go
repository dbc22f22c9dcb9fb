package torch

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"
)

// Pieces of pickles, to be joined. They are written by hand so that what they
// say can be wrong.

func cat(parts ...string) string {
	var b bytes.Buffer
	for _, p := range parts {
		b.WriteString(p)
	}
	return b.String()
}

func str(s string) string {
	return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s
}

func num(n int64) string {
	return "\x8a\x08" + string(binary.LittleEndian.AppendUint64(nil, uint64(n)))
}

func glob(module, name string) string { return "c" + module + "\n" + name + "\n" }

func tup(items ...string) string { return "(" + cat(items...) + "t" }

func list(items ...string) string { return "](" + cat(items...) + "e" }

func dict(items ...string) string { return "}(" + cat(items...) + "u" }

func object(module, class, state string) string {
	return glob(module, class) + ")\x81" + state + "b"
}

func call(module, name string, args ...string) string { return glob(module, name) + tup(args...) + "R" }

func pickle(value string) string { return "\x80\x02" + value + "." }

func storageOf(kind, key string, n int64) string {
	return tup(str("storage"), glob("torch", kind), str(key), str("cpu"), num(n)) + "Q"
}

func tensorOf(storage string, offset int64, shape, stride []int64) string {
	var dims, steps []string
	for i := range shape {
		dims, steps = append(dims, num(shape[i])), append(steps, num(stride[i]))
	}
	return call("torch._utils", "_rebuild_tensor_v2", storage, num(offset), tup(dims...), tup(steps...), "\x89", "}")
}

// module is a pickled module with parameters and children: names and values in turn.
func moduleOf(module, class string, parameters, children []string) string {
	return object(module, class, dict(str("_parameters"), dict(parameters...), str("_modules"), dict(children...)))
}

// checkpoint is a checkpoint whose model is a Sequential of one Conv2d with weight.
func checkpoint(weight string) string {
	conv := moduleOf("torch.nn.modules.conv", "Conv2d", []string{str("weight"), weight}, nil)
	seq := moduleOf("torch.nn.modules.container", "Sequential", nil, []string{str("0"), conv})
	return pickle(dict(str("ema"), "N", str("model"), moduleOf("ultralytics.nn.tasks", "DetectionModel", nil, []string{str("model"), seq})))
}

// An entry is a member of an archive under test.
type entry struct {
	name, data string
	method     uint16
}

// pack makes an archive.
func pack(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, e := range entries {
		f, err := w.CreateHeader(&zip.FileHeader{Name: e.name, Method: e.method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(e.data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// archiveOf is a checkpoint archive with one storage.
func archiveOf(t testing.TB, pickle, storage string) []byte {
	return pack(t, entry{"best/data.pkl", pickle, zip.Store}, entry{"best/byteorder", "little", zip.Store}, entry{"best/data/0", storage, zip.Store})
}

// A raw member is written without archive/zip, which would not write it.
type rawMember struct {
	name, local string // local: the name in the local header; "": the same
	data        string
	flags       uint16
	method      uint16
	offset      int // of the local header; 0: where it is
}

// rawZip makes an archive out of members as they are.
func rawZip(members ...rawMember) []byte {
	var b, directory []byte
	le := binary.LittleEndian
	for _, m := range members {
		at := len(b)
		if m.offset != 0 {
			at = m.offset
		}
		local := m.local
		if local == "" {
			local = m.name
		}
		crc := crc32.ChecksumIEEE([]byte(m.data))
		head := func(dst []byte, name string) []byte {
			dst = le.AppendUint16(le.AppendUint16(le.AppendUint16(dst, 20), m.flags), m.method)
			dst = le.AppendUint32(le.AppendUint32(dst, 0), crc)
			dst = le.AppendUint32(le.AppendUint32(dst, uint32(len(m.data))), uint32(len(m.data)))
			return le.AppendUint16(le.AppendUint16(dst, uint16(len(name))), 0)
		}
		directory = le.AppendUint16(le.AppendUint32(directory, sigCentral), 20)
		directory = head(directory, m.name)
		directory = append(directory, make([]byte, 10)...)
		directory = append(le.AppendUint32(directory, uint32(at)), m.name...)
		b = append(append(head(le.AppendUint32(b, sigLocal), local), local...), m.data...)
	}
	end := le.AppendUint32(nil, sigEnd)
	end = append(end, make([]byte, 4)...)
	end = le.AppendUint16(le.AppendUint16(end, uint16(len(members))), uint16(len(members)))
	end = le.AppendUint32(le.AppendUint32(end, uint32(len(directory))), uint32(len(b)))
	end = le.AppendUint16(end, 0)
	return append(append(b, directory...), end...)
}
