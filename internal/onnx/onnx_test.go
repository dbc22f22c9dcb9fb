package onnx

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// sampleModel has every kind of part that is written.
func sampleModel() *Model {
	inner := Graph{Name: "then", Nodes: []Node{{Op: "Identity", Inputs: []string{"x"}, Outputs: []string{"y"}}}, Outputs: []Value{{Name: "y", Type: Float, Shape: []Dim{}}}}
	return &Model{
		IRVersion: 8, Producer: "lazyolo", ProducerVersion: "1", Imports: []OperatorSet{{"", 17}, {"ai.onnx.ml", 3}},
		Graph: Graph{
			Name: "g",
			Nodes: []Node{{Name: "n", Op: "If", Domain: "d", Inputs: []string{"a", "", "b"}, Outputs: []string{"x", "z"}, Attributes: []Attribute{
				IntAttribute("i", -1), FloatAttribute("f", 0), TextAttribute("s", "车"), IntsAttribute("is", 1, 0, -2), IntsAttribute("none"),
				{Name: "fs", Type: IsFloats, Floats: []float32{1, -2}}, {Name: "ss", Type: IsTexts, Texts: []string{"", "b"}},
				{Name: "t", Type: IsTensor, Tensor: &Tensor{Type: Int64, Dims: []int64{1}, Raw: make([]byte, 8)}}, {Name: "g", Type: IsGraph, Graph: &inner},
			}}},
			Initializers: []Tensor{{Name: "w", Type: Float, Dims: []int64{2, 1}, Raw: []byte("12345678")}, {Name: "scalar", Type: Uint8, Raw: []byte{7}}},
			Inputs:       []Value{{Name: "images", Type: Float, Shape: []Dim{{Name: "batch"}, {Size: 3}, {Size: 0}}}},
			Outputs:      []Value{{Name: "output0", Type: Float16, Shape: []Dim{{Size: 1}}}},
			Values:       []Value{{Name: "x", Type: Int32, Shape: []Dim{}}},
		},
		Metadata: []Property{{"names", "{0: 'a'}"}, {"empty", ""}},
	}
}

func encode(t testing.TB, m *Model) []byte {
	t.Helper()
	var b bytes.Buffer
	n, err := m.WriteTo(&b)
	if err != nil {
		t.Fatal(err)
	}
	if n != int64(b.Len()) || n != m.Size() {
		t.Errorf("WriteTo says %d and Size %d, %d bytes were written", n, m.Size(), b.Len())
	}
	return b.Bytes()
}

func TestRoundTrip(t *testing.T) {
	want := sampleModel()
	got, err := Decode(encode(t, want))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestStreaming(t *testing.T) {
	whole := sampleModel()
	streamed := sampleModel()
	streamed.Graph.Initializers[0].Raw = nil
	streamed.Graph.Initializers[0].Write = func(w io.Writer) error {
		for _, s := range []string{"123", "45678"} {
			if _, err := io.WriteString(w, s); err != nil {
				return err
			}
		}
		return nil
	}
	if !bytes.Equal(encode(t, whole), encode(t, streamed)) {
		t.Error("a streamed tensor is written differently")
	}
}

func TestWriteErrors(t *testing.T) {
	broken := errors.New("disk full")
	tests := []struct {
		name string
		w    io.Writer
		data func(io.Writer) error
		dims []int64
		want string
	}{
		{"too short", io.Discard, func(w io.Writer) error { return nil }, []int64{2}, "tensor w: it has 0 bytes instead of 8"},
		{"source fails", io.Discard, func(io.Writer) error { return broken }, []int64{2}, "tensor w: disk full"},
		{"writer fails", failing{broken}, nil, []int64{1 << 20}, "disk full"},
		{"beyond 2 GiB", io.Discard, nil, []int64{1 << 30}, "2 GiB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := &Model{Graph: Graph{Initializers: []Tensor{{Name: "w", Type: Float, Dims: tt.dims, Write: tt.data}}}}
			if tt.data == nil {
				m.Graph.Initializers[0].Raw = make([]byte, min(4<<20, 4*tt.dims[0]))
			}
			_, err := m.WriteTo(tt.w)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestWalk(t *testing.T) {
	var ops []string
	for n := range sampleModel().Graph.All() {
		ops = append(ops, n.Op)
	}
	if fmt.Sprint(ops) != "[If Identity]" {
		t.Errorf("got %v", ops)
	}
	n := &sampleModel().Graph.Nodes[0]
	if a := n.Attribute("i"); a == nil || a.Int != -1 || n.Attribute("missing") != nil {
		t.Errorf("got %+v", a)
	}
}

func TestElements(t *testing.T) {
	tests := []struct {
		dims []int64
		want int64
	}{{nil, 1}, {[]int64{2, 3}, 6}, {[]int64{2, 0}, 0}, {[]int64{-1, -1}, 0}, {[]int64{1 << 30, 1 << 30, 1 << 30}, 0}, {[]int64{math.MaxInt64}, 0}}
	for _, tt := range tests {
		if got := (&Tensor{Dims: tt.dims}).Elements(); got != tt.want {
			t.Errorf("%v: got %d, want %d", tt.dims, got, tt.want)
		}
	}
	if DataType(-1).Size() != 0 || DataType(99).String() != "unknown" || Float16.Size() != 2 || DataType(16).String() != "bfloat16" {
		t.Error("types are wrong")
	}
}

// TestPacked reads numbers in the packed form, which we do not write.
func TestPacked(t *testing.T) {
	attribute := "\x0a\x01a" + "\x3a\x04\x00\x00\x80\x3f" + "\x42\x03\x01\x80\x01"
	node := "\x22\x01X\x2a" + string(rune(len(attribute))) + attribute
	graph := "\x0a" + string(rune(len(node))) + node
	m, err := Decode([]byte("\x3a" + string(rune(len(graph))) + graph))
	if err != nil {
		t.Fatal(err)
	}
	a := m.Graph.Nodes[0].Attribute("a")
	if fmt.Sprint(a.Floats, a.Ints) != "[1] [1 128]" {
		t.Errorf("got %v %v", a.Floats, a.Ints)
	}
}

func TestDamaged(t *testing.T) {
	deep := []byte{}
	for range 100 { // a graph in an attribute of a node of a graph ...
		for _, tag := range []byte{0x32, 0x2a, 0x0a} {
			var length []byte
			for n := len(deep); ; n >>= 7 {
				if n < 128 {
					length = append(length, byte(n))
					break
				}
				length = append(length, byte(n)|128)
			}
			deep = append(append([]byte{tag}, length...), deep...)
		}
	}
	graph := func(s string) []byte {
		return append([]byte{0x3a, byte(len(s)) | 128, byte(len(s)>>7&127) | 128, byte(len(s)>>14&127) | 128, byte(len(s) >> 21)}, s...)
	}
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "no ONNX file"},
		{"zip", []byte("PK\x03\x04"), "no ONNX file"},
		{"cut", encode(t, sampleModel())[:50], "no ONNX file"},
		{"group", []byte("\x0b"), "no ONNX file"},
		{"field 0", []byte("\x00\x00"), "no ONNX file"},
		{"wrong wire type", []byte("\x3a\x00\x08\x01\x3d\x00\x00\x00\x00"), "no ONNX file"},
		{"endless number", []byte("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), "no ONNX file"},
		{"deep", graph(string(deep)), "32 deep"},
		{"many nodes", graph(strings.Repeat("\x0a\x00", maxMessages+1)), "parts"},
		{"many inputs", graph("\x0a\x81\x80\x20" + strings.Repeat("\x0a\x00", 1<<18) + "\x00"), "parts"},
		{"rank", graph("\x2a\x8c\x01" + strings.Repeat("\x08\x00", 70)), "64 entries"},
		{"negative dimension", graph("\x2a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "impossible shape"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Decode(tt.data)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// TestOfficial reads what Ultralytics exported.
func TestOfficial(t *testing.T) {
	dir := filepath.Join("..", "..", "..", "shared", "fixtures", "families")
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.onnx"))
	if err != nil || len(files) == 0 {
		if os.Getenv("REQUIRE_SHARED") == "1" {
			t.Fatal("no fixtures", err)
		}
		t.Skipf("%s is not here; REQUIRE_SHARED=1 makes this a failure", dir)
	}
	for _, f := range files {
		t.Run(f[len(dir)+1:], func(t *testing.T) {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			m, err := Decode(b)
			if err != nil {
				t.Fatal(err)
			}
			if m.IRVersion != 8 || len(m.Imports) == 0 || m.Imports[0].Version != 17 || m.Property("names") == "" || m.Graph.Inputs[0].Name != "images" {
				t.Errorf("got %+v", m.Metadata)
			}
			again, err := Decode(encode(t, m))
			if err != nil || !reflect.DeepEqual(again, m) {
				t.Errorf("writing it and reading it again gives another model, %v", err)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(f, sampleModel()))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Decode(data)
		if err != nil {
			return
		}
		m.Graph.Work(map[string][]int64{"x": {1, 3, 32, 32}})
		for n := range m.Graph.All() {
			_ = n.Attribute("axis")
		}
		for i := range m.Graph.Initializers {
			_ = m.Graph.Initializers[i].Elements()
		}
	})
}
