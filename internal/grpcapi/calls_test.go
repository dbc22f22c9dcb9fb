package grpcapi_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"lazyolo/internal/pb"
	"lazyolo/yolo"
)

// raw is a message as bytes.
type raw []byte

// rawCodec sends and receives bytes as they are.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.(raw))}, nil
}
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*raw) = data.Materialize()
	return nil
}

var callRaw = grpc.ForceCodecV2(rawCodec{})

// What both doors say of server and models is the same but for how JSON writes numbers.
func TestBothDoorsTellTheSame(t *testing.T) {
	d := open(t, nil, nil)
	d.core.failed["broken"] = &yolo.Error{Code: yolo.LoadFailed, Msg: "the file is damaged", Err: errors.New("/secret")}
	if err := d.call("RepositoryModelLoad", &pb.RepositoryModelLoadRequest{ModelName: "double"}, new(pb.RepositoryModelLoadResponse)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		verb, path, body string
		call             string
		in, out          proto.Message
		parts            []string // are in both, spaces left out
	}{
		{"GET", "/v2", "", "ServerMetadata", new(pb.ServerMetadataRequest), new(pb.ServerMetadataResponse), []string{`"name":"lazyolo"`, `"version":"9"`, `"model_repository"`}},
		{"GET", "/v2/health/live", "", "ServerLive", new(pb.ServerLiveRequest), new(pb.ServerLiveResponse), []string{`"live":true`}},
		{"GET", "/v2/health/ready", "", "ServerReady", new(pb.ServerReadyRequest), new(pb.ServerReadyResponse), []string{`"ready":true`}},
		{"GET", "/v2/models/half/ready", "", "ModelReady", &pb.ModelReadyRequest{Name: "half"}, new(pb.ModelReadyResponse), []string{`"ready":true`}},
		{"GET", "/v2/models/double/versions/1.2/ready", "", "ModelReady", &pb.ModelReadyRequest{Name: "double", Version: "1.2"}, new(pb.ModelReadyResponse), []string{`"ready":true`}},
		{"GET", "/v2/models/double", "", "ModelMetadata", &pb.ModelMetadataRequest{Name: "double"}, new(pb.ModelMetadataResponse),
			[]string{`"versions":["1.2"]`, `"platform":"onnxruntime_onnx"`, `"inputs":[{"name":"images","datatype":"FP32","shape":[1,3,2,2]}]`, `"datatype":"UINT8"`, "picture_input"}},
		{"GET", "/v2/models/double/config", "", "ModelConfig", &pb.ModelConfigRequest{Name: "double"}, new(pb.ModelConfigResponse),
			[]string{`"data_type":"TYPE_FP32","dims":[1,3,2,2]`, `"max_batch_size":0`, `'names':{0:'it\\'s',2:'圆'}`, `'stride':'32'`, "KIND_CPU"}},
		{"GET", "/v2/models/double/stats", "", "ModelStatistics", &pb.ModelStatisticsRequest{Name: "double"}, new(pb.ModelStatisticsResponse),
			[]string{`"last_inference":1234`, `"inference_count":3`, `"success":{"count":3,"ns":30}`, `"fail":{"count":1,"ns":5}`, `"byte_size":111`}},
		{"GET", "/v2/models/stats", "", "ModelStatistics", new(pb.ModelStatisticsRequest), new(pb.ModelStatisticsResponse), []string{`"name":"double"`, `"name":"broken"`}},
		{"POST", "/v2/repository/index", "", "RepositoryIndex", new(pb.RepositoryIndexRequest), new(pb.RepositoryIndexResponse),
			[]string{`"name":"double","version":"1.2","state":"READY"`, `"UNAVAILABLE","reason":"notinmemory:loadedondemand"`, `"UNAVAILABLE","reason":"thefileisdamaged"`}},
	} {
		status, _, body := d.rest(t, tt.verb, tt.path, []byte(tt.body))
		if status != http.StatusOK {
			t.Errorf("%s: %d %s", tt.path, status, body)
		}
		if err := d.call(tt.call, tt.in, tt.out); err != nil {
			t.Errorf("%s: %v", tt.call, err)
		}
		b, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(tt.out)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range tt.parts {
			if rest := plain(body); !strings.Contains(rest, plain([]byte(p))) {
				t.Errorf("%s: %s is not in %s", tt.path, p, rest)
			}
			if rpc := plain(b); !strings.Contains(rpc, plain([]byte(p))) {
				t.Errorf("%s: %s is not in %s", tt.call, p, rpc)
			}
		}
		if strings.Contains(string(body)+string(b), "secret") {
			t.Errorf("%s leaks", tt.path)
		}
	}
}

// plain takes out spaces and the quotes around numbers.
func plain(b []byte) string {
	s := strings.NewReplacer(" ", "", "\n", "").Replace(string(b))
	for i := 0; i < len(s); i++ {
		if s[i] == '"' {
			if end := strings.IndexByte(s[i+1:], '"'); end > 0 && strings.Trim(s[i+1:i+1+end], "0123456789") == "" {
				s = s[:i] + s[i+1:i+1+end] + s[i+2+end:]
			} else if end >= 0 {
				i += end + 1
			}
		}
	}
	return s
}

func TestUnknownModelsEverywhere(t *testing.T) {
	d := open(t, nil, nil)
	for _, path := range []string{"", "/ready", "/config", "/stats", "/versions/1", "/versions/1/config"} {
		for _, name := range []string{"nothing", "double/versions/7"} {
			if status, _, body := d.rest(t, "GET", "/v2/models/"+name+path, nil); status != http.StatusNotFound || !strings.Contains(string(body), `"error"`) {
				t.Errorf("%s%s: %d %s", name, path, status, body)
			}
		}
	}
	for call, in := range map[string]proto.Message{
		"ModelReady": &pb.ModelReadyRequest{Name: "nothing"}, "ModelMetadata": &pb.ModelMetadataRequest{Name: "nothing"},
		"ModelConfig": &pb.ModelConfigRequest{Name: "double", Version: "7"}, "ModelStatistics": &pb.ModelStatisticsRequest{Name: "nothing"},
		"RepositoryModelLoad": &pb.RepositoryModelLoadRequest{ModelName: "nothing"}, "RepositoryModelUnload": &pb.RepositoryModelUnloadRequest{ModelName: "nothing"},
	} {
		if err := d.call(call, in, new(pb.ServerLiveResponse)); status.Code(err) != codes.NotFound {
			t.Errorf("%s: %v", call, err)
		}
	}
}

func TestTheRepository(t *testing.T) {
	d := open(t, nil, nil)
	post := func(path, body string) string {
		status, _, b := d.rest(t, "POST", "/v2/repository/"+path, []byte(body))
		return fmt.Sprint(status, " ", string(b))
	}
	for _, step := range []struct{ path, body, want string }{
		{"index", `{"ready":true}`, "200 []"},
		{"models/double/load", "", "200 "},
		{"models/double/load", `{"parameters":{}}`, "200 "},
		{"index", `{"ready":true}`, `200 [{"name":"double","version":"1.2","state":"READY","reason":""}]`},
		{"models/double/unload", `{"parameters":{"unload_dependents":true}}`, "200 "},
		{"index", `{"ready":true}`, "200 []"},
	} {
		if got := post(step.path, step.body); got != step.want {
			t.Errorf("%s %s: %s", step.path, step.body, got)
		}
	}
	for path, body := range map[string]string{
		"models/double/load": `{"parameters":{"config":"{}"}}`, "index": `{"ready":1}`, "models/half/unload": `{`,
	} {
		if got := post(path, body); !strings.HasPrefix(got, "4") || !strings.Contains(got, `"error"`) {
			t.Errorf("%s %s: %s", path, body, got)
		}
	}
	if got := post("models/broken/load", ""); !strings.HasPrefix(got, "503") || !strings.Contains(got, "damaged") {
		t.Error(got)
	}
	in := &pb.RepositoryModelLoadRequest{ModelName: "half", Parameters: map[string]*pb.ModelRepositoryParameter{"file:1/model.onnx": {}}}
	if err := d.call("RepositoryModelLoad", in, new(pb.RepositoryModelLoadResponse)); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "file:1") {
		t.Error(err)
	}
	if err := d.call("RepositoryModelLoad", &pb.RepositoryModelLoadRequest{ModelName: "broken"}, new(pb.RepositoryModelLoadResponse)); status.Code(err) != codes.Unavailable {
		t.Error(err)
	}
}

// A gate that lets nobody do more than Read.
type readers struct{ seen chan yolo.Scope }

func (g readers) Admit(_ context.Context, peer string, header func(string) []string, scope yolo.Scope) (func(), error) {
	if !strings.HasPrefix(peer, "127.0.0.1:") || header("user-agent") == nil {
		return nil, yolo.Errorf(yolo.Denied, "from %s", peer)
	}
	g.seen <- scope
	if scope > yolo.Read {
		return nil, yolo.Errorf(yolo.Forbidden, "not you")
	}
	return func() {}, nil
}

func TestTheGateIsAsked(t *testing.T) {
	g := readers{make(chan yolo.Scope, 1)}
	d := open(t, g, func(*http.Request) error { return yolo.Errorf(yolo.Forbidden, "not you") })
	for call, want := range map[string]yolo.Scope{
		"ServerLive": yolo.Open, "ServerReady": yolo.Open, "ServerMetadata": yolo.Read, "ModelMetadata": yolo.Read, "ModelConfig": yolo.Read, "ModelStatistics": yolo.Read,
		"RepositoryIndex": yolo.Read, "ModelInfer": yolo.Infer, "RepositoryModelLoad": yolo.Admin, "RepositoryModelUnload": yolo.Admin,
	} {
		err := d.call(call, new(pb.ServerLiveRequest), new(pb.ServerLiveResponse))
		if got := <-g.seen; got != want {
			t.Errorf("%s: %v, want %v", call, got, want)
		}
		if (status.Code(err) == codes.PermissionDenied) != (want > yolo.Read) {
			t.Errorf("%s: %v", call, err)
		}
	}
	for _, action := range []string{"load", "unload"} {
		if status, _, body := d.rest(t, "POST", "/v2/repository/models/double/"+action, nil); status != http.StatusForbidden {
			t.Errorf("%s: %d %s", action, status, body)
		}
	}
	health, err := grpc_health_v1.NewHealthClient(d.conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "inference.GRPCInferenceService"})
	if err != nil || health.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Error(health, err)
	}
}

func TestReflectionDescribesTheService(t *testing.T) {
	d := open(t, nil, nil)
	s, err := grpc_reflection_v1.NewServerReflectionClient(d.conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*grpc_reflection_v1.ServerReflectionRequest{
		{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}},
		{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "inference.GRPCInferenceService"}},
	} {
		if err := s.Send(r); err != nil {
			t.Fatal(err)
		}
		a, err := s.Recv()
		if err != nil || a.GetErrorResponse() != nil || !strings.Contains(a.String(), "GRPCInferenceService") {
			t.Errorf("%v %v", a, err)
		}
	}
	if err := s.CloseSend(); err != nil {
		t.Error(err)
	}
}

// A caller that leaves, or whose time ends, leaves the queue.
func TestDeadlinesAndCancellationReachTheModel(t *testing.T) {
	for _, how := range []string{"deadline", "cancel", "parameter"} {
		d := open(t, nil, nil)
		ctx, cancel := context.WithCancel(t.Context())
		want := codes.Canceled
		q := good(func(q *pb.ModelInferRequest) { q.ModelName = "slow" })
		switch how {
		case "deadline":
			ctx, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
			want = codes.DeadlineExceeded
		case "parameter":
			q.Parameters = map[string]*pb.InferParameter{"timeout": param(50_000)}
			want = codes.DeadlineExceeded
		}
		done := make(chan error)
		go func() {
			done <- d.conn.Invoke(ctx, "/inference.GRPCInferenceService/ModelInfer", q, new(pb.ModelInferResponse))
		}()
		<-d.core.wait
		if how == "cancel" {
			cancel()
		}
		if err := <-done; status.Code(err) != want {
			t.Errorf("%s: %v", how, err)
		}
		cancel()
	} // the doors' end waits for the handlers
}

func TestStopCutsWhatDoesNotEnd(t *testing.T) {
	d := open(t, nil, nil)
	done := make(chan error)
	go func() {
		done <- d.call("ModelInfer", good(func(q *pb.ModelInferRequest) { q.ModelName = "slow" }), new(pb.ModelInferResponse))
	}()
	<-d.core.wait
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := d.grpc.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if err := <-done; err == nil {
		t.Error("no error")
	}
}

// Who watches health hears of every change, and of the end.
func TestHealthIsWatched(t *testing.T) {
	d := open(t, nil, nil)
	client := grpc_health_v1.NewHealthClient(d.conn)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	next := func(s grpc_health_v1.Health_WatchClient, want grpc_health_v1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		if r, err := s.Recv(); err != nil || r.Status != want {
			t.Fatalf("%v, %v, want %v", r, err, want)
		}
	}
	watch := func(service string) grpc_health_v1.Health_WatchClient {
		t.Helper()
		s, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	ours := watch("inference.GRPCInferenceService")
	next(ours, grpc_health_v1.HealthCheckResponse_SERVING)
	other := watch("other")
	next(other, grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN)
	d.ready.Store(false)
	next(ours, grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	d.ready.Store(true)
	next(ours, grpc_health_v1.HealthCheckResponse_SERVING)
	if err := d.grpc.Stop(ctx); err != nil {
		t.Error(err)
	}
	for _, s := range []grpc_health_v1.Health_WatchClient{ours, other} { // nothing was told twice
		if r, err := s.Recv(); status.Code(err) != codes.Unavailable {
			t.Errorf("%v, %v", r, err)
		}
	}
}

// A client that does not take its answer loses the connection, and the memory is free.
func TestAnswersThatAreNotTaken(t *testing.T) {
	d := open(t, nil, nil)
	d.core.large = true
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stream, err := d.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/inference.GRPCInferenceService/ModelInfer")
	if err := errors.Join(err, stream.SendMsg(good(nil)), stream.CloseSend()); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	for d.conn.GetState() == connectivity.Ready {
		if !d.conn.WaitForStateChange(ctx, connectivity.Ready) {
			t.Fatal("the connection is not cut")
		}
	}
	if took := time.Since(before); took < writeTimeout/2 {
		t.Errorf("cut after %v", took)
	}
	for all := d.share.Claim(); ; runtime.GC() { // what broke is found by the collector
		if err := all.Grow(t.Context(), 8<<20); err == nil {
			all.Release()
			break
		}
		if time.Since(before) > 30*time.Second {
			t.Fatal("the memory of the answer is not free")
		}
	}
	d.core.large = false
	if err := d.call("ModelInfer", good(nil), new(pb.ModelInferResponse), grpc.WaitForReady(true)); err != nil {
		t.Error(err)
	}
}

// More connections than there may be wait until one ends.
func TestConnectionsAreBounded(t *testing.T) {
	d := open(t, nil, nil)
	var held []net.Conn
	for range 8 {
		c, err := net.Dial("tcp", d.addr)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	ready := func(ctx context.Context) error {
		return d.conn.Invoke(ctx, "/inference.GRPCInferenceService/ServerLive", new(pb.ServerLiveRequest), new(pb.ServerLiveResponse), grpc.WaitForReady(true))
	}
	if err := ready(ctx); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("the ninth connection: %v", err)
	}
	for _, c := range held {
		_ = c.Close()
	}
	if err := ready(t.Context()); err != nil {
		t.Errorf("after they ended: %v", err)
	}
}

// Compressed messages are refused before anything of them is unpacked.
func TestCompressedMessagesAreRefused(t *testing.T) {
	d := open(t, nil, nil)
	for name, err := range map[string]error{
		"ours": d.conn.Invoke(t.Context(), "/inference.GRPCInferenceService/ModelReady", &pb.ModelReadyRequest{Name: strings.Repeat("x", 1000)},
			new(pb.ModelReadyResponse), grpc.UseCompressor(gzip.Name)),
		"health": d.conn.Invoke(t.Context(), "/grpc.health.v1.Health/Check", &grpc_health_v1.HealthCheckRequest{Service: strings.Repeat("x", 1000)},
			new(grpc_health_v1.HealthCheckResponse), grpc.UseCompressor(gzip.Name)),
	} {
		if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "gzip") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
