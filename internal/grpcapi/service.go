package grpcapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"lazyolo/internal/bodies"
	"lazyolo/internal/door"
	"lazyolo/internal/oip"
	"lazyolo/yolo"
)

// serviceName is the protocol's service.
const serviceName = "inference.GRPCInferenceService"

// service describes the calls. Each is served as a stream of one message, which on the
// wire is the same: so the memory of a message is set aside before it is received.
func (s *Server) service() *grpc.ServiceDesc {
	d := &grpc.ServiceDesc{ServiceName: serviceName, HandlerType: (*any)(nil), Metadata: "inference.proto"}
	add := func(name string, scope yolo.Scope, most int64, handle handler) {
		d.Streams = append(d.Streams, grpc.StreamDesc{StreamName: name, Handler: func(_ any, stream grpc.ServerStream) error {
			return s.serve(name, scope, most, handle, stream)
		}})
	}
	add("ServerLive", yolo.Open, maxSmall, call(s.serverLive))
	add("ServerReady", yolo.Open, maxSmall, call(s.serverReady))
	add("ModelReady", yolo.Open, maxSmall, call(s.modelReady))
	add("ServerMetadata", yolo.Read, maxSmall, call(s.serverMetadata))
	add("ModelMetadata", yolo.Read, maxSmall, call(s.modelMetadata))
	add("ModelConfig", yolo.Read, maxSmall, call(s.modelConfig))
	add("ModelStatistics", yolo.Read, maxSmall, call(s.modelStatistics))
	add("RepositoryIndex", yolo.Read, maxSmall, call(s.repositoryIndex))
	add("RepositoryModelLoad", yolo.Admin, maxSmall, call(s.repositoryModelLoad))
	add("RepositoryModelUnload", yolo.Admin, maxSmall, call(s.repositoryModelUnload))
	add("ModelInfer", yolo.Infer, s.o.Bodies.Largest(s.o.MaxBody), func(ctx context.Context, in *message, held *bodies.Claim) (any, error) {
		return s.modelInfer(ctx, in, held)
	})
	return d
}

// maxSmall bounds a message of a call that takes hardly any, in bytes.
const maxSmall = 64 << 10

// A handler answers one call. It frees the message.
type handler func(ctx context.Context, in *message, held *bodies.Claim) (any, error)

// call makes a handler of a method.
func call[In any, Out any, M interface {
	*In
	proto.Message
}](f func(context.Context, M) (Out, error)) handler {
	return func(ctx context.Context, m *message, _ *bodies.Claim) (any, error) {
		in := M(new(In))
		if err := m.into(in); err != nil {
			return nil, err
		}
		return f(ctx, in)
	}
}

// serve answers one call, logs how it failed, and survives a panic in it.
func (s *Server) serve(name string, scope yolo.Scope, most int64, h handler, stream grpc.ServerStream) (err error) {
	ctx, start := stream.Context(), time.Now()
	held := s.o.Bodies.Claim()
	defer func() {
		held.Release()
		if v := recover(); v != nil {
			s.o.Log.LogAttrs(ctx, slog.LevelError, "panic while serving", slog.String("call", name),
				slog.String("error", fmt.Sprint(v)), slog.String("stack", string(debug.Stack())))
			err = &yolo.Error{Code: yolo.Internal}
		}
		s.o.Log.LogAttrs(ctx, slog.LevelDebug, "request", slog.String("call", name), slog.Duration("took", time.Since(start)))
		if err != nil {
			err = s.fail(ctx, name, stream, err)
		}
	}()
	if err := uncompressed(ctx); err != nil {
		return err
	}
	done, err := s.admit(ctx, scope)
	if err != nil {
		return err
	}
	defer done()
	in, err := s.receive(ctx, stream, held, most)
	if err != nil {
		return err
	}
	out, err := h(ctx, in, held)
	if err != nil {
		return err
	}
	r, ok := out.(*inferResponse)
	if ok { // its memory is in use until it is sent
		r.held, held = held, s.o.Bodies.Claim()
		r.late = s.cutAfter(addressOf(ctx))
	}
	err = stream.SendMsg(out)
	if ok && !r.sending {
		r.held.Release()
	}
	return err
}

// usual is what is set aside for an inference before it is received: its length is known
// only when all of it is there, and a client that sends nothing must not hold much.
const usual = 1 << 20

// smallTimeout is how long a small message may take.
const smallTimeout = 5 * time.Second

// receive reads the one message of a call, at most so large, within UploadTimeout. For a
// small one nothing is set aside, and it must come soon.
func (s *Server) receive(ctx context.Context, stream grpc.ServerStream, held *bodies.Claim, most int64) (*message, error) {
	within := s.o.UploadTimeout
	if most == maxSmall {
		within = min(within, smallTimeout)
	} else if err := held.Grow(ctx, min(most, usual)); err != nil {
		return nil, err
	}
	in := new(message)
	received := make(chan error, 1)
	s.reading.Go(func() { received <- stream.RecvMsg(in) })
	late := time.NewTimer(within)
	defer late.Stop()
	select {
	case err := <-received:
		if err == io.EOF {
			err = yolo.Errorf(yolo.Invalid, "the call has no message")
		}
		return in, err
	case <-late.C: // the stream ends with the handler, and so does reading it
		return nil, yolo.Errorf(yolo.Deadline, "the upload took longer than %v (UPLOAD_TIMEOUT; small messages 5s)", within)
	}
}

// cutAfter makes what ends a connection whose caller does not take an answer in time; nil:
// it may take as long as it likes.
func (s *Server) cutAfter(address string) (begin func() *time.Timer) {
	if s.o.WriteTimeout <= 0 {
		return nil
	}
	return func() *time.Timer {
		return time.AfterFunc(s.o.WriteTimeout, func() {
			s.o.Log.Debug("cut a gRPC connection: the answer was not taken in time (WRITE_TIMEOUT)", "peer", address)
			s.conns.cut(address)
		})
	}
}

// grpcCodes are those of yolo's codes.
var grpcCodes = map[yolo.Code]codes.Code{
	yolo.Invalid: codes.InvalidArgument, yolo.Unsupported: codes.InvalidArgument, yolo.TooLarge: codes.InvalidArgument,
	yolo.NotFound: codes.NotFound, yolo.Overloaded: codes.ResourceExhausted, yolo.NoRoom: codes.ResourceExhausted,
	yolo.TooBig: codes.FailedPrecondition, yolo.LoadFailed: codes.Unavailable, yolo.Unavailable: codes.Unavailable,
	yolo.Deadline: codes.DeadlineExceeded, yolo.Canceled: codes.Canceled, yolo.Conflict: codes.Aborted,
	yolo.Denied: codes.Unauthenticated, yolo.Forbidden: codes.PermissionDenied, yolo.Internal: codes.Internal,
}

// toStatus is an error as gRPC tells it. What gRPC itself found stays as it is.
func toStatus(err error) error {
	var known interface{ GRPCStatus() *status.Status }
	if errors.As(err, &known) {
		return err
	}
	return status.Error(grpcCodes[yolo.CodeOf(err)], oip.Message(err))
}

// fail maps err to a status and logs it.
func (s *Server) fail(ctx context.Context, name string, stream grpc.ServerStream, err error) error {
	code, level, id := yolo.CodeOf(err), slog.LevelDebug, ""
	st := toStatus(err)
	if oip.HasID(code) && st != err { // not gRPC's own
		id, level = door.NewID(), slog.LevelWarn
		st = status.Errorf(status.Code(st), "%s (id %s)", status.Convert(st).Message(), id)
	}
	var e *yolo.Error
	if errors.As(err, &e) && e.Retry > 0 {
		seconds := int64((e.Retry + time.Second - 1) / time.Second)
		stream.SetTrailer(metadata.Pairs("retry-after", fmt.Sprint(seconds)))
	}
	s.o.Log.LogAttrs(ctx, level, "request failed", slog.String("call", name), slog.Any("error", err), slog.String("id", id))
	return st
}
