package httpapi

import (
	"net/http"
	"strconv"
)

// mib is the unit of every *_mb number, as the old server counted.
const mib = 1 << 20

// healthFS is the "fs" member of a health answer.
type healthFS struct {
	TmpWritable     bool `json:"tmp_writable"`
	OutputWritable  bool `json:"output_writable"`
	ModelPathAccess bool `json:"model_path_access"`
}

// healthGPU is the "gpu_memory" member of a health answer.
type healthGPU struct {
	Allocated int64   `json:"allocated"`
	FreeRatio float64 `json:"free_ratio"`
}

// health answers GET /api/v1/health: always 200, as before; "status" tells.
func (s *server) health(w http.ResponseWriter, _ *http.Request) error {
	h := s.o.Health()
	status := "ok"
	if !h.InferenceOK || !h.ModelPathAccess || !h.TmpWritable || !h.OutputWritable {
		status = "degraded"
	}
	if h.Starting {
		status = "starting"
	}
	var gpu *healthGPU
	if h.GPU != nil {
		gpu = &healthGPU{h.GPU.Allocated, h.GPU.FreeRatio}
	}
	return writeJSON(w, http.StatusOK, struct {
		InferenceOK bool       `json:"inference_ok"`
		Device      string     `json:"device"`
		FS          healthFS   `json:"fs"`
		GPU         *healthGPU `json:"gpu_memory,omitempty"`
		Status      string     `json:"status"`
		ModelLoaded bool       `json:"model_loaded"`
		Version     string     `json:"version"`
	}{
		h.InferenceOK, h.Device, healthFS{h.TmpWritable, h.OutputWritable, h.ModelPathAccess}, gpu,
		status, len(s.models.Loaded()) > 0, s.o.ModelVersion,
	})
}

// modelInfo is one model in the list.
type modelInfo struct {
	Name        string `json:"model_name"`
	Version     string `json:"version"`
	Task        string `json:"task"`
	Description string `json:"description"`
	Folder      string `json:"folder"` // ours: its id in the newer APIs
}

// listModels answers GET /api/v2/models: model_id to description.
func (s *server) listModels(w http.ResponseWriter, _ *http.Request) error {
	all := s.models.All()
	list := make(object, 0, len(all))
	for _, m := range all {
		list = append(list, member{
			strconv.Itoa(m.Index),
			modelInfo{m.Name, m.Version, m.TaskName, m.Description, m.ID},
		})
	}
	return writeJSON(w, http.StatusOK, list)
}

// cacheStats answers GET /api/v2/cache/stats.
func (s *server) cacheStats(w http.ResponseWriter, _ *http.Request) error {
	if s.o.CacheDisabled {
		return writeJSON(w, http.StatusOK, struct {
			Error   string `json:"error"`
			Message string `json:"message"`
		}{"LRU cache is not enabled", "Set ENABLE_LRU_CACHE=true to use LRU cache mode"})
	}
	loaded, mem := s.loaded(), s.o.Memory()
	return writeJSON(w, http.StatusOK, struct {
		Loaded   []int   `json:"loaded_models"`
		Count    int     `json:"num_loaded_models"`
		Current  float64 `json:"current_memory_mb"`
		Max      float64 `json:"max_memory_mb"`
		Percent  float64 `json:"memory_usage_percent"`
		Requests int64   `json:"request_count"`
		Interval int     `json:"memory_check_interval"`
	}{
		loaded, len(loaded), megabytes(mem.Used), megabytes(mem.Limit), mem.percent(),
		s.requests.Load(), s.o.MemoryCheckInterval,
	})
}

// loaded returns the models in memory, as an empty list rather than null.
func (s *server) loaded() []int {
	return append([]int{}, s.models.Loaded()...)
}

// percent is the used share of the limit; 0 without one.
func (m Memory) percent() float64 {
	if m.Limit <= 0 {
		return 0
	}
	return 100 * float64(m.Used) / float64(m.Limit)
}

func megabytes(bytes int64) float64 { return float64(bytes) / mib }
