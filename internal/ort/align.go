package ort

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// align rewrites a file in ORT format so that each weight begins on a multiple of 64
// bytes, a cache line: ONNX Runtime puts it anywhere, and used where it lies most
// vector loads would touch two lines, which costs a tenth of a run. A file whose
// layout is not known stays as it is.
//
// The format is a FlatBuffer (https://flatbuffers.dev/internals/), whose schema is
// onnxruntime/core/flatbuffers/schema/ort.fbs. All but the weights is copied to the
// front; the weights follow in their order, moved in place.
func align(name string) (err error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	old, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return &fs.PathError{Op: "mmap", Path: name, Err: err}
	}
	r := &rewriter{in: old}
	known := r.rewrite()
	if err := unix.Munmap(old); err != nil || !known {
		return err
	}
	for _, w := range slices.Backward(r.weights) { // upwards, so the last one first
		if err := moveUp(f, w.from, w.to, w.n); err != nil {
			return fmt.Errorf("align %s: %w", name, err)
		}
	}
	if _, err := f.WriteAt(r.out, 0); err != nil {
		return err
	}
	return f.Truncate(r.end)
}

// moveUp moves n bytes of a file from one place to a higher one, which it may overlap.
func moveUp(f *os.File, from, to, n int64) error {
	buf := make([]byte, min(n, 1<<20))
	for n > 0 {
		part := buf[:min(n, int64(len(buf)))]
		n -= int64(len(part))
		if _, err := f.ReadAt(part, from+n); err != nil {
			return err
		}
		if _, err := f.WriteAt(part, to+n); err != nil {
			return err
		}
	}
	return nil
}

// cacheLine is what weights are aligned to, in bytes.
const cacheLine = 64

// A kind is what a field of a table holds.
type kind struct {
	what byte   // one of those below
	size int    // of an element of numbers, in bytes
	of   string // the table that a table, tables or a union are of
}

// Kinds; the zero kind is a field that must not be there.
var (
	scalar = kind{what: '1'}
	text   = kind{what: 's'}
	texts  = kind{what: 'S'}
	weight = kind{what: 'w'} // bytes to be aligned
)

func vector(size int) kind    { return kind{what: 'n', size: size} }
func table(name string) kind  { return kind{what: 't', of: name} }
func tables(name string) kind { return kind{what: 'T', of: name} }
func union(names string) kind { return kind{what: 'u', of: names} } // the field before says which, from 1

// schema lists the fields of each table of ort.fbs in their order. A file with a field
// that it does not know is not rewritten.
var schema = map[string][]kind{
	"InferenceSession": {text, table("Model"), {}, table("KernelTypeStrResolver")},
	"Model": {scalar, tables("OperatorSetId"), text, text, text, scalar, text, table("Graph"), text,
		tables("StringStringEntry")},
	"Graph": {tables("Tensor"), tables("ValueInfo"), tables("Node"), scalar, tables("NodeEdge"), texts, texts,
		tables("SparseTensor"), table("RuntimeOptimizations")},
	"Tensor":       {text, text, vector(8), scalar, weight, texts, scalar},
	"SparseTensor": {table("Tensor"), table("Tensor"), vector(8)},
	"Node": {text, text, text, scalar, scalar, text, scalar, text, texts, texts, tables("Attribute"), vector(4),
		texts},
	"NodeEdge": {scalar, vector(12), vector(12)},
	"Attribute": {text, text, scalar, scalar, scalar, text, table("Tensor"), table("Graph"), vector(4), vector(8),
		texts, tables("Tensor"), tables("Graph")},
	"ValueInfo":            {text, text, table("TypeInfo")},
	"TypeInfo":             {text, scalar, union("TensorTypeAndShape SequenceType MapType")},
	"TensorTypeAndShape":   {scalar, table("Shape")},
	"SequenceType":         {table("TypeInfo")},
	"MapType":              {scalar, table("TypeInfo")},
	"Shape":                {tables("Dimension")},
	"Dimension":            {table("DimensionValue"), text},
	"DimensionValue":       {scalar, scalar, text},
	"OperatorSetId":        {text, scalar},
	"StringStringEntry":    {text, text},
	"RuntimeOptimizations": {tables("RuntimeOptimizationRecordContainerEntry")},
	"RuntimeOptimizationRecordContainerEntry": {text, tables("RuntimeOptimizationRecord")},
	"RuntimeOptimizationRecord":               {text, table("NodesToOptimizeIndices"), {}, texts},
	"NodesToOptimizeIndices":                  {vector(4), scalar, scalar, scalar, scalar, scalar, scalar},
	"KernelTypeStrResolver":                   {tables("OpIdKernelTypeStrArgsEntry")},
	"OpIdKernelTypeStrArgsEntry":              {text, tables("KernelTypeStrArgsEntry")},
	"KernelTypeStrArgsEntry":                  {text, tables("ArgTypeAndIndex")},
	"ArgTypeAndIndex":                         {scalar, scalar},
}

// maxDepth bounds graphs within graphs.
const maxDepth = 64

// A rewriter copies a FlatBuffer without its weights. References only point upwards,
// so a table is followed by those it refers to, and strings and numbers, to which
// several may refer, come after all tables.
type rewriter struct {
	in      []byte
	out     []byte
	vtables map[string]int // in out, by their bytes
	leaves  []leaf
	weights []moved
	end     int64 // of the new file
	unknown bool  // something was not understood
}

// A leaf is a string or numbers, referred to at site in out.
type leaf struct {
	site  int
	from  int64
	bytes int64 // with the length before and the zero after
	align int   // of what follows the length
}

// moved is one weight with the length before it.
type moved struct {
	sites       []int // in out
	from, to, n int64
}

// rewrite fills out, weights and end; false: the layout is not known.
func (r *rewriter) rewrite() bool {
	head := r.read(0, 8)
	if string(head[4:]) != "ORTM" {
		return false
	}
	r.vtables = make(map[string]int)
	r.out = append(r.out, head...)
	root := r.table(int64(binary.LittleEndian.Uint32(head)), "InferenceSession", 0)
	binary.LittleEndian.PutUint32(r.out, uint32(root))
	r.putLeaves()
	r.placeWeights()
	return !r.unknown && r.end < 1<<31 // FlatBuffers end there
}

// maxPiece bounds what is copied at once, in bytes: all but weights is small.
const maxPiece = 1 << 24

// read returns n bytes of the old file, zeros if there are none.
func (r *rewriter) read(at, n int64) []byte {
	if r.unknown = r.unknown || at < 0 || n > maxPiece || at+n > int64(len(r.in)); r.unknown {
		return make([]byte, 8)
	}
	return r.in[at:][:n]
}

func (r *rewriter) uint32(at int64) int64 { return int64(binary.LittleEndian.Uint32(r.read(at, 4))) }

// pad brings out to a length that is rest modulo a.
func (r *rewriter) pad(a, rest int) {
	for len(r.out)%a != rest {
		r.out = append(r.out, 0)
	}
}

// point has the reference at site, in out, point to the present end of out.
func (r *rewriter) point(site int) {
	binary.LittleEndian.PutUint32(r.out[site:], uint32(len(r.out)-site))
}

// table copies the table at from and all it refers to, and returns where it lies.
func (r *rewriter) table(from int64, name string, depth int) int {
	vfrom := from - int64(int32(r.uint32(from)))
	sizes := r.uint32(vfrom)
	vsize, size := sizes&0xffff, sizes>>16
	vtable, body := r.read(vfrom, vsize), r.read(from, size)
	if r.unknown = r.unknown || depth > maxDepth || vsize < 4 || size < 4 || len(r.out) > 2*len(r.in); r.unknown {
		return 0
	}
	field := func(i int64) int64 { // where it begins in the table; 0: it is not there
		return int64(binary.LittleEndian.Uint16(vtable[4+2*i:]))
	}
	at, known := r.vtables[string(vtable)]
	if !known {
		r.pad(4, 0)
		at = len(r.out)
		r.vtables[string(vtable)] = at
		r.out = append(r.out, vtable...)
	}
	r.pad(8, int(from%8)) // its fields stay as aligned as they were
	to := len(r.out)
	r.out = append(r.out, body...)
	binary.LittleEndian.PutUint32(r.out[to:], uint32(to-at))
	for i := range (vsize - 4) / 2 {
		at := field(i)
		if at == 0 || r.unknown {
			continue
		}
		if r.unknown = i >= int64(len(schema[name])) || at >= size; r.unknown {
			continue
		}
		k := schema[name][i]
		if k.what == 'u' {
			names := strings.Fields(k.of)
			which := int(body[min(field(i-1), size-1)]) - 1
			if r.unknown = which < 0 || which >= len(names); r.unknown {
				continue
			}
			k = table(names[which])
		}
		if r.unknown = k != scalar && at+4 > size; !r.unknown && k != scalar {
			r.refer(to+int(at), from+at+r.uint32(from+at), k, depth)
		}
	}
	return to
}

// refer copies what lies at from and has site refer to it.
func (r *rewriter) refer(site int, from int64, k kind, depth int) {
	switch k.what {
	case 't':
		to := r.table(from, k.of, depth+1)
		binary.LittleEndian.PutUint32(r.out[site:], uint32(to-site))
	case 'T', 'S':
		n := r.uint32(from)
		if r.read(from+4, 4*n); r.unknown {
			return
		}
		r.pad(4, 0)
		r.point(site)
		to := len(r.out)
		r.out = append(r.out, make([]byte, 4+4*n)...)
		binary.LittleEndian.PutUint32(r.out[to:], uint32(n))
		each := kind{what: 't', of: k.of}
		if k.what == 'S' {
			each = text
		}
		for i := range n {
			at := from + 4 + 4*i
			r.refer(to+4+4*int(i), at+r.uint32(at), each, depth)
		}
	case 's':
		r.leaves = append(r.leaves, leaf{site, from, 4 + r.uint32(from) + 1, 4})
	case 'n':
		align := 4
		if k.size == 8 {
			align = 8
		}
		r.leaves = append(r.leaves, leaf{site, from, 4 + r.uint32(from)*int64(k.size), align})
	case 'w':
		r.weights = append(r.weights, moved{sites: []int{site}, from: from, n: 4 + r.uint32(from)})
	default:
		r.unknown = true
	}
}

// putLeaves writes strings and numbers, each once.
func (r *rewriter) putLeaves() {
	at := make(map[int64]int)
	for _, l := range r.leaves {
		to, known := at[l.from]
		if !known {
			r.pad(l.align, l.align-4) // what follows the length is aligned
			to = len(r.out)
			at[l.from] = to
			r.out = append(r.out, r.read(l.from, l.bytes)...)
		}
		binary.LittleEndian.PutUint32(r.out[l.site:], uint32(to-l.site))
	}
}

// placeWeights gives each weight its place, none below its old one.
func (r *rewriter) placeWeights() {
	slices.SortFunc(r.weights, func(a, b moved) int { return cmp.Compare(a.from, b.from) })
	var each []moved
	for _, w := range r.weights {
		if n := len(each); n > 0 && each[n-1].from == w.from {
			each[n-1].sites = append(each[n-1].sites, w.sites...)
		} else {
			each = append(each, w)
		}
	}
	r.weights, r.end = each, int64(len(r.out))
	var short int64 // by how much the furthest would move down
	for i := range each {
		w := &each[i]
		w.to = (r.end+4+cacheLine-1)/cacheLine*cacheLine - 4
		r.end = w.to + w.n
		short = max(short, w.from-w.to)
		r.unknown = r.unknown || w.from+w.n > int64(len(r.in)) || i > 0 && w.from < each[i-1].from+each[i-1].n
	}
	short = (short + cacheLine - 1) / cacheLine * cacheLine
	r.end += short
	for i := range each {
		w := &each[i]
		w.to += short
		for _, site := range w.sites {
			binary.LittleEndian.PutUint32(r.out[site:], uint32(w.to-int64(site)))
		}
	}
}
