package torch

import (
	"archive/zip"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// shared returns a folder of the fixtures that lie beside the repository.
func shared(t testing.TB, name string) string {
	t.Helper()
	dir := filepath.Join("..", "..", "..", "shared", "fixtures", name)
	if _, err := os.Stat(dir); err != nil {
		if os.Getenv("REQUIRE_SHARED") == "1" {
			t.Fatal(err)
		}
		t.Skipf("%s is not here; REQUIRE_SHARED=1 makes this a failure", dir)
	}
	return dir
}

// bad says what the error of each file of the corpus must name.
var bad = map[string]string{
	"truncated.pt": "truncated", "truncated_tail.pt": "truncated", "not_a_zip.pt": "no zip archive", "empty.pt": "empty",
	"evil_system.pt": "forbidden global posix.system", "evil_eval.pt": "forbidden global builtins.eval", "evil_getattr.pt": "forbidden global posix.getcwd",
	"state_dict_only.pt": "state_dict", "model_is_state_dict.pt": `"model" is a state_dict`, "legacy_nonzip.pt": "before 1.6", "torchscript.pt": "TorchScript",
	"huge_storage.pt": "1099511627776 elements", "huge_tensor_stride0.pt": "beyond 2147483648 elements", "stride0_1GiB.pt": "more elements than its storage",
	"view_outside_storage.pt": "reaches element 15", "negative_offset.pt": "offset -1", "overflow_dims.pt": "4611686018427387904",
	"storage_path_traversal.pt": "etc/hostname", "unknown_storage_type.pt": "torch.QInt8Storage", "deep_nesting.pt": "a tuple, not the dict",
	"self_cycle.pt": "contains itself", "memo_missing.pt": "value 7 of the memo", "stack_underflow.pt": "too few values",
	"bad_string_length.pt": "2147483647 bytes", "pickle_bomb.pt": "100663299 bytes", "yolov5_repo.pt": "models.yolo.DetectionModel",
	"no_data_pkl.pt": "data.pkl", "storage_short.pt": "has 14", "storage_long.pt": "has 32", "storage_missing.pt": `no member "x/data/0"`,
	"crc_mismatch.pt": "CRC-32", "unknown_class.pt": "", // read here; convert refuses it
}

func TestBadFiles(t *testing.T) {
	dir := filepath.Join(shared(t, "families"), "bad")
	b, err := os.ReadFile(filepath.Join(dir, "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var expected map[string]string
	if err := json.Unmarshal(b, &expected); err != nil {
		t.Fatal(err)
	}
	for name, what := range expected {
		t.Run(name, func(t *testing.T) {
			start, before := time.Now(), allocated()
			c, err := Open(filepath.Join(dir, name))
			if err == nil {
				err = c.Verify()
				defer c.Close()
			}
			if took, used := time.Since(start), allocated()-before; took > 2*time.Second || used > 64<<20 {
				t.Errorf("took %v and %d bytes", took, used)
			}
			want, known := bad[name]
			if !known {
				t.Fatalf("not in the table of this test: %s; it gave %v", what, err)
			}
			checkError(t, err, want)
		})
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// checkError compares an error with the text it must contain; "" is none.
func checkError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("got error %v", err)
	case want != "" && err == nil:
		t.Errorf("got no error, want one with %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("got error %v, want one with %q", err, want)
	}
}

func TestGoodFiles(t *testing.T) {
	dir := shared(t, "families")
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.pt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if filepath.Base(filepath.Dir(f)) == "bad" {
			continue
		}
		t.Run(f[len(dir)+1:], func(t *testing.T) {
			c, err := Open(f)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.Verify(); err != nil {
				t.Error(err)
			}
			want := "model"
			if strings.HasSuffix(f, "unstripped.pt") || strings.HasSuffix(f, "fp32.pt") { // written while training
				want = "ema"
			}
			if c.Part() != want {
				t.Errorf("model taken from %q, want %q", c.Part(), want)
			}
			if v, ok := c.Value("version").(string); !ok || v == "" {
				t.Errorf("version is %v", c.Value("version"))
			}
			if k := c.Model().Kind(); !strings.HasSuffix(k, "Model") {
				t.Errorf("the root is a %s", k)
			}
		})
	}
}

// TestModule reads a checkpoint made by hand.
func TestModule(t *testing.T) {
	weight := tensorOf(storageOf("FloatStorage", "0", 4), 0, []int64{2, 2, 1, 1}, []int64{2, 1, 1, 1})
	c, err := Read(archiveOf(t, checkpoint(weight), floats(1, 2, 3, 4)))
	if err != nil {
		t.Fatal(err)
	}
	var places []string
	for m := range c.Model().All() {
		places = append(places, m.Path+":"+m.Kind())
	}
	if got, want := strings.Join(places, " "), ":DetectionModel model:Sequential model.0:Conv2d"; got != want {
		t.Errorf("got tree %q, want %q", got, want)
	}
	conv := c.Model().Child("model").Children()[0]
	if got, err := conv.Tensor("weight").Floats(); err != nil || got[3] != 4 {
		t.Errorf("got weights %v, %v", got, err)
	}
	if conv.Elements() != 4 || conv.Child("bn") != nil || conv.Tensor("bias") != nil {
		t.Error("got parts that are not there")
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestContainer(t *testing.T) {
	weight := tensorOf(storageOf("FloatStorage", "0", 4), 0, []int64{4}, []int64{1})
	pkl, data := checkpoint(weight), floats(1, 2, 3, 4)
	zeros := strings.Repeat("\x00", 8<<20)
	big := checkpoint(tensorOf(storageOf("FloatStorage", "0", 2<<20), 0, []int64{2 << 20}, []int64{1}))
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"stored", archiveOf(t, pkl, data), ""},
		{"any folder", pack(t, entry{"最好/data.pkl", pkl, zip.Store}, entry{"最好/data/0", data, zip.Store}), ""},
		{"deflated", pack(t, entry{"a/data.pkl", pkl, zip.Deflate}, entry{"a/data/0", data, zip.Deflate}), ""},
		{"raw", rawZip(rawMember{name: "a/data.pkl", data: pkl}, rawMember{name: "a/data/0", data: data}), ""},
		{"no folder", pack(t, entry{"data.pkl", pkl, zip.Store}), "no <folder>/data.pkl"},
		{"two pickles", pack(t, entry{"a/data.pkl", pkl, zip.Store}, entry{"b/data.pkl", pkl, zip.Store}), "2 members named data.pkl"},
		{"big-endian", pack(t, entry{"a/data.pkl", pkl, zip.Store}, entry{"a/byteorder", "big", zip.Store}), `byte order is "big"`},
		{"same name twice", rawZip(rawMember{name: "a/data.pkl", data: pkl}, rawMember{name: "a/data.pkl", data: pkl}), "stands in the archive twice"},
		{"leaves", rawZip(rawMember{name: "a/../../data.pkl", data: pkl}), "leaves the archive"},
		{"absolute", rawZip(rawMember{name: "/etc/data.pkl", data: pkl}), "not a plain path"},
		{"backslash", rawZip(rawMember{name: `a\data.pkl`, data: pkl}), "not a plain path"},
		{"two names", rawZip(rawMember{name: "a/data.pkl", local: "b/data.pkl", data: pkl}), "names another member"},
		{"overlap", rawZip(rawMember{name: "a/data.pkl", data: pkl}, rawMember{name: "a/data.pk2", local: "a/data.pkl", data: pkl, offset: 1}), "header is not where"},
		{"encrypted", rawZip(rawMember{name: "a/data.pkl", data: pkl, flags: 1}), "encrypted"},
		{"bzip2", rawZip(rawMember{name: "a/data.pkl", data: pkl, method: 12}), "method 12"},
		{"damaged deflate", rawZip(rawMember{name: "a/data.pkl", data: "\x07garbage", method: 8}), "damaged"},
		{"zip bomb", pack(t, entry{"a/data.pkl", big, zip.Store}, entry{"a/data/0", zeros, zip.Deflate}), "would inflate"},
		{"tar", append(append(make([]byte, 257), "ustar"...), 0), "tar format"},
		{"text", []byte("hello"), "no zip archive"},
		{"nothing", nil, "empty"},
		{"only a start", archiveOf(t, pkl, data)[:200], "truncated"},
		{"start cut off", archiveOf(t, pkl, data)[10:], "truncated"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Read(tt.data)
			if err == nil {
				err = c.Verify()
			}
			checkError(t, err, tt.want)
		})
	}
}

// TestOverlap puts two members onto the same bytes.
func TestOverlap(t *testing.T) {
	b := rawZip(rawMember{name: "a/1", data: "x"}, rawMember{name: "a/1", data: "x"})
	at := strings.LastIndex(string(b), "a/1")
	copy(b[at:], "a/2") // the directory now names two members
	list := strings.Index(string(b[40:]), "a/1") + 40
	copy(b[list:], "a/2")
	if _, err := parseZip(b); err != nil {
		t.Fatal("the members do not overlap yet:", err)
	}
	// Make the first as long as both: its data runs into the second.
	first := strings.Index(string(b), "PK\x01\x02")
	b[first+20], b[first+24] = 20, 20
	_, err := parseZip(b)
	checkError(t, err, "overlap")
}

// TestZip64 reads an archive whose sizes stand in 64-bit fields, as torch writes
// beyond 4 GB.
func TestZip64(t *testing.T) {
	b := rawZip(rawMember{name: "a/data.pkl", data: "x"})
	at := strings.LastIndex(string(b), "PK\x05\x06")
	directory := strings.Index(string(b), "PK\x01\x02")
	end := append([]byte(nil), b[at:]...)
	dir := append([]byte(nil), b[directory:at]...)
	copy(dir[20:], "\xff\xff\xff\xff\xff\xff\xff\xff")
	dir[30] = 20
	dir = append(dir, "\x01\x00\x10\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00"...)
	wide := make([]byte, sizeEnd64)
	copy(wide, "PK\x06\x06")
	le.PutUint64(wide[40:], uint64(len(dir)))
	le.PutUint64(wide[48:], uint64(directory))
	locator := make([]byte, sizeLocator64)
	copy(locator, "PK\x06\x07")
	le.PutUint64(locator[8:], uint64(directory+len(dir)))
	copy(end[12:], "\xff\xff\xff\xff\xff\xff\xff\xff")
	b = append(append(append(append(b[:directory:directory], dir...), wide...), locator...), end...)
	members, err := parseZip(b)
	if err != nil {
		t.Fatal(err)
	}
	if m := members[0]; m.size != 1 || m.packed != 1 || m.name != "a/data.pkl" {
		t.Errorf("got %+v", m)
	}
}
