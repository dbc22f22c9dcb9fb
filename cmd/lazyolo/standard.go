package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"google.golang.org/grpc/credentials"

	"lazyolo/internal/bodies"
	"lazyolo/internal/detect"
	"lazyolo/internal/grpcapi"
	"lazyolo/internal/httpapi"
	"lazyolo/internal/oip"
	"lazyolo/internal/telemetry"
	"lazyolo/yolo"
)

// standardDoors makes the Open Inference Protocol's doors: REST, and gRPC where it has
// a port.
func (s *server) standardDoors(d watched, share *bodies.Share) (door, error) {
	core, err := oip.NewCore(d, s.models, s.pool, oip.Options{
		Version: buildVersion, Bodies: share, Answer: httpapi.Answer, RequestTimeout: s.c.RequestTimeout,
		Ready: func() bool { return len(s.unready()) == 0 },
	})
	if err != nil {
		return door{}, err
	}
	if s.c.GRPCPort > 0 {
		var secure credentials.TransportCredentials
		if t := s.tlsConfig(); t != nil {
			secure = credentials.NewTLS(t)
		}
		s.grpc, err = grpcapi.New(core, grpcapi.Options{
			Log: s.log, MaxBody: s.c.MaxBody, UploadTimeout: s.c.UploadTimeout, WriteTimeout: s.c.WriteTimeout, MaxConns: s.c.MaxConnections,
			Bodies: share, Gate: s.guard, Credentials: secure,
		})
		if err != nil {
			return door{}, err
		}
	}
	rest, err := oip.NewDoor(core, oip.RESTOptions{Log: s.log, MaxBody: s.c.MaxBody, UploadTimeout: s.c.UploadTimeout})
	if err != nil {
		return door{}, err
	}
	return door{Handler: rest, name: "oip", owns: rest.Owns, scope: rest.Scope, route: rest.Route}, nil
}

// watched is the detector, whose calls telemetry hears of.
type watched struct {
	*detect.Detector
	telemetry *telemetry.Watched
}

// Detect implements the Detector of every door.
func (w watched) Detect(ctx context.Context, r yolo.Request) (*yolo.Result, error) {
	return w.telemetry.Detect(ctx, r)
}

// Infer implements oip.Detector.
func (w watched) Infer(ctx context.Context, model string, in []yolo.Tensor, use func([]yolo.Tensor) error) error {
	return w.telemetry.Infer(ctx, model, func(ctx context.Context) error { return w.Detector.Infer(ctx, model, in, use) })
}

// listenGRPC opens GRPC_PORT; nil: there is none.
func (s *server) listenGRPC() (net.Listener, error) {
	if s.grpc == nil {
		return nil, nil
	}
	l, err := net.Listen("tcp", net.JoinHostPort(s.c.Host, strconv.Itoa(s.c.GRPCPort)))
	if err != nil {
		return nil, hinted{fmt.Errorf("listen for gRPC: %w", err), "another server may use the port: set GRPC_PORT, or GRPC_PORT=0 for no gRPC"}
	}
	s.log.Info(fmt.Sprintf("Serving gRPC on %s:%d", s.c.Host, s.c.GRPCPort))
	return l, nil
}

// stopDoors takes no new requests and waits for those in flight until ctx ends.
func (s *server) stopDoors(ctx context.Context) error {
	stopped := make(chan error, 1)
	go func() {
		if s.grpc == nil {
			stopped <- nil
			return
		}
		stopped <- s.grpc.Stop(ctx)
	}()
	return errors.Join(s.http.Shutdown(ctx), <-stopped)
}
