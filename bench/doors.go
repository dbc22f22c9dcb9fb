package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
	"unsafe"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"lazyolo/internal/bodies"
	"lazyolo/internal/httpapi"
	"lazyolo/internal/oip"
	"lazyolo/internal/pb"
)

// doorsTable measures the Open Inference Protocol's doors over a bare run, and pictures
// through them over /api/v2/detect.
func doorsTable(ctx context.Context, out *report, b *work) (err error) {
	if !b.yolo {
		return nil // the head of the report says why
	}
	r, err := b.openBare(nano, b.picture)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.session.Close()) }()
	port, err := freePort()
	if err != nil {
		return err
	}
	p, err := b.start(ctx, b.lazyolo, b.models(nano, "onnx"), "SAVE_ANNOTATED=off", "GRPC_PORT="+strconv.Itoa(port))
	if err != nil {
		return err
	}
	defer func() { err = p.stopAfter(err) }()
	conn, err := grpc.NewClient("127.0.0.1:"+strconv.Itoa(port), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(asBytes{}), grpc.MaxCallRecvMsgSize(64*mb)),
		grpc.WithInitialWindowSize(8*mb), grpc.WithInitialConnWindowSize(8*mb))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	core, closeCore, err := b.core()
	if err != nil {
		return err
	}
	defer closeCore(ctx)
	tensor := unsafe.Slice((*byte)(unsafe.Pointer(&r.input.Data[0])), 4*len(r.input.Data))
	rest, rpc, err := inferences(p, conn, r.input.Shape, "images", "FP32", tensor)
	if err != nil {
		return err
	}
	size := binary.LittleEndian.AppendUint32(nil, uint32(len(b.picture)))
	pictureREST, pictureRPC, err := inferences(p, conn, []int64{1}, "image", "BYTES", append(size, b.picture...))
	if err != nil {
		return err
	}
	old, err := request(p, b.picture, 0, "")
	if err != nil {
		return err
	}
	run, inside := &turn{what: "bare run", do: r.run}, &turn{what: "in the process", do: core(r.input.Shape, tensor)}
	http, grpc := &turn{what: "REST", do: rest}, &turn{what: "gRPC", do: rpc}
	detect, image, imageRPC := &turn{what: "/api/v2/detect", do: old}, &turn{what: "picture, REST", do: pictureREST}, &turn{what: "picture, gRPC", do: pictureRPC}
	progress("the standard doors, %d requests of each in turns", b.rounds.pairs)
	if err := errors.Join(alternate(ctx, b.rounds.pairs, run, inside, http, grpc), alternate(ctx, b.rounds.pairs, detect, image, imageRPC)); err != nil {
		return err
	}
	over := func(a, b *turn) sample { return sample{a.times.median() / b.times.median()} }
	out.section("The standard doors", fmt.Sprintf(
		"A YOLOv8n's tensor of 640x640 (%.1f MB) as binary data over loopback, against a bare ONNX Runtime loop; the picture of %d KB as BYTES against /api/v2/detect; %d of each in turns.",
		float64(len(tensor))/mb, len(b.picture)/1000, b.rounds.pairs))
	rows := []figure{
		{what: "tensor over REST, over the bare run", in: asRatio, measured: over(http, run), most: 1.10},
		{what: "tensor over gRPC, over the bare run", in: asRatio, measured: over(grpc, run), most: 1.20},
		{what: "the server's share without transport, over the bare run", in: asRatio, measured: over(inside, run), most: 1.02},
		{what: "picture over REST, over /api/v2/detect", in: asRatio, measured: over(image, detect), most: 1.03},
		{what: "picture over gRPC, over /api/v2/detect", in: asRatio, measured: over(imageRPC, detect)},
	}
	for _, t := range []*turn{run, inside, http, grpc, detect, image, imageRPC} {
		rows = append(rows, figure{what: t.what, in: inMillis, measured: t.times, spread: true})
	}
	out.table(rows)
	return nil
}

// A doing is what a turn does.
type doing = func(context.Context) (time.Duration, error)

// inferences are turns that send one tensor to model_0, over REST and over gRPC.
func inferences(p *process, conn *grpc.ClientConn, shape []int64, name, datatype string, data []byte) (rest, rpc doing, err error) {
	dims := string(bytes.ReplaceAll(fmt.Append(nil, shape), []byte(" "), []byte(",")))
	head := fmt.Sprintf(`{"inputs":[{"name":%q,"datatype":%q,"shape":%s,"parameters":{"binary_data_size":%d}}],"parameters":{"binary_data_output":true}}`,
		name, datatype, dims, len(data))
	body := append([]byte(head), data...)
	answer := make([]byte, 8*mb)
	rest = func(ctx context.Context) (time.Duration, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/v2/models/model_0/infer", bytes.NewReader(body))
		if err != nil {
			return 0, err
		}
		req.Header.Set("Inference-Header-Content-Length", strconv.Itoa(len(head)))
		began := time.Now()
		resp, err := p.client.Do(req)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		n, err := io.ReadFull(resp.Body, answer)
		took := time.Since(began)
		if resp.StatusCode != http.StatusOK || err != io.ErrUnexpectedEOF {
			return 0, fmt.Errorf("%s: %.300s %w", resp.Status, answer[:n], err)
		}
		return took, nil
	}
	message, err := proto.Marshal(&pb.ModelInferRequest{
		ModelName: "model_0", Inputs: []*pb.ModelInferRequest_InferInputTensor{{Name: name, Datatype: datatype, Shape: shape}}, RawInputContents: [][]byte{data},
	})
	rpc = func(ctx context.Context) (time.Duration, error) {
		began := time.Now()
		err := conn.Invoke(ctx, "/inference.GRPCInferenceService/ModelInfer", message, &answer)
		return time.Since(began), err
	}
	return rest, rpc, err
}

// asBytes is a codec of messages that are bytes already: a client's own work is not the
// server's.
type asBytes struct{}

// Name implements encoding.CodecV2.
func (asBytes) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (asBytes) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

// Unmarshal implements encoding.CodecV2.
func (asBytes) Unmarshal(data mem.BufferSlice, v any) error {
	data.CopyTo(*v.(*[]byte))
	return nil
}

// core is the protocol over the nano set in this process: what it gives makes a turn.
func (b *work) core() (func(shape []int64, data []byte) doing, func(context.Context), error) {
	detector, models, closeAll, err := b.detector()
	if err != nil {
		return nil, nil, err
	}
	share := bodies.New(64 * mb)
	c, err := oip.NewCore(detector, models, models.Pool, oip.Options{
		Bodies: share, Answer: httpapi.Answer, Ready: func() bool { return true },
	})
	return func(shape []int64, data []byte) doing {
		sent := bytes.Clone(data)
		return func(ctx context.Context) (time.Duration, error) {
			copy(sent, data) // the answer before lies there; it counts as transport
			held := share.Claim()
			defer held.Release()
			began := time.Now()
			_, err := c.Infer(ctx, &oip.Request{Model: "model_0", Inputs: []oip.Input{{Name: "images", DataType: "FP32", Shape: shape, Raw: sent}}}, held)
			return time.Since(began), err
		}
	}, closeAll, err
}
