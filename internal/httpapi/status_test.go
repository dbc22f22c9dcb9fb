package httpapi_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"lazyolo/internal/httpapi"
	"lazyolo/yolo"
)

// TestStatus compares whole answers byte by byte: order, compactness and script too.
func TestStatus(t *testing.T) {
	twelve := &catalog{}
	for i := range 12 {
		twelve.models = append(twelve.models, &yolo.Model{ID: "m", Index: i})
	}
	tests := []struct {
		name, path string
		models     *catalog
		edit       func(*httpapi.Options)
		want       string
	}{
		{"health", "/api/v1/health", shapes(), func(o *httpapi.Options) { o.ModelVersion = "v<1>" },
			`{"inference_ok":true,"device":"cpu","fs":{"tmp_writable":true,"output_writable":true,"model_path_access":true},"status":"ok","model_loaded":true,"version":"v<1>"}`},
		{"health, degraded on a GPU", "/api/v1/health", &catalog{}, func(o *httpapi.Options) {
			o.Health = func() httpapi.Health {
				return httpapi.Health{Device: "cuda:0", GPU: &httpapi.GPUMemory{Allocated: 5, FreeRatio: 0.5}}
			}
		}, `{"inference_ok":false,"device":"cuda:0","fs":{"tmp_writable":false,"output_writable":false,"model_path_access":false},"gpu_memory":{"allocated":5,"free_ratio":0.5},"status":"degraded","model_loaded":false,"version":""}`},
		{"health, starting", "/api/v1/health", &catalog{}, func(o *httpapi.Options) {
			o.Health = func() httpapi.Health {
				return httpapi.Health{Starting: true, InferenceOK: true, Device: "cpu", ModelPathAccess: true, TmpWritable: true, OutputWritable: true}
			}
		}, `{"inference_ok":true,"device":"cpu","fs":{"tmp_writable":true,"output_writable":true,"model_path_access":true},"status":"starting","model_loaded":false,"version":""}`},
		{"models", "/api/v2/models", &catalog{models: shapes().models[:1]}, nil,
			`{"0":{"model_name":"shapes-0","version":"1.0.0","task":"detection","description":"形状检测 shapes","folder":"model_0"}}`},
		{"no models", "/api/v2/models", &catalog{}, nil, `{}`},
		{"stats", "/api/v2/cache/stats", shapes(), nil,
			`{"loaded_models":[1,2,0],"num_loaded_models":3,"current_memory_mb":904.0859375,"max_memory_mb":4096,"memory_usage_percent":22.072410583496094,"request_count":0,"memory_check_interval":10}`},
		{"stats, no limit, nothing loaded", "/api/v2/cache/stats", &catalog{}, func(o *httpapi.Options) { o.Memory = func() httpapi.Memory { return httpapi.Memory{Used: 1 << 20} } },
			`{"loaded_models":[],"num_loaded_models":0,"current_memory_mb":1,"max_memory_mb":0,"memory_usage_percent":0,"request_count":0,"memory_check_interval":10}`},
		{"stats, off", "/api/v2/cache/stats", shapes(), func(o *httpapi.Options) { o.CacheDisabled = true },
			`{"error":"LRU cache is not enabled","message":"Set ENABLE_LRU_CACHE=true to use LRU cache mode"}`},
		{"memory", "/api/v2/memory_status", shapes(), func(o *httpapi.Options) {
			o.Memory = func() httpapi.Memory {
				at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
				return httpapi.Memory{
					Used: 512 << 20, Limit: 1 << 30, Free: 384 << 20, Unexplained: 1 << 20, WaitLoad: 2, WaitMemory: 1, Preheated: 4, PreheatUsed: 3,
					Ledger: map[string]int64{"base": 56 << 20, "mapped": 100 << 20},
					Models: []yolo.Status{
						{Model: &yolo.Model{Index: 1}, State: yolo.Ready, Warm: true, Speculative: true, Mapped: 100 << 20, Private: 1 << 20, Hits: 3, Loads: 1,
							LoadTook: 1500 * time.Microsecond, LastUsed: at, Expires: at.Add(time.Minute)},
						{Model: &yolo.Model{Index: 2}, State: yolo.Failed, Err: &yolo.Error{Msg: "is empty", Err: io.EOF}},
					},
				}
			}
		}, `{"loaded_models":[1,2,0],"memory_used_mb":512,"available_models":3,"max_memory_mb":1024,"memory_usage_percent":50,"free_mb":384,"ledger_mb":{"base":56,"mapped":100},"unexplained_mb":1,"queue":{"load":2,"memory":1},"preheat":{"loaded":4,"used":3,"precision":0.75},"models":{` +
			`"1":{"state":"ready","warm":true,"pinned":false,"speculative":true,"mapped_mb":100,"private_mb":1,"leases":0,"waiting":0,"hits":3,"loads":1,"evictions":0,"load_ms":1.5,"last_used":"2026-01-02T03:04:05Z","expires":"2026-01-02T03:05:05Z"},` +
			`"2":{"state":"failed","warm":false,"pinned":false,"speculative":false,"mapped_mb":0,"private_mb":0,"leases":0,"waiting":0,"hits":0,"loads":0,"evictions":0,"load_ms":0,"last_used":null,"expires":null,"error":"is empty"}}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := options(io.Discard)
			if tt.edit != nil {
				tt.edit(&o)
			}
			addr := serve(t, handler(t, found(), tt.models, o))
			if _, body := get(t, addr, "GET", tt.path, ""); string(body) != tt.want {
				t.Errorf("got\n%s\nwant\n%s", body, tt.want)
			}
		})
	}
	t.Run("models in order", func(t *testing.T) {
		addr := serve(t, handler(t, found(), twelve, options(io.Discard)))
		_, body := get(t, addr, "GET", "/api/v2/models", "")
		if strings.Index(string(body), `"10":`) < strings.Index(string(body), `"9":`) {
			t.Errorf("10 comes before 9: %s", body)
		}
	})
}

// TestRequestCount: a detection counts when its form was right, found or not.
func TestRequestCount(t *testing.T) {
	addr := serve(t, handler(t, found(), shapes(), options(io.Discard)))
	exchange(t, addr, "POST", post("/api/v2/detect", "a.jpg", []byte("x")))
	exchange(t, addr, "POST", post("/api/v1/detect", "a.jpg", []byte("x")))
	exchange(t, addr, "POST", postHead("/api/v2/detect", 0, "")) // 422
	if _, body := get(t, addr, "GET", "/api/v2/cache/stats", ""); !strings.Contains(string(body), `"request_count":2,`) {
		t.Errorf("want 2 requests: %s", body)
	}
}

// TestModelByIndex: the detector is asked by ID, even of a folder whose name is
// another model's number.
func TestModelByIndex(t *testing.T) {
	m := &catalog{models: []*yolo.Model{{ID: "7", Index: 0}, {ID: "0", Index: 7}}}
	var asked string
	d := detectFunc(func(_ context.Context, r yolo.Request) (*yolo.Result, error) {
		asked = r.Model
		return nil, yolo.Errorf(yolo.Unsupported, "not served")
	})
	pictures := &album{}
	o := options(io.Discard)
	o.Annotate = pictures
	addr := serve(t, handler(t, d, m, o))
	part := "--B\r\nContent-Disposition: form-data; name=\"model_id\"\r\n\r\n7\r\n" +
		"--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nx\r\n--B--"
	tests := []struct{ path, want string }{
		{"/api/v1/detect", "7"}, // model 0
		{"/api/v2/detect", "0"}, // model 7
	}
	for _, tt := range tests {
		_, body := exchange(t, addr, "POST", append(postHead(tt.path, len(part), ""), part...))
		if asked != tt.want || string(body) != `{"error":"not served"}` {
			t.Errorf("%s: asked for %q, want %q; body %s", tt.path, asked, tt.want, body)
		}
	}
	if got := pictures.last(); got.name != "" {
		t.Errorf("a failure was saved as %q", got.name)
	}
}
