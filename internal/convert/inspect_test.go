package convert_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"lazyolo/internal/convert"
	"lazyolo/internal/torch"
	"lazyolo/yolo"
)

func inspect(t *testing.T, path string) *convert.Report {
	t.Helper()
	ck, err := torch.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ck.Close() })
	return convert.Inspect(ck)
}

func TestInspect(t *testing.T) {
	r := inspect(t, filepath.Join("testdata", "two.pt"))
	if r.Refused != nil || r.Task != yolo.Detect || r.Head != "Detect" || !r.TwoHeaded || r.ImageSize != side || r.Stride != 16 || r.Version != "8.0.0" || r.Part != "model" {
		t.Errorf("got %+v", r)
	}
	if len(r.Layers) != 10 || fmt.Sprint(r.Layers[7].From, r.Layers[0].From) != "[-1 4] [-1]" || r.Labels[1] != `driver's "cab"` {
		t.Errorf("got layers %+v, labels %v", r.Layers, r.Labels)
	}
	// The first layer: 4 kernels of 3x3x3 and a norm of 4.
	if r.Layers[0].Parameters != 4*27+8 || r.Work.FLOPs == 0 || r.Work.Unknown != 0 {
		t.Errorf("got %+v, %+v", r.Layers[0], r.Work)
	}
	sum := int64(0)
	for _, l := range r.Layers {
		sum += l.Parameters
	}
	if sum != r.Parameters {
		t.Errorf("the layers have %d parameters, the model %d", sum, r.Parameters)
	}
}

func TestInspectRefused(t *testing.T) {
	r := inspect(t, filepath.Join("testdata", "newer.pt"))
	if r.Refused == nil || !strings.Contains(r.Refused.Error(), "C9z") {
		t.Errorf("refused for %v", r.Refused)
	}
	if got := fmt.Sprint(r.Unknown); got != "[model.1.0 ultralytics.nn.modules.block.C9z]" {
		t.Errorf("got unknown modules %s", got)
	}
}

// TestInspectFamilies finds nothing unknown in what can be converted.
func TestInspectFamilies(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(families(t), "*", "model.pt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		r := inspect(t, f)
		if r.Refused != nil || r.Task == "" || r.Work.FLOPs == 0 || r.Work.Unknown > 0 && r.Head != "RTDETRDecoder" {
			t.Errorf("%s: got %v, %s, %+v", f, r.Refused, r.Task, r.Work)
		}
		t.Logf("%s: %s %s, %d parameters, %d FLOPs", filepath.Base(filepath.Dir(f)), r.Task, r.Head, r.Parameters, r.Work.FLOPs)
	}
}
