package grpcapi

import (
	"context"
	"math"

	"lazyolo/internal/bodies"
	"lazyolo/internal/oip"
	"lazyolo/internal/pb"
	"lazyolo/yolo"
)

func (s *Server) serverLive(context.Context, *pb.ServerLiveRequest) (*pb.ServerLiveResponse, error) {
	return &pb.ServerLiveResponse{Live: true}, nil
}

func (s *Server) serverReady(context.Context, *pb.ServerReadyRequest) (*pb.ServerReadyResponse, error) {
	return &pb.ServerReadyResponse{Ready: s.core.Ready()}, nil
}

// modelReady tells an unknown model by an error, and one that failed to load as not ready.
func (s *Server) modelReady(_ context.Context, in *pb.ModelReadyRequest) (*pb.ModelReadyResponse, error) {
	err := s.core.ModelReady(in.Name, in.Version)
	if err != nil && yolo.CodeOf(err) == yolo.NotFound {
		return nil, err
	}
	return &pb.ModelReadyResponse{Ready: err == nil}, nil
}

func (s *Server) serverMetadata(context.Context, *pb.ServerMetadataRequest) (*pb.ServerMetadataResponse, error) {
	m := s.core.Server()
	return &pb.ServerMetadataResponse{Name: m.Name, Version: m.Version, Extensions: m.Extensions}, nil
}

func (s *Server) modelMetadata(ctx context.Context, in *pb.ModelMetadataRequest) (*pb.ModelMetadataResponse, error) {
	m, err := s.core.Metadata(ctx, in.Name, in.Version)
	if err != nil {
		return nil, err
	}
	return &pb.ModelMetadataResponse{
		Name: m.Name, Versions: m.Versions, Platform: m.Platform, Inputs: tensors(m.Inputs), Outputs: tensors(m.Outputs), Properties: m.Properties,
	}, nil
}

func tensors(in []oip.TensorMetadata) []*pb.ModelMetadataResponse_TensorMetadata {
	var out []*pb.ModelMetadataResponse_TensorMetadata
	for _, t := range in {
		out = append(out, &pb.ModelMetadataResponse_TensorMetadata{Name: t.Name, Datatype: t.DataType, Shape: t.Shape})
	}
	return out
}

func (s *Server) modelConfig(ctx context.Context, in *pb.ModelConfigRequest) (*pb.ModelConfigResponse, error) {
	c, err := s.core.Config(ctx, in.Name, in.Version)
	if err != nil {
		return nil, err
	}
	out := &pb.ModelConfig{
		Name: c.Name, Platform: c.Platform, Backend: c.Backend, MaxBatchSize: int32(c.MaxBatchSize), DefaultModelFilename: c.DefaultModelFilename,
		VersionPolicy: &pb.ModelVersionPolicy{PolicyChoice: &pb.ModelVersionPolicy_Latest_{Latest: &pb.ModelVersionPolicy_Latest{NumVersions: uint32(c.VersionPolicy.Latest.NumVersions)}}},
		Parameters:    make(map[string]*pb.ModelParameter),
	}
	for _, t := range c.Input {
		out.Input = append(out.Input, &pb.ModelInput{Name: t.Name, DataType: pb.DataType(pb.DataType_value[t.DataType]), Dims: t.Dims})
	}
	for _, t := range c.Output {
		out.Output = append(out.Output, &pb.ModelOutput{Name: t.Name, DataType: pb.DataType(pb.DataType_value[t.DataType]), Dims: t.Dims})
	}
	for _, g := range c.InstanceGroup {
		out.InstanceGroup = append(out.InstanceGroup, &pb.ModelInstanceGroup{
			Name: g.Name, Kind: pb.ModelInstanceGroup_Kind(pb.ModelInstanceGroup_Kind_value[g.Kind]), Count: int32(g.Count)})
	}
	for k, p := range c.Parameters {
		out.Parameters[k] = &pb.ModelParameter{StringValue: p.StringValue}
	}
	return &pb.ModelConfigResponse{Config: out}, nil
}

func (s *Server) modelStatistics(_ context.Context, in *pb.ModelStatisticsRequest) (*pb.ModelStatisticsResponse, error) {
	all, err := s.core.Statistics(in.Name, in.Version)
	if err != nil {
		return nil, err
	}
	out := new(pb.ModelStatisticsResponse)
	for _, m := range all {
		n := m.InferenceStats
		one := &pb.ModelStatistics{
			Name: m.Name, Version: m.Version, LastInference: uint64(m.LastInference),
			InferenceCount: uint64(m.InferenceCount), ExecutionCount: uint64(m.ExecutionCount),
			InferenceStats: &pb.InferStatistics{
				Success: duration(n.Success), Fail: duration(n.Fail), Queue: duration(n.Queue), ComputeInput: duration(n.ComputeInput),
				ComputeInfer: duration(n.ComputeInfer), ComputeOutput: duration(n.ComputeOutput),
				CacheHit: duration(n.CacheHit), CacheMiss: duration(n.CacheMiss),
			},
		}
		for _, u := range m.MemoryUsage {
			one.MemoryUsage = append(one.MemoryUsage, &pb.MemoryUsage{Type: u.Type, Id: u.ID, ByteSize: uint64(u.ByteSize)})
		}
		out.ModelStats = append(out.ModelStats, one)
	}
	return out, nil
}

func duration(d oip.Duration) *pb.StatisticDuration {
	return &pb.StatisticDuration{Count: uint64(d.Count), Ns: uint64(d.NS)}
}

func (s *Server) repositoryIndex(_ context.Context, in *pb.RepositoryIndexRequest) (*pb.RepositoryIndexResponse, error) {
	out := new(pb.RepositoryIndexResponse)
	for _, m := range s.core.Index(in.Ready) {
		out.Models = append(out.Models, &pb.RepositoryIndexResponse_ModelIndex{Name: m.Name, Version: m.Version, State: m.State, Reason: m.Reason})
	}
	return out, nil
}

func (s *Server) repositoryModelLoad(ctx context.Context, in *pb.RepositoryModelLoadRequest) (*pb.RepositoryModelLoadResponse, error) {
	parameters := make(map[string]any)
	for k := range in.Parameters {
		parameters[k] = true // which they are is enough to refuse them
	}
	if err := s.core.Load(ctx, in.ModelName, parameters); err != nil {
		return nil, err
	}
	return new(pb.RepositoryModelLoadResponse), nil
}

func (s *Server) repositoryModelUnload(ctx context.Context, in *pb.RepositoryModelUnloadRequest) (*pb.RepositoryModelUnloadResponse, error) {
	if err := s.core.Unload(ctx, in.ModelName); err != nil {
		return nil, err
	}
	return new(pb.RepositoryModelUnloadResponse), nil
}

func (s *Server) modelInfer(ctx context.Context, in *message, held *bodies.Claim) (*inferResponse, error) {
	q, err := in.inferRequest(ctx, held)
	if err != nil {
		return nil, err
	}
	answer, err := s.core.Infer(ctx, q, held)
	if err != nil {
		return nil, err
	}
	return &inferResponse{answer: answer}, nil
}

// parameters are a message's parameters as values.
func parameters(in map[string]*pb.InferParameter) map[string]any {
	out := make(map[string]any)
	for k, p := range in {
		switch v := p.GetParameterChoice().(type) {
		case *pb.InferParameter_BoolParam:
			out[k] = v.BoolParam
		case *pb.InferParameter_Int64Param:
			out[k] = v.Int64Param
		case *pb.InferParameter_StringParam:
			out[k] = v.StringParam
		case *pb.InferParameter_DoubleParam:
			out[k] = v.DoubleParam
		case *pb.InferParameter_Uint64Param:
			if v.Uint64Param <= math.MaxInt64 {
				out[k] = int64(v.Uint64Param)
			} else {
				out[k] = float64(v.Uint64Param)
			}
		}
	}
	return out
}

// wireParameters are values as a message has them.
func wireParameters(in map[string]any) map[string]*pb.InferParameter {
	if len(in) == 0 {
		return nil
	}
	out := make(map[string]*pb.InferParameter)
	for k, v := range in {
		p := new(pb.InferParameter)
		switch v := v.(type) {
		case bool:
			p.ParameterChoice = &pb.InferParameter_BoolParam{BoolParam: v}
		case int64:
			p.ParameterChoice = &pb.InferParameter_Int64Param{Int64Param: v}
		case string:
			p.ParameterChoice = &pb.InferParameter_StringParam{StringParam: v}
		case float64:
			p.ParameterChoice = &pb.InferParameter_DoubleParam{DoubleParam: v}
		}
		out[k] = p
	}
	return out
}
