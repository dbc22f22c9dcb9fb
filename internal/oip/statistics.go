package oip

import (
	"lazyolo/yolo"
)

// A ModelStatistics is Triton's account of a model since the start.
type ModelStatistics struct {
	Name           string         `json:"name"`
	Version        string         `json:"version"`
	LastInference  int64          `json:"last_inference"` // milliseconds since 1970; 0: never
	InferenceCount int64          `json:"inference_count"`
	ExecutionCount int64          `json:"execution_count"`
	InferenceStats InferenceStats `json:"inference_stats"`
	BatchStats     []struct{}     `json:"batch_stats"` // none: nothing is batched
	MemoryUsage    []MemoryUsage  `json:"memory_usage"`
}

// InferenceStats are sums of times.
type InferenceStats struct {
	Success       Duration `json:"success"`
	Fail          Duration `json:"fail"`
	Queue         Duration `json:"queue"`
	ComputeInput  Duration `json:"compute_input"`
	ComputeInfer  Duration `json:"compute_infer"`
	ComputeOutput Duration `json:"compute_output"`
	CacheHit      Duration `json:"cache_hit"`  // always zero: no answers are kept
	CacheMiss     Duration `json:"cache_miss"` // likewise
}

// A Duration is a sum of so many.
type Duration struct {
	Count int64 `json:"count"`
	NS    int64 `json:"ns"`
}

// A MemoryUsage is what a model holds.
type MemoryUsage struct {
	Type     string `json:"type"`
	ID       int64  `json:"id"`
	ByteSize int64  `json:"byte_size"`
}

// Statistics accounts for one model, or, without a name, for all.
func (c *Core) Statistics(name, version string) ([]ModelStatistics, error) {
	models := c.models.All()
	if name != "" {
		m, err := c.Model(name, version)
		if err != nil {
			return nil, err
		}
		models = []*yolo.Model{m}
	}
	known := make(map[string]yolo.Status)
	for _, s := range c.residents.Status() {
		known[s.Model.ID] = s
	}
	out := make([]ModelStatistics, len(models))
	for i, m := range models {
		n := c.detector.Counts(m)
		out[i] = ModelStatistics{
			Name: m.ID, Version: m.Version, InferenceCount: n.Success.N, ExecutionCount: n.Success.N,
			InferenceStats: InferenceStats{
				Success: sum(n.Success), Fail: sum(n.Fail), Queue: sum(n.Queue),
				ComputeInput: sum(n.Input), ComputeInfer: sum(n.Infer), ComputeOutput: sum(n.Output),
			},
			BatchStats: []struct{}{}, MemoryUsage: []MemoryUsage{},
		}
		if !n.Last.IsZero() {
			out[i].LastInference = n.Last.UnixMilli()
		}
		if s := known[m.ID]; s.Mapped+s.Private > 0 {
			out[i].MemoryUsage = []MemoryUsage{{"CPU", 0, s.Mapped + s.Private}}
		}
	}
	return out, nil
}

func sum(s yolo.Sum) Duration { return Duration{s.N, s.Time.Nanoseconds()} }
