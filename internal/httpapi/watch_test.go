package httpapi_test

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"lazyolo/internal/httpapi"
	"lazyolo/yolo"
)

// a told event "memory".
type told struct {
	Memory struct {
		Used     float64            `json:"memory_used_mb"`
		Ledger   map[string]float64 `json:"ledger_mb"`
		Requests int                `json:"request_count"`
		Models   int                `json:"available_models"`
		Metrics  bool
	}
	Models map[string]*struct {
		State string
		Hits  int
		Error string
	}
}

// TestEventsTellMemory: all of it first, then what has changed, and nothing otherwise.
func TestEventsTellMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := shapes().models
		mem := httpapi.Memory{Used: 50 << 20, Limit: 100 << 20, Ledger: map[string]int64{"base": 64 << 20}, Models: []yolo.Status{
			{Model: all[0], State: yolo.Ready, Hits: 3}, {Model: all[1], State: yolo.Unloaded},
		}}
		o := options(io.Discard)
		o.Metrics = true
		var mu sync.Mutex
		o.Memory = func() httpapi.Memory {
			mu.Lock()
			defer mu.Unlock()
			return mem
		}
		change := func(f func()) {
			mu.Lock()
			defer mu.Unlock()
			f()
		}
		dial := pipeServer(t, handler(t, found(), shapes(), o))
		defer o.Events.Close()
		b := subscribe(t, dial(), "?memory=1", "")
		next := func() (v told) {
			t.Helper()
			data, ok := strings.CutPrefix(message(t, b), "event: memory data: ")
			if err := json.Unmarshal([]byte(data), &v); err != nil || !ok {
				t.Fatalf("%v in %q", err, data)
			}
			return v
		}
		first := next()
		if first.Memory.Used != 50 || first.Memory.Ledger["base"] != 64 || first.Memory.Models != 3 || !first.Memory.Metrics || len(first.Models) != 2 || first.Models["0"].Hits != 3 {
			t.Errorf("first %+v", first)
		}

		began := time.Now()
		change(func() { mem.Models = []yolo.Status{{Model: all[0], State: yolo.Ready, Hits: 4}, mem.Models[1]} })
		second := next()
		if took := time.Since(began); took > time.Second {
			t.Errorf("told after %v", took)
		}
		if len(second.Models) != 1 || second.Models["0"].Hits != 4 {
			t.Errorf("second %+v", second.Models)
		}

		time.Sleep(10 * time.Second) // nothing happens
		change(func() {
			mem.Models = []yolo.Status{mem.Models[0], {Model: all[1], State: yolo.Failed, Err: errors.New("x")}}
		})
		third := next()
		if d := cmp.Diff([]string{"1"}, keys(third.Models)); d != "" || third.Models["1"].Error == "" {
			t.Errorf("third (-want +got):\n%s%+v", d, third.Models["1"])
		}

		change(func() { mem.Models = mem.Models[1:] }) // it is gone
		if fourth := next(); len(fourth.Models) != 1 || fourth.Models["0"] != nil {
			t.Errorf("fourth %+v", fourth.Models)
		}
		change(func() { mem.Used++ }) // the whole alone
		if fifth := next(); len(fifth.Models) != 0 {
			t.Errorf("fifth %+v", fifth.Models)
		}
	})
}

func keys[V any](m map[string]V) (all []string) {
	for k := range m {
		all = append(all, k)
	}
	return all
}

func TestEventsRefuseAWrongMemory(t *testing.T) {
	addr := serve(t, handler(t, found(), shapes(), options(io.Discard)))
	res, body := exchange(t, addr, "GET", []byte("GET /api/v2/events?memory=perhaps HTTP/1.1\r\nHost: x\r\n\r\n"))
	if res.StatusCode != 422 || !strings.Contains(string(body), "bool_parsing") {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}
