package grpcapi_test

import (
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"lazyolo/internal/pb"
)

func floats(v ...float32) []byte {
	var b []byte
	for _, f := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return b
}

func text(s ...string) []byte {
	var b []byte
	for _, t := range s {
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(t))), t...)
	}
	return b
}

func param(v any) *pb.InferParameter {
	switch v := v.(type) {
	case bool:
		return &pb.InferParameter{ParameterChoice: &pb.InferParameter_BoolParam{BoolParam: v}}
	case int:
		return &pb.InferParameter{ParameterChoice: &pb.InferParameter_Int64Param{Int64Param: int64(v)}}
	case string:
		return &pb.InferParameter{ParameterChoice: &pb.InferParameter_StringParam{StringParam: v}}
	}
	return &pb.InferParameter{ParameterChoice: &pb.InferParameter_DoubleParam{DoubleParam: v.(float64)}}
}

// good is a request that is answered; change is made to it.
func good(change func(*pb.ModelInferRequest)) *pb.ModelInferRequest {
	q := &pb.ModelInferRequest{
		ModelName: "double", Id: "七",
		Inputs:           []*pb.ModelInferRequest_InferInputTensor{{Name: "images", Datatype: "FP32", Shape: []int64{1, 3, 2, 2}}},
		RawInputContents: [][]byte{floats(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)},
	}
	if change != nil {
		change(q)
	}
	return q
}

// typed is good with contents instead of bytes.
func typed(c *pb.InferTensorContents, change func(*pb.ModelInferRequest)) *pb.ModelInferRequest {
	return good(func(q *pb.ModelInferRequest) {
		q.RawInputContents = nil
		q.Inputs[0].Contents = c
		if change != nil {
			change(q)
		}
	})
}

// pictures is a request of encoded pictures.
func pictures(shape []int64, raw []byte, change func(*pb.ModelInferRequest)) *pb.ModelInferRequest {
	return good(func(q *pb.ModelInferRequest) {
		q.Inputs[0] = &pb.ModelInferRequest_InferInputTensor{Name: "image", Datatype: "BYTES", Shape: shape}
		q.RawInputContents = [][]byte{raw}
		q.Outputs = []*pb.ModelInferRequest_InferRequestedOutputTensor{{Name: "boxes"}, {Name: "labels"}, {Name: "counts"}}
		if change != nil {
			change(q)
		}
	})
}

var twelve = []float32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}

var doubled = map[string]string{
	"output0": "FP32 [1 3 2 2] " + hex(floats(2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24)),
	"classes": "UINT8 [2] 07ff",
}
var one = map[string]string{"boxes": "FP32 [1 4] " + hex(floats(1, 2, 3, 4.5)), "labels": "BYTES [1] " + hex(text("圆")), "counts": "INT64 [1] 0100000000000000"}
var two = map[string]string{"boxes": "FP32 [2 4] " + hex(floats(1, 2, 3, 4.5, 1, 2, 3, 4.5)), "labels": "BYTES [2] " + hex(text("圆", "圆")), "counts": "INT64 [2] 01000000000000000100000000000000"}

func half(q *pb.ModelInferRequest) {
	q.ModelName, q.Inputs[0].Datatype = "half", "FP16"
	q.RawInputContents[0] = []byte(strings.Repeat("\x00\x3c", 12)) // ones
}

// inferCases are asked over REST and over gRPC.
var inferCases = []struct {
	name string
	q    *pb.ModelInferRequest
	code codes.Code
	http int
	says string            // is in the error
	want map[string]string // outputs
}{
	{"raw", good(nil), codes.OK, 200, "", doubled},
	{"its version", good(func(q *pb.ModelInferRequest) { q.ModelVersion = "1.2" }), codes.OK, 200, "", doubled},
	{"typed", typed(&pb.InferTensorContents{Fp32Contents: twelve}, nil), codes.OK, 200, "", doubled},
	{"one output", good(func(q *pb.ModelInferRequest) { ask(q, "classes") }), codes.OK, 200, "", map[string]string{"classes": "UINT8 [2] 07ff"}},
	{"half", good(half), codes.OK, 200, "", map[string]string{"output0": "FP16 [1 3 2 2] " + strings.Repeat("0040", 12), "classes": "UINT8 [2] 07ff"}},
	{"a picture", pictures([]int64{1}, text("jpeg"), nil), codes.OK, 200, "", one},
	{"a picture, [1,1]", pictures([]int64{1, 1}, text("jpeg"), nil), codes.OK, 200, "", one},
	{"two pictures", pictures([]int64{2}, text("jpeg", "png"), nil), codes.OK, 200, "", two},
	{"two pictures, [2,1]", pictures([]int64{2, 1}, text("jpeg", "png"), nil), codes.OK, 200, "", two},
	{"a picture as contents", pictures([]int64{1}, nil, func(q *pb.ModelInferRequest) {
		q.RawInputContents = nil
		q.Inputs[0].Contents = &pb.InferTensorContents{BytesContents: [][]byte{[]byte("jpeg")}}
	}), codes.OK, 200, "", one},

	{"no such model", good(func(q *pb.ModelInferRequest) { q.ModelName = "nothing" }), codes.NotFound, 404, "nothing", nil},
	{"no such version", good(func(q *pb.ModelInferRequest) { q.ModelVersion = "2" }), codes.NotFound, 404, `"1.2"`, nil},
	{"no inputs", good(func(q *pb.ModelInferRequest) { q.Inputs, q.RawInputContents = nil, nil }), codes.InvalidArgument, 400, "inputs", nil},
	{"another input", good(func(q *pb.ModelInferRequest) { q.Inputs[0].Name = "pixels" }), codes.InvalidArgument, 400, `"images" is missing`, nil},
	{"an input too many", good(func(q *pb.ModelInferRequest) {
		q.Inputs, q.RawInputContents = append(q.Inputs, q.Inputs[0]), append(q.RawInputContents, q.RawInputContents[0])
	}), codes.InvalidArgument, 400, "2 were given", nil},
	{"datatype of another model", good(func(q *pb.ModelInferRequest) { half(q); q.ModelName = "double" }), codes.InvalidArgument, 400, "FP16", nil},
	{"no datatype", good(func(q *pb.ModelInferRequest) { q.Inputs[0].Datatype = "FLOAT" }), codes.InvalidArgument, 400, `"FLOAT"`, nil},
	{"another shape", good(func(q *pb.ModelInferRequest) { q.Inputs[0].Shape = []int64{12} }), codes.InvalidArgument, 400, "[12]", nil},
	{"a shape that the data does not make", good(func(q *pb.ModelInferRequest) { q.Inputs[0].Shape = []int64{1, 3, 2, 3} }), codes.InvalidArgument, 400, "takes 72", nil},
	{"a negative side", good(func(q *pb.ModelInferRequest) { q.Inputs[0].Shape = []int64{1, -3, 2, -2} }), codes.InvalidArgument, 400, "shape", nil},
	{"an overflowing shape", good(func(q *pb.ModelInferRequest) { q.Inputs[0].Shape = []int64{1 << 62, 4, 3, 1} }), codes.InvalidArgument, 400, "shape", nil},
	{"no shape", good(func(q *pb.ModelInferRequest) { q.Inputs[0].Shape = nil }), codes.InvalidArgument, 400, "shape", nil},
	{"a byte short", good(func(q *pb.ModelInferRequest) { q.RawInputContents[0] = q.RawInputContents[0][1:] }), codes.InvalidArgument, 400, "47 bytes", nil},
	{"no data", good(func(q *pb.ModelInferRequest) { q.RawInputContents = nil }), codes.InvalidArgument, 400, "no data", nil},
	{"a value short", typed(&pb.InferTensorContents{Fp32Contents: twelve[1:]}, nil), codes.InvalidArgument, 400, "11 values", nil},
	{"half typed", typed(&pb.InferTensorContents{Fp32Contents: twelve}, func(q *pb.ModelInferRequest) { q.Inputs[0].Datatype = "FP16" }), codes.InvalidArgument, 400, "FP16", nil},
	{"no such output", good(func(q *pb.ModelInferRequest) { ask(q, "output9") }), codes.InvalidArgument, 400, "output9", nil},
	{"an output twice", good(func(q *pb.ModelInferRequest) { ask(q, "output0", "output0") }), codes.InvalidArgument, 400, "twice", nil},
	{"classification", good(func(q *pb.ModelInferRequest) {
		ask(q, "output0")
		q.Outputs[0].Parameters = map[string]*pb.InferParameter{"classification": param(3)}
	}), codes.InvalidArgument, 400, "classification", nil},
	{"shared memory", good(func(q *pb.ModelInferRequest) {
		q.Inputs[0].Parameters = map[string]*pb.InferParameter{"shared_memory_region": param("r")}
	}), codes.InvalidArgument, 400, "shared memory", nil},
	{"a failure inside", good(func(q *pb.ModelInferRequest) { q.ModelName = "broken" }), codes.Internal, 500, "internal error", nil},

	{"a picture that is none", pictures([]int64{1}, text("bad"), nil), codes.InvalidArgument, 400, "cannot be decoded", nil},
	{"the second is none", pictures([]int64{2}, text("jpeg", "bad"), nil), codes.InvalidArgument, 400, "picture 2 of 2", nil},
	{"fewer pictures", pictures([]int64{2}, text("jpeg"), nil), codes.InvalidArgument, 400, "2 elements", nil},
	{"a length beyond the end", pictures([]int64{1}, []byte("\xff\xff\xff\xffx"), nil), codes.InvalidArgument, 400, "length", nil},
	{"pictures in three dimensions", pictures([]int64{1, 1, 1}, text("jpeg"), nil), codes.InvalidArgument, 400, "[n,1]", nil},
	{"too many pictures", pictures([]int64{33}, text("jpeg"), nil), codes.InvalidArgument, 400, "32", nil},
	{"pictures under another name", pictures([]int64{1}, text("jpeg"), func(q *pb.ModelInferRequest) { q.Inputs[0].Name = "images" }), codes.InvalidArgument, 400, "called image", nil},
	{"conf of 2", pictures([]int64{1}, text("jpeg"), func(q *pb.ModelInferRequest) {
		q.Parameters = map[string]*pb.InferParameter{"conf": param(2)}
	}), codes.InvalidArgument, 400, "conf", nil},
	{"classes of words", pictures([]int64{1}, text("jpeg"), func(q *pb.ModelInferRequest) {
		q.Parameters = map[string]*pb.InferParameter{"classes": param("a,b")}
	}), codes.InvalidArgument, 400, "classes", nil},
}

// Both doors must say the same.
func TestInfer(t *testing.T) {
	d := open(t, nil, nil)
	for _, tt := range inferCases {
		status1, failure, outputs := d.restInfer(t, tt.q)
		if status1 != tt.http || !strings.Contains(failure, tt.says) {
			t.Errorf("%s, REST: %d %q", tt.name, status1, failure)
		}
		if diff := cmp.Diff(tt.want, outputs); diff != "" {
			t.Errorf("%s, REST: %s", tt.name, diff)
		}
		outputs, err := d.grpcInfer(t, tt.q)
		if status.Code(err) != tt.code || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s, gRPC: %v", tt.name, err)
		}
		if diff := cmp.Diff(tt.want, outputs); diff != "" {
			t.Errorf("%s, gRPC: %s", tt.name, diff)
		}
		if err != nil && strings.Contains(err.Error()+failure, "secret") {
			t.Errorf("%s: leaked: %v, %s", tt.name, err, failure)
		}
	}
}

func hex(b []byte) string {
	const digits = "0123456789abcdef"
	var out []byte
	for _, c := range b {
		out = append(out, digits[c>>4], digits[c&15])
	}
	return string(out)
}

func ask(q *pb.ModelInferRequest, names ...string) {
	for _, n := range names {
		q.Outputs = append(q.Outputs, &pb.ModelInferRequest_InferRequestedOutputTensor{Name: n})
	}
}

// The options of /api/v2/detect are a request's parameters.
func TestPictureOptions(t *testing.T) {
	d := open(t, nil, nil)
	q := pictures([]int64{1}, text("jpeg"), func(q *pb.ModelInferRequest) {
		q.Parameters = map[string]*pb.InferParameter{
			"conf": param(0.5), "iou": param(0.25), "max_det": param(7), "classes": param("[0, 2]"), "agnostic_nms": param(true),
			"nms": param(false), "imgsz": param(320), "masks": param("rle"), "keep_alive": param("5m"), "mine": param("kept"),
		}
	})
	ask(q, "result")
	for i := range 2 {
		if i == 0 {
			if status, failure, out := d.restInfer(t, q); status != 200 || !strings.Contains(out["result"], hex([]byte(`"masks":"rle"`))) {
				t.Errorf("%d %s %v", status, failure, out)
			}
		} else {
			out := new(pb.ModelInferResponse)
			if err := d.call("ModelInfer", q, out); err != nil {
				t.Fatal(err)
			}
			if out.Parameters["mine"].GetStringParam() != "kept" || out.Parameters["conf"].GetDoubleParam() != 0.5 {
				t.Errorf("parameters came back as %v", out.Parameters)
			}
		}
		r := d.core.last()
		if *r.Conf != 0.5 || *r.IoU != 0.25 || r.MaxDet != 7 || !cmp.Equal(r.Classes, []int{0, 2}) || !r.AgnosticNMS || *r.NMS || r.ImgSz != 320 || r.KeepAlive.Minutes() != 5 {
			t.Errorf("%d: %+v", i, r)
		}
	}
}

func TestBothWaysOfDataAtOnce(t *testing.T) {
	d := open(t, nil, nil)
	err := d.call("ModelInfer", typed(&pb.InferTensorContents{Fp32Contents: twelve}, func(q *pb.ModelInferRequest) {
		q.RawInputContents = [][]byte{floats(twelve...)}
	}), new(pb.ModelInferResponse))
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "both") {
		t.Error(err)
	}
	err = d.call("ModelInfer", good(func(q *pb.ModelInferRequest) { q.RawInputContents = append(q.RawInputContents, nil) }), new(pb.ModelInferResponse))
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "2 for 1") {
		t.Error(err)
	}
	err = d.call("ModelInfer", typed(&pb.InferTensorContents{IntContents: []int32{1}}, nil), new(pb.ModelInferResponse))
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "fp32_contents") {
		t.Error(err)
	}
}

// What an answer says of memory is given back when it was sent.
func TestMemoryComesBack(t *testing.T) {
	d := open(t, nil, nil)
	for range 200 { // the share would be gone after 16
		if err := d.call("ModelInfer", good(nil), new(pb.ModelInferResponse)); err != nil {
			t.Fatal(err)
		}
		if err := d.call("ModelInfer", good(func(q *pb.ModelInferRequest) { q.ModelName = "broken" }), new(pb.ModelInferResponse)); err == nil {
			t.Fatal("no error")
		}
	}
	all := d.share.Claim()
	defer all.Release()
	if err := all.Grow(t.Context(), 8<<20); err != nil { // waits for the last calls to end
		t.Error(err)
	}
}

func TestAMessageOverTheLimit(t *testing.T) {
	d := open(t, nil, nil)
	err := d.call("ModelInfer", good(func(q *pb.ModelInferRequest) { q.RawInputContents[0] = make([]byte, maxBody) }), new(pb.ModelInferResponse))
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "larger than max") { // gRPC's own words
		t.Error(err)
	}
	err = d.call("ModelMetadata", &pb.ModelMetadataRequest{Name: strings.Repeat("x", 100<<10)}, new(pb.ModelMetadataResponse))
	if status.Code(err) != codes.InvalidArgument || len(err.Error()) > 300 {
		t.Error(err)
	}
	many := good(nil)
	for range 1000 {
		many.Inputs = append(many.Inputs, new(pb.ModelInferRequest_InferInputTensor))
	}
	if err := d.call("ModelInfer", many, new(pb.ModelInferResponse)); status.Code(err) != codes.InvalidArgument {
		t.Error(err)
	}
}

// FuzzMessage sends any bytes as a ModelInferRequest.
func FuzzMessage(f *testing.F) {
	for _, q := range []*pb.ModelInferRequest{good(nil), typed(&pb.InferTensorContents{Fp32Contents: twelve}, nil), pictures([]int64{1}, text("jpeg"), nil)} {
		b, err := proto.Marshal(q)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	d := open(f, nil, nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		err := d.conn.Invoke(t.Context(), "/inference.GRPCInferenceService/ModelInfer", raw(b), new(raw), callRaw)
		if c := status.Code(err); c == codes.Internal && strings.Contains(err.Error(), "panic") || c == codes.Unavailable || c == codes.ResourceExhausted {
			t.Errorf("%q: %v", b, err)
		}
	})
}
