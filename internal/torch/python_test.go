package torch

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestAgainstPython compares what the machine makes of good checkpoints with
// what Python's unpickler does: every value, in order.
func TestAgainstPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3")
	}
	files, err := filepath.Glob(filepath.Join("..", "convert", "testdata", "*.pt"))
	if err != nil {
		t.Fatal(err)
	}
	fixtures, err := filepath.Glob(filepath.Join("..", "..", "..", "shared", "fixtures", "families", "*", "*.pt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fixtures {
		if filepath.Base(filepath.Dir(f)) != "bad" {
			files = append(files, f)
		}
	}
	out, err := exec.Command(python, append([]string{filepath.Join("testdata", "digest.py")}, files...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range strings.Fields(string(out)) {
		b, err := os.ReadFile(files[i])
		if err != nil {
			t.Fatal(err)
		}
		a, err := openArchive(b)
		if err != nil {
			t.Fatal(err)
		}
		p, _, err := a.pickle()
		if err != nil {
			t.Fatal(err)
		}
		top, err := newMachine(p, maxObjects).run()
		if err != nil {
			t.Fatal(err)
		}
		if got := make(digests).of(t, top); got != want {
			t.Errorf("%s: got digest %s, Python's is %s", files[i], got, want)
		}
	}
}

// digests are those of digest.py, by the values that may be shared.
type digests map[any]string

func (d digests) of(t *testing.T, v any) string {
	switch v.(type) {
	case *List, *Dict, *Object:
		if h, ok := d[v]; ok {
			return h
		}
		d[v] = "cycle"
	}
	var parts []string
	each := func(kind string, items []any) {
		parts = []string{kind}
		for _, item := range items {
			parts = append(parts, d.of(t, item))
		}
	}
	switch v := v.(type) {
	case nil:
		parts = []string{"none"}
	case bool:
		parts = []string{"bool", map[bool]string{false: "0", true: "1"}[v]}
	case int64:
		parts = []string{"int", strconv.FormatInt(v, 10)}
	case float64:
		parts = []string{"float", pythonHex(v)}
	case string:
		parts = []string{"str", v}
	case Global:
		parts = []string{"global", string(v)}
	case *Tensor:
		for class, kind := range storageTypes {
			if kind == v.DType() {
				parts = []string{"tensor", "torch." + class}
			}
		}
		parts = append(parts, v.storage.key, fmt.Sprint(v.storage.elements), fmt.Sprint(v.offset))
		for _, n := range append(v.Shape(), v.stride...) {
			parts = append(parts, fmt.Sprint(n))
		}
	case Tuple:
		each("tuple", v)
	case *List:
		each("list", v.Items)
	case *Dict:
		parts = []string{"dict"}
		for i := range v.Len() {
			key, value := v.At(i)
			parts = append(parts, d.of(t, key), d.of(t, value))
		}
	case *Object:
		parts = []string{"object", v.Class, d.of(t, v.Args), d.of(t, v.State)}
	default:
		t.Fatalf("a %T", v)
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	h := hex.EncodeToString(sum[:])
	switch v.(type) {
	case *List, *Dict, *Object:
		d[v] = h
	}
	return h
}

// pythonHex writes a float as Python's float.hex does: 13 hex digits always.
func pythonHex(f float64) string {
	if f != f {
		return "nan"
	}
	if f == 0 {
		return strings.Replace(strconv.FormatFloat(f, 'f', -1, 64), "0", "0x0.0p+0", 1)
	}
	mantissa, exponent, ok := strings.Cut(strconv.FormatFloat(f, 'x', 13, 64), "p")
	if !ok { // an infinity
		return strings.ToLower(strings.TrimPrefix(mantissa, "+"))
	}
	n, err := strconv.Atoi(exponent)
	if err != nil {
		return mantissa
	}
	return fmt.Sprintf("%sp%+d", mantissa, n)
}
