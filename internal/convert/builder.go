package convert

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"lazyolo/internal/onnx"
	"lazyolo/internal/torch"
	"lazyolo/yolo"
)

// A value is what a layer gives to others: the name of a tensor in the graph,
// or a list of values.
type value struct {
	name string
	list []value
}

// A builder makes the graph. Its error sticks: the first one is what Convert
// returns, and after it nothing that is emitted matters.
type builder struct {
	options Options
	graph   onnx.Graph
	place   string            // of the module that is being converted
	count   int               // of names so far
	shared  map[string]string // constants and weights that are there already, by what they are
	held    int               // bytes of the constants
	weights int64             // bytes of the weights
	err     error

	channels int64 // of the input
	head     result
}

// A result is what the last layer, the head, turned out to be.
type result struct {
	kind      string // class name, such as "Detect"
	task      yolo.Task
	endToEnd  bool      // the one-to-one branch was taken
	twoHeaded bool      // there was another one
	outputs   []output  // of the graph
	strides   []float64 // of the levels; nil when the head has none
	keypoint  []int64   // kpt_shape
	classes   int
}

// An output is one output of the graph. Dimensions of 0 follow the input's size.
type output struct {
	value string
	dims  []onnx.Dim
	kind  onnx.DataType // of its elements; 0: float32
}

func newBuilder(o Options) *builder {
	return &builder{options: o, graph: onnx.Graph{Name: "yolo"}, shared: make(map[string]string)}
}

// fail keeps the first error, with the place of the module it is about.
func (b *builder) fail(m *torch.Module, format string, args ...any) {
	if b.err == nil {
		b.err = fmt.Errorf("%s (%s): %s", place(m), m.Class, fmt.Sprintf(format, args...))
	}
}

func place(m *torch.Module) string {
	if m.Path == "" {
		return "the model"
	}
	return m.Path
}

// name makes a name for a value or a constant that comes from the current module.
func (b *builder) name(kind string) string {
	b.count++
	return b.place + "/" + kind + "_" + strconv.Itoa(b.count)
}

// ops emits a node with n outputs.
func (b *builder) ops(op string, n int, in []string, attributes ...onnx.Attribute) []string {
	name := b.name(op)
	out := []string{name}
	for i := 1; i < n; i++ {
		out = append(out, name+":"+strconv.Itoa(i))
	}
	if b.err != nil {
		return out
	}
	if len(b.graph.Nodes) == maxNodes {
		b.err = fmt.Errorf("%s: the graph has more than %d nodes", b.place, maxNodes)
		return out
	}
	b.graph.Nodes = append(b.graph.Nodes, onnx.Node{Name: name, Op: op, Inputs: slices.Clone(in), Outputs: slices.Clone(out), Attributes: attributes})
	return out
}

// op emits a node with one output and no attributes.
func (b *builder) op(op string, in ...string) string { return b.ops(op, 1, in)[0] }

// opWith emits a node with one output.
func (b *builder) opWith(op string, in []string, attributes ...onnx.Attribute) string {
	return b.ops(op, 1, in, attributes...)[0]
}

// constant returns the name of a constant, adding it when it is new.
func (b *builder) constant(t onnx.Tensor) string {
	key := fmt.Sprint(t.Type, t.Dims, string(t.Raw))
	if name, ok := b.shared[key]; ok {
		return name
	}
	t.Name = "constant_" + strconv.Itoa(len(b.graph.Initializers))
	b.hold(t)
	b.shared[key] = t.Name
	return t.Name
}

// hold adds a tensor whose elements are in memory.
func (b *builder) hold(t onnx.Tensor) {
	if b.held += len(t.Raw); b.held > maxHeld && b.err == nil {
		b.err = fmt.Errorf("%s: the biases of the model take more than %d bytes", b.place, maxHeld)
	}
	if b.err == nil {
		b.graph.Initializers = append(b.graph.Initializers, t)
	}
}

// ints returns a constant vector of int64.
func (b *builder) ints(v ...int64) string {
	return b.constant(onnx.Tensor{Type: onnx.Int64, Dims: []int64{int64(len(v))}, Raw: rawInts(v...)})
}

// int returns a constant int64 without dimensions.
func (b *builder) int(v int64) string {
	return b.constant(onnx.Tensor{Type: onnx.Int64, Dims: []int64{}, Raw: rawInts(v)})
}

// float returns a constant float32 without dimensions.
func (b *builder) float(v float64) string {
	return b.constant(onnx.Tensor{Type: onnx.Float, Dims: []int64{}, Raw: rawFloats([]float64{v})})
}

// floats returns a constant float32 tensor. It is not meant for weights.
func (b *builder) floats(v []float64, dims ...int64) string {
	return b.constant(onnx.Tensor{Type: onnx.Float, Dims: dims, Raw: rawFloats(v)})
}

func rawInts(v ...int64) []byte {
	var raw []byte
	for _, n := range v {
		raw = binary.LittleEndian.AppendUint64(raw, uint64(n))
	}
	return raw
}

func rawFloats(v []float64) []byte {
	raw := make([]byte, 0, 4*len(v))
	for _, f := range v {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(float32(f)))
	}
	return raw
}

// The operations that most modules are made of.

func (b *builder) add(x, y string) string    { return b.op("Add", x, y) }
func (b *builder) sub(x, y string) string    { return b.op("Sub", x, y) }
func (b *builder) mul(x, y string) string    { return b.op("Mul", x, y) }
func (b *builder) sigmoid(x string) string   { return b.op("Sigmoid", x) }
func (b *builder) matmul(x, y string) string { return b.op("MatMul", x, y) }

// concat joins along an axis; one value stays as it is.
func (b *builder) concat(axis int64, x ...string) string {
	if len(x) == 1 {
		return x[0]
	}
	return b.opWith("Concat", x, onnx.IntAttribute("axis", axis))
}

// split cuts along an axis.
func (b *builder) split(x string, axis int64, sizes ...int64) []string {
	return b.ops("Split", len(sizes), []string{x, b.ints(sizes...)}, onnx.IntAttribute("axis", axis))
}

// reshape gives x another shape: 0 keeps a dimension, -1 is what is left.
func (b *builder) reshape(x string, shape ...int64) string {
	return b.op("Reshape", x, b.ints(shape...))
}

func (b *builder) transpose(x string, order ...int64) string {
	return b.opWith("Transpose", []string{x}, onnx.IntsAttribute("perm", order...))
}

func (b *builder) softmax(x string, axis int64) string {
	return b.opWith("Softmax", []string{x}, onnx.IntAttribute("axis", axis))
}

func (b *builder) unsqueeze(x string, axes ...int64) string {
	return b.op("Unsqueeze", x, b.ints(axes...))
}

func (b *builder) cast(x string, to onnx.DataType) string {
	return b.opWith("Cast", []string{x}, onnx.IntAttribute("to", int64(to)))
}

// dims returns the dimensions from to below end of x, as a vector.
func (b *builder) dims(x string, from, end int64) string {
	return b.opWith("Shape", []string{x}, onnx.IntAttribute("start", from), onnx.IntAttribute("end", end))
}

// dim returns one dimension of x, without dimensions of its own.
func (b *builder) dim(x string, i int64) string {
	return b.op("Squeeze", b.dims(x, i, i+1), b.ints(0))
}

// shapeOf returns the whole shape of x.
func (b *builder) shapeOf(x string) string { return b.op("Shape", x) }

// once emits something that the same module would emit again, such as a weight.
func (b *builder) once(m *torch.Module, what string, emit func() string) string {
	key := strings.Join([]string{"module", m.Path, what}, "\x00")
	if name, ok := b.shared[key]; ok {
		return name
	}
	name := emit()
	b.shared[key] = name
	return name
}
