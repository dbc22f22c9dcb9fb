package convert_test

import (
	"archive/zip"
	"bytes"
	"hash/crc32"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"lazyolo/internal/convert"
	"lazyolo/internal/torch"
)

// FuzzConvert changes the pickles of our own checkpoints, keeping the storages,
// and converts what can still be read.
func FuzzConvert(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.pt"))
	if err != nil {
		f.Fatal(err)
	}
	var storages []map[string][]byte
	for _, name := range files {
		r, err := zip.OpenReader(name)
		if err != nil {
			f.Fatal(err)
		}
		members := make(map[string][]byte)
		for _, m := range r.File {
			in, err := m.Open()
			if err != nil {
				f.Fatal(err)
			}
			b, err := io.ReadAll(in)
			if err != nil {
				f.Fatal(err)
			}
			if strings.HasSuffix(m.Name, "data.pkl") {
				f.Add(uint8(len(storages)), b)
				continue
			}
			members[m.Name[strings.Index(m.Name, "/"):]] = b
		}
		storages = append(storages, members)
		_ = r.Close()
	}
	f.Fuzz(func(t *testing.T, which uint8, pickle []byte) {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		add := func(name string, data []byte) {
			m, err := w.CreateRaw(&zip.FileHeader{Name: name, CRC32: crc32.ChecksumIEEE(data), CompressedSize64: uint64(len(data)), UncompressedSize64: uint64(len(data))})
			if err == nil {
				_, err = m.Write(data)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		add("a/data.pkl", pickle)
		for name, data := range storages[int(which)%len(storages)] {
			add("a"+name, data)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		ck, err := torch.Read(b.Bytes())
		if err != nil {
			return
		}
		for _, o := range []convert.Options{{}, {Dynamic: true, OneToOne: true, Half: true}} {
			if m, err := convert.Convert(ck, o); err == nil {
				if _, err := m.WriteTo(io.Discard); err != nil {
					t.Error("it was converted but cannot be written:", err)
				}
			}
		}
	})
}
