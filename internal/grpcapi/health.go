package grpcapi

import (
	"context"
	"time"

	"google.golang.org/grpc"
	health "google.golang.org/grpc/health/grpc_health_v1"

	"lazyolo/internal/bodies"
	"lazyolo/yolo"
)

// How health is watched.
const (
	healthEvery = time.Second // how often it is looked at
	maxWatchers = 128         // that many may; anybody may ask, so there is a bound
)

// healthService is the standard one, received as ours is.
func (s *Server) healthService() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: "grpc.health.v1.Health", HandlerType: (*any)(nil), Metadata: "grpc/health/v1/health.proto",
		Streams: []grpc.StreamDesc{
			{StreamName: "Check", Handler: func(_ any, stream grpc.ServerStream) error {
				return s.serve("Check", yolo.Open, maxSmall, call(s.healthCheck), stream)
			}},
			{StreamName: "Watch", ServerStreams: true, Handler: func(_ any, stream grpc.ServerStream) error {
				return s.serve("Watch", yolo.Open, maxSmall, s.healthWatch(stream), stream)
			}},
		},
	}
}

// serving is what is said of a service: the names known are "" and the protocol's, both
// serving while models can be run.
func (s *Server) serving(service string) health.HealthCheckResponse_ServingStatus {
	switch {
	case service != "" && service != serviceName:
		return health.HealthCheckResponse_SERVICE_UNKNOWN
	case s.core.Ready():
		return health.HealthCheckResponse_SERVING
	}
	return health.HealthCheckResponse_NOT_SERVING
}

// healthCheck is the service's call.
func (s *Server) healthCheck(_ context.Context, r *health.HealthCheckRequest) (*health.HealthCheckResponse, error) {
	is := s.serving(r.Service)
	if is == health.HealthCheckResponse_SERVICE_UNKNOWN {
		return nil, yolo.Errorf(yolo.NotFound, "unknown service")
	}
	return &health.HealthCheckResponse{Status: is}, nil
}

// healthWatch sends what healthCheck would say, now and whenever it is something else,
// until the caller leaves or the server stops.
func (s *Server) healthWatch(stream grpc.ServerStream) handler {
	return func(ctx context.Context, m *message, _ *bodies.Claim) (any, error) {
		in := new(health.HealthCheckRequest)
		if err := m.into(in); err != nil {
			return nil, err
		}
		select {
		case s.watchers <- struct{}{}:
			defer func() { <-s.watchers }()
		default:
			return nil, &yolo.Error{Code: yolo.Overloaded, Msg: "as many watch the server's health as may: call Check", Retry: time.Minute}
		}
		tick := time.NewTicker(healthEvery)
		defer tick.Stop()
		for told := health.HealthCheckResponse_UNKNOWN; ; {
			if is := s.serving(in.Service); is != told {
				told = is
				if err := stream.SendMsg(&health.HealthCheckResponse{Status: is}); err != nil {
					return nil, err
				}
			}
			select {
			case <-tick.C:
			case <-s.stopping:
				return nil, yolo.Errorf(yolo.Unavailable, "the server stops")
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
}
