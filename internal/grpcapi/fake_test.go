package grpcapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"lazyolo/internal/bodies"
	"lazyolo/internal/grpcapi"
	"lazyolo/internal/oip"
	"lazyolo/internal/pb"
	"lazyolo/yolo"
)

// A core is models that double what they are given, and remember what they were asked.
type core struct {
	mu     sync.Mutex
	asked  []yolo.Request
	inMem  map[string]bool
	failed map[string]error
	wait   chan struct{} // closed: Infer waits for the end of its context
	large  bool          // answers do not fit a client's window
}

var models = []*yolo.Model{
	{ID: "double", Index: 0, Name: "Double", Version: "1.2", Task: yolo.Detect, Labels: yolo.Labels{0: "it's", 2: "圆"}},
	{ID: "half", Index: 1, Task: yolo.Detect},
	{ID: "slow", Index: 2, Task: yolo.Detect},
	{ID: "broken", Index: 3, Task: yolo.Detect},
}

func (c *core) All() []*yolo.Model { return models }

func (c *core) Signature(_ context.Context, m *yolo.Model) (yolo.Signature, error) {
	in := yolo.TensorInfo{Name: "images", DType: yolo.FP32, Shape: []int64{1, 3, 2, 2}}
	out := yolo.TensorInfo{Name: "output0", DType: yolo.FP32, Shape: []int64{1, 3, 2, 2}}
	if m.ID == "half" {
		in.DType, out.DType = yolo.FP16, yolo.FP16
	}
	classes := yolo.TensorInfo{Name: "classes", DType: yolo.UINT8, Shape: []int64{2}}
	return yolo.Signature{Inputs: []yolo.TensorInfo{in}, Outputs: []yolo.TensorInfo{out, classes},
		Metadata: map[string]string{"stride": "32", "names": "{0: 'file'}", "task": "detect"}}, nil
}

func (c *core) Infer(ctx context.Context, id string, in []yolo.Tensor, use func([]yolo.Tensor) error) error {
	switch id {
	case "slow":
		close(c.wait)
		<-ctx.Done()
		return ctx.Err()
	case "broken":
		return fmt.Errorf("open /secret/path: no")
	}
	if fmt.Sprint(in[0].Shape) != "[1 3 2 2]" || len(in[0].Data) != 12 {
		return yolo.Errorf(yolo.Invalid, "input images: the shape is %v", in[0].Shape)
	}
	out := make([]float32, 12)
	for i, v := range in[0].Data {
		out[i] = 2 * v
	}
	if c.large {
		return use([]yolo.Tensor{{Shape: []int64{1, 3, 256, 256}, Data: make([]float32, 3<<16)}, {Shape: []int64{2}, Data: []float32{7, 255}}})
	}
	return use([]yolo.Tensor{{Shape: []int64{1, 3, 2, 2}, Data: out}, {Shape: []int64{2}, Data: []float32{7, 255}}})
}

func (c *core) Detect(_ context.Context, r yolo.Request) (*yolo.Result, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if string(r.Image) == "bad" {
		return nil, yolo.Errorf(yolo.Invalid, "the picture cannot be decoded")
	}
	r.Image = bytes.Clone(r.Image)
	c.asked = append(c.asked, r)
	return &yolo.Result{Objects: []yolo.Object{{Class: 2, Name: "圆", Confidence: 0.5, Box: yolo.Box{X1: 1, Y1: 2, X2: 3, Y2: 4.5}}}}, nil
}

func (c *core) last() yolo.Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.asked) == 0 {
		return yolo.Request{}
	}
	return c.asked[len(c.asked)-1]
}

func (c *core) Counts(m *yolo.Model) yolo.Counts {
	if m.ID != "double" {
		return yolo.Counts{}
	}
	return yolo.Counts{Success: yolo.Sum{N: 3, Time: 30}, Fail: yolo.Sum{N: 1, Time: 5}, Infer: yolo.Sum{N: 3, Time: 20}, Last: time.UnixMilli(1234)}
}

func (c *core) Load(_ context.Context, m *yolo.Model) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.ID == "broken" {
		return &yolo.Error{Code: yolo.LoadFailed, Msg: "the file is damaged", Retry: 2 * time.Second}
	}
	c.inMem[m.ID] = true
	return nil
}

func (c *core) Unload(_ context.Context, m *yolo.Model) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.inMem, m.ID)
	return nil
}

func (c *core) Status() (out []yolo.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range models {
		s := yolo.Status{Model: m}
		if c.inMem[m.ID] {
			s.State, s.Mapped, s.Private = yolo.Ready, 100, 11
		}
		if err := c.failed[m.ID]; err != nil {
			s.State, s.Err = yolo.Failed, err
		}
		out = append(out, s)
	}
	return out
}

// doors are both doors over one core.
type doors struct {
	core  *core
	share *bodies.Share
	url   string
	conn  *grpc.ClientConn
	grpc  *grpcapi.Server
	addr  string
	ready atomic.Bool
}

// The doors' limits.
const (
	maxBody      = 1 << 20
	writeTimeout = 500 * time.Millisecond
)

func open(t testing.TB, gate grpcapi.Gate, guard func(*http.Request) error) *doors {
	t.Helper()
	d := &doors{core: &core{inMem: map[string]bool{}, failed: map[string]error{}, wait: make(chan struct{})}, share: bodies.New(8 << 20)}
	d.ready.Store(true)
	c, err := oip.NewCore(d.core, d.core, d.core, oip.Options{
		Version: "9", Ready: d.ready.Load, Bodies: d.share, RequestTimeout: time.Minute,
		Answer: func(r *yolo.Result, masks string) ([]byte, error) {
			return json.Marshal(map[string]any{"n": len(r.Objects), "masks": masks})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	rest, err := oip.NewDoor(c, oip.RESTOptions{Log: log, MaxBody: maxBody, UploadTimeout: time.Minute, Guard: guard})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(rest)
	t.Cleanup(web.Close)
	d.url = web.URL
	if d.grpc, err = grpcapi.New(c, grpcapi.Options{Log: log, MaxBody: maxBody, UploadTimeout: time.Minute, WriteTimeout: writeTimeout, MaxConns: 8, Bodies: d.share, Gate: gate}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- d.grpc.Serve(l) }()
	d.addr = l.Addr().String()
	if d.conn, err = grpc.NewClient(d.addr, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = d.conn.Close()
		if err := d.grpc.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return d
}

// call makes a gRPC call.
func (d *doors) call(method string, in, out any, o ...grpc.CallOption) error {
	return d.conn.Invoke(context.Background(), "/inference.GRPCInferenceService/"+method, in, out, o...)
}

// rest makes a REST call; headers are names and values.
func (d *doors) rest(t testing.TB, method, path string, body []byte, headers ...string) (int, http.Header, []byte) {
	t.Helper()
	r, err := http.NewRequest(method, d.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, b
}

// restInfer sends an inference, its data binary, and returns its outputs' bytes by name.
func (d *doors) restInfer(t testing.TB, q *pb.ModelInferRequest) (status int, failure string, outputs map[string]string) {
	t.Helper()
	var inputs, wanted []map[string]any
	var raw []byte
	for i, in := range q.Inputs {
		one := map[string]any{"name": in.Name, "datatype": in.Datatype, "shape": append([]int64{}, in.Shape...)}
		p := values(in.Parameters)
		switch {
		case i < len(q.RawInputContents):
			p["binary_data_size"] = len(q.RawInputContents[i])
			raw = append(raw, q.RawInputContents[i]...)
		case in.Contents.GetBytesContents() != nil:
			one["data"] = in.Contents.BytesContents // base64
		case in.Contents != nil:
			one["data"] = append([]float32{}, in.Contents.Fp32Contents...)
		}
		one["parameters"] = p
		inputs = append(inputs, one)
	}
	for _, o := range q.Outputs {
		wanted = append(wanted, map[string]any{"name": o.Name, "parameters": values(o.Parameters)})
	}
	p := values(q.Parameters)
	p["binary_data_output"] = true
	head, err := json.Marshal(map[string]any{"id": q.Id, "inputs": inputs, "outputs": wanted, "parameters": p})
	if err != nil {
		t.Fatal(err)
	}
	path := "/v2/models/" + q.ModelName
	if q.ModelVersion != "" {
		path += "/versions/" + q.ModelVersion
	}
	header := []string{}
	if len(q.RawInputContents) > 0 {
		header = []string{"Inference-Header-Content-Length", strconv.Itoa(len(head))}
	}
	status, h, b := d.rest(t, "POST", path+"/infer", append(head, raw...), header...)
	if status != http.StatusOK {
		var e struct{ Error string }
		if err := json.Unmarshal(b, &e); err != nil || e.Error == "" {
			t.Errorf("%d %s", status, b)
		}
		return status, e.Error, nil
	}
	n, err := strconv.Atoi(h.Get("Inference-Header-Content-Length"))
	if err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	var answer struct {
		ID      string
		Outputs []struct {
			Name, Datatype string
			Shape          []int64
			Parameters     struct {
				Size int `json:"binary_data_size"`
			}
		}
	}
	if err := json.Unmarshal(b[:n], &answer); err != nil {
		t.Fatal(err)
	}
	if answer.ID != q.Id {
		t.Errorf("id %q came back as %q", q.Id, answer.ID)
	}
	outputs = make(map[string]string)
	data := b[n:]
	for _, o := range answer.Outputs {
		outputs[o.Name] = fmt.Sprintf("%s %v %x", o.Datatype, o.Shape, data[:o.Parameters.Size])
		data = data[o.Parameters.Size:]
	}
	if len(data) > 0 {
		t.Errorf("%d bytes too many", len(data))
	}
	return status, "", outputs
}

func values(in map[string]*pb.InferParameter) map[string]any {
	out := make(map[string]any)
	for k, p := range in {
		switch v := p.ParameterChoice.(type) {
		case *pb.InferParameter_BoolParam:
			out[k] = v.BoolParam
		case *pb.InferParameter_Int64Param:
			out[k] = v.Int64Param
		case *pb.InferParameter_StringParam:
			out[k] = v.StringParam
		case *pb.InferParameter_DoubleParam:
			out[k] = v.DoubleParam
		}
	}
	return out
}

// grpcInfer is the same over gRPC.
func (d *doors) grpcInfer(t testing.TB, q *pb.ModelInferRequest) (map[string]string, error) {
	t.Helper()
	out := new(pb.ModelInferResponse)
	if err := d.call("ModelInfer", q, out); err != nil {
		return nil, err
	}
	if out.Id != q.Id {
		t.Errorf("id %q came back as %q", q.Id, out.Id)
	}
	outputs := make(map[string]string)
	for i, o := range out.Outputs {
		outputs[o.Name] = fmt.Sprintf("%s %v %x", o.Datatype, o.Shape, out.RawOutputContents[i])
	}
	return outputs, nil
}
