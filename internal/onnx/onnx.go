// Package onnx writes and reads ONNX files: the protobuf messages a neural
// network is described with, as far as lazyolo makes or shows them.
//
// The field numbers are those of onnx.proto (ONNX IR version 8, Apache-2.0);
// protobuf's wire format is implemented here, for the half dozen messages
// needed. Writing streams: a weight is produced when its bytes are due and
// never held twice. Reading keeps weights where they lie in the given bytes.
//
// # Limits
//
// A file has at most 2 GiB, as protobuf allows; more would need external data,
// which is neither written nor read. Reading takes at most maxMessages nested
// messages, maxDepth deep; bytes beyond the messages known are skipped.
package onnx

import (
	"io"
	"iter"
)

// The limits on what is read.
const (
	maxMessages = 1 << 18
	maxDepth    = 32 // messages inside one another; a subgraph takes three
	maxRank     = 64 // dimensions of a tensor
)

// A DataType is the element type of a tensor (TensorProto.DataType).
type DataType int32

// The element types that lazyolo writes.
const (
	Float   DataType = 1
	Uint8   DataType = 2
	Int32   DataType = 6
	Int64   DataType = 7
	Float16 DataType = 10
)

// dataTypes is indexed by DataType: name and bytes of an element, 0 for strings
// and types of less than a byte.
var dataTypes = [...]struct {
	name string
	size int64
}{{"undefined", 0}, {"float32", 4}, {"uint8", 1}, {"int8", 1}, {"uint16", 2}, {"int16", 2}, {"int32", 4}, {"int64", 8}, {"string", 0},
	{"bool", 1}, {"float16", 2}, {"float64", 8}, {"uint32", 4}, {"uint64", 8}, {"complex64", 8}, {"complex128", 16}, {"bfloat16", 2}}

// String returns the type's usual name.
func (t DataType) String() string {
	if t < 0 || int(t) >= len(dataTypes) {
		return "unknown"
	}
	return dataTypes[t].name
}

// Size returns the bytes of one element; 0 when they are not whole or not known.
func (t DataType) Size() int64 {
	if t < 0 || int(t) >= len(dataTypes) {
		return 0
	}
	return dataTypes[t].size
}

// A Model is a whole file.
type Model struct {
	IRVersion       int64
	Producer        string
	ProducerVersion string
	Imports         []OperatorSet
	Graph           Graph
	Metadata        []Property
}

// An OperatorSet is a set of operators that the model uses, and its version; the
// domain of the standard ones is "".
type OperatorSet struct {
	Domain  string
	Version int64
}

// A Property is an entry of a model's metadata.
type Property struct{ Key, Value string }

// Property returns the metadata under key; "" when there is none.
func (m *Model) Property(key string) string {
	for _, p := range m.Metadata {
		if p.Key == key {
			return p.Value
		}
	}
	return ""
}

// A Graph is nodes in an order in which they can be run.
type Graph struct {
	Name         string
	Nodes        []Node
	Initializers []Tensor
	Inputs       []Value
	Outputs      []Value
	Values       []Value // what is known of values inside; may be empty
}

// All returns the nodes of g and of the graphs inside its nodes.
func (g *Graph) All() iter.Seq[*Node] {
	return func(yield func(*Node) bool) { g.visit(yield) }
}

func (g *Graph) visit(yield func(*Node) bool) bool {
	for i := range g.Nodes {
		if !yield(&g.Nodes[i]) {
			return false
		}
		for _, a := range g.Nodes[i].Attributes {
			if a.Graph != nil && !a.Graph.visit(yield) {
				return false
			}
		}
	}
	return true
}

// A Node is one operation. An empty name among Inputs leaves that input out.
type Node struct {
	Name, Op, Domain string
	Inputs, Outputs  []string
	Attributes       []Attribute
}

// Attribute returns the attribute of that name, or nil.
func (n *Node) Attribute(name string) *Attribute {
	for i := range n.Attributes {
		if n.Attributes[i].Name == name {
			return &n.Attributes[i]
		}
	}
	return nil
}

// An AttributeType tells which field of an Attribute holds its value.
type AttributeType int32

// The attribute types that are written and read; a graph is only read.
const (
	IsFloat  AttributeType = 1
	IsInt    AttributeType = 2
	IsText   AttributeType = 3
	IsTensor AttributeType = 4
	IsGraph  AttributeType = 5
	IsFloats AttributeType = 6
	IsInts   AttributeType = 7
	IsTexts  AttributeType = 8
)

// An Attribute is a constant parameter of a node.
type Attribute struct {
	Name   string
	Type   AttributeType
	Float  float32
	Int    int64
	Text   string
	Tensor *Tensor
	Graph  *Graph
	Floats []float32
	Ints   []int64
	Texts  []string
}

// IntAttribute makes an attribute that is an int.
func IntAttribute(name string, v int64) Attribute { return Attribute{Name: name, Type: IsInt, Int: v} }

// IntsAttribute makes an attribute that is a list of ints.
func IntsAttribute(name string, v ...int64) Attribute {
	return Attribute{Name: name, Type: IsInts, Ints: v}
}

// FloatAttribute makes an attribute that is a float.
func FloatAttribute(name string, v float32) Attribute {
	return Attribute{Name: name, Type: IsFloat, Float: v}
}

// TextAttribute makes an attribute that is a string.
func TextAttribute(name, v string) Attribute { return Attribute{Name: name, Type: IsText, Text: v} }

// A Tensor is a constant: its elements are Raw, little-endian and row-major, or
// when Raw is nil what Write writes, which may be called any number of times.
type Tensor struct {
	Name  string
	Type  DataType
	Dims  []int64
	Raw   []byte
	Write func(io.Writer) error
	// External is set when a file that was read keeps the elements elsewhere.
	External bool
}

// Elements returns the number of elements; 0 when there are none or the
// dimensions are impossible.
func (t *Tensor) Elements() int64 {
	const most = 1 << 40
	n := int64(1)
	for _, d := range t.Dims {
		if d <= 0 || d > most || n > most/d {
			return 0
		}
		n *= d
	}
	return n
}

// A Value describes an input, an output or a value inside.
type Value struct {
	Name  string
	Type  DataType
	Shape []Dim
}

// A Dim is one dimension: a size or, where Name is not empty, a free one.
type Dim struct {
	Size int64
	Name string
}
