package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"lazyolo/internal/pb"
)

// startGRPC starts a server with gRPC and returns calls of it.
func startGRPC(t *testing.T, h *home, more ...string) (*server, func(method string, in, out any) error) {
	t.Helper()
	port := freePort(t)
	s := start(t, h, append(more, fmt.Sprintf("GRPC_PORT=%s", port))...)
	conn, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%s", port), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return s, func(method string, in, out any) error {
		return conn.Invoke(context.Background(), "/inference.GRPCInferenceService/"+method, in, out, grpc.WaitForReady(true))
	}
}

// The picture tensors hold what /api/v2/detect answers, over REST and gRPC, and raw
// tensors run the model.
func TestTheStandardDoors(t *testing.T) {
	t.Parallel()
	needORT(t)
	s, call := startGRPC(t, newHome(t))
	want := s.serves(t, "0")
	image := binary.LittleEndian.AppendUint32(nil, uint32(len(smallPicture(t))))
	image = append(image, smallPicture(t)...)
	q := &pb.ModelInferRequest{ModelName: "model_0", ModelVersion: "1.0.0", RawInputContents: [][]byte{image},
		Inputs: []*pb.ModelInferRequest_InferInputTensor{{Name: "image", Datatype: "BYTES", Shape: []int64{1}}}}
	out := new(pb.ModelInferResponse)
	if err := call("ModelInfer", q, out); err != nil {
		t.Fatal(err)
	}
	if n := len(out.RawOutputContents); n != 6 || string(out.RawOutputContents[5][4:]) != want.body {
		t.Errorf("%d outputs, the last one %s\nwant %s", n, out.RawOutputContents[n-1], want.body)
	}
	r, err := http.NewRequest("POST", s.url+"/v2/models/model_0/infer", strings.NewReader(string(smallPicture(t))))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Inference-Header-Content-Length", "0")
	r.Header.Set("Content-Type", "image/jpeg")
	resp, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || !strings.HasSuffix(string(b), want.body) {
		t.Errorf("%v %q", err, b)
	}
	raw := &pb.ModelInferRequest{ModelName: "model_0", RawInputContents: [][]byte{make([]byte, 4*3*320*320)},
		Inputs: []*pb.ModelInferRequest_InferInputTensor{{Name: "images", Datatype: "FP32", Shape: []int64{1, 3, 320, 320}}}}
	if err := call("ModelInfer", raw, out); err != nil || len(out.RawOutputContents[0]) != 4*9*2100 {
		t.Errorf("%v %v", err, out.Outputs)
	}
	raw.Inputs[0].Shape = []int64{3, 1, 320, 320}
	if err := call("ModelInfer", raw, out); status.Code(err) != codes.InvalidArgument {
		t.Error(err)
	}
	var stats struct {
		Models []struct {
			Count int64 `json:"inference_count"`
		} `json:"model_stats"`
	}
	if s.get(t, "/v2/models/model_0/stats", &stats); stats.Models[0].Count != 4 {
		t.Errorf("%+v", stats)
	}
}

func TestLoadAndUnloadThroughTheRepository(t *testing.T) {
	t.Parallel()
	needORT(t)
	s, call := startGRPC(t, newHome(t))
	if err := call("RepositoryModelLoad", &pb.RepositoryModelLoadRequest{ModelName: "model_0"}, new(pb.RepositoryModelLoadResponse)); err != nil {
		t.Fatal(err)
	}
	if loaded := s.memory(t).Loaded; len(loaded) != 1 {
		t.Errorf("%v are loaded", loaded)
	}
	if status, body := s.act(t, "/v2/repository/models/model_0/unload", nil, "X-Forwarded-For: 10.0.0.1"); status != http.StatusForbidden {
		t.Errorf("%d %s", status, body)
	}
	if status, body := s.act(t, "/v2/repository/models/model_0/unload", nil); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
	if loaded := s.memory(t).Loaded; len(loaded) != 0 {
		t.Errorf("%v are loaded", loaded)
	}
}

func TestAGRPCPortInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	code, _, log := newHome(t).run(t, "serve", "--port", "0", fmt.Sprintf("GRPC_PORT=%d", l.Addr().(*net.TCPAddr).Port))
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
	contains(t, log, "listen for gRPC", "hint: ", "GRPC_PORT=0")
}

// A call that waits for its model is answered although the server is asked to stop.
func TestStoppingDrainsGRPC(t *testing.T) {
	t.Parallel()
	needORT(t)
	s, call := startGRPC(t, newHome(t))
	done := make(chan error, 1)
	go func() {
		raw := &pb.ModelInferRequest{ModelName: "model_0", RawInputContents: [][]byte{make([]byte, 4*3*320*320)},
			Inputs: []*pb.ModelInferRequest_InferInputTensor{{Name: "images", Datatype: "FP32", Shape: []int64{1, 3, 320, 320}}}}
		done <- call("ModelInfer", raw, new(pb.ModelInferResponse))
	}()
	waitFor(t, "the load", func() bool { return len(s.memory(t).Models) > 0 })
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	s.wait(t)
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, s.log.String())
	}
}
