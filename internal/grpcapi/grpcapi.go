// Package grpcapi is the Open Inference Protocol v2 over gRPC
// (inference.GRPCInferenceService), with the standard health and reflection services.
// What the calls mean is package oip's business; here are the messages, the statuses and
// the memory.
package grpcapi

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"lazyolo/internal/bodies"
	"lazyolo/internal/oip"
	"lazyolo/yolo"
)

// A Gate decides who may make a call.
type Gate interface {
	// Admit decides on one call. peer is the connection's "host:port", header looks up
	// header or metadata values by lower-case name. done ends the call; err is a
	// *yolo.Error: Denied, Forbidden or Overloaded.
	Admit(ctx context.Context, peer string, header func(name string) []string, scope yolo.Scope) (done func(), err error)
}

// Options configures New. A field is required unless it says what zero means.
type Options struct {
	Log           *slog.Logger
	MaxBody       int64                            // bytes of one message
	UploadTimeout time.Duration                    // for receiving one message
	WriteTimeout  time.Duration                    // for a client to take an answer with tensors; 0: as long as it likes
	MaxConns      int                              // connections at once; more wait until one ends
	Bodies        *bodies.Share                    // memory of the bodies of all requests
	Gate          Gate                             // asked for every call but health and reflection; nil: all are allowed
	Credentials   credentials.TransportCredentials // TLS; nil: none
}

// A Server answers gRPC calls. Its methods may be called concurrently.
type Server struct {
	core     *oip.Core
	o        Options
	grpc     *grpc.Server
	conns    *conns
	reading  sync.WaitGroup // goroutines that receive messages
	once     sync.Once      // of stopping
	stopping chan struct{}  // closed by Stop
	watchers chan struct{}  // has one for each Watch of health
}

// What a connection may have under way. The windows are what a caller may send before
// it is read: once a message's length is known, all of it may come.
const (
	maxStreams    = 128
	streamWindow  = 256 << 10
	connectWindow = 2 << 20
	ioBuffer      = 128 << 10
)

// New makes a Server over the core. The error names the option that is missing.
func New(core *oip.Core, o Options) (*Server, error) {
	if core == nil || o.Log == nil || o.MaxBody <= 0 || o.UploadTimeout <= 0 || o.Bodies == nil || o.MaxConns <= 0 {
		return nil, errors.New("grpcapi: New needs a Core, a Log, Bodies, a positive MaxBody, UploadTimeout and MaxConns")
	}
	s := &Server{core: core, o: o, conns: newConns(o.MaxConns), stopping: make(chan struct{}), watchers: make(chan struct{}, maxWatchers)}
	limit := int(o.Bodies.Largest(o.MaxBody))
	options := []grpc.ServerOption{
		grpc.ForceServerCodecV2(codec{}), grpc.StreamInterceptor(uncompressedStream), grpc.MaxRecvMsgSize(limit), grpc.MaxConcurrentStreams(maxStreams),
		grpc.InitialWindowSize(streamWindow), grpc.InitialConnWindowSize(connectWindow),
		grpc.ReadBufferSize(ioBuffer), grpc.WriteBufferSize(ioBuffer), grpc.MaxHeaderListSize(64 << 10),
		grpc.WaitForHandlers(true), grpc.ConnectionTimeout(10 * time.Second),
		// An idle connection ends, and so, in the end, does every other.
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 2 * time.Minute, MaxConnectionAge: time.Hour, MaxConnectionAgeGrace: time.Minute}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	}
	if o.Credentials != nil {
		options = append(options, grpc.Creds(o.Credentials))
	}
	s.grpc = grpc.NewServer(options...)
	s.grpc.RegisterService(s.service(), s)
	s.grpc.RegisterService(s.healthService(), s)
	reflection.Register(s.grpc)
	return s, nil
}

// uncompressed refuses a call whose messages are compressed: a few bytes could become all
// that MaxBody allows, before anything knows of it.
func uncompressed(ctx context.Context) error {
	call, ok := grpc.ServerTransportStreamFromContext(ctx).(interface{ RecvCompress() string })
	if ok && call.RecvCompress() != "" && call.RecvCompress() != "identity" {
		return status.Errorf(codes.Unimplemented, "messages compressed with %s are not taken: send them as they are", call.RecvCompress())
	}
	return nil
}

// uncompressedStream is uncompressed for what is a stream on the wire, too: reflection.
func uncompressedStream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := uncompressed(stream.Context()); err != nil {
		return err
	}
	return next(srv, stream)
}

// Serve answers on l until Stop.
func (s *Server) Serve(l net.Listener) error { return s.grpc.Serve(s.conns.listen(l)) }

// Stop takes no new calls and waits for those under way; when ctx ends they are cut,
// and its error is returned.
func (s *Server) Stop(ctx context.Context) error {
	s.once.Do(func() { close(s.stopping) })
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.grpc.GracefulStop()
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
		s.grpc.Stop() // GracefulStop returns then, too
		<-done
	}
	s.reading.Wait()
	return err
}

// admit asks the gate.
func (s *Server) admit(ctx context.Context, scope yolo.Scope) (done func(), err error) {
	if s.o.Gate == nil {
		return func() {}, nil
	}
	md, _ := metadata.FromIncomingContext(ctx)
	return s.o.Gate.Admit(ctx, addressOf(ctx), md.Get, scope)
}

// addressOf is where a call comes from, as "host:port".
func addressOf(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr.String()
	}
	return ""
}
