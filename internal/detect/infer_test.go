package detect

import (
	"context"
	"errors"
	"testing"
	"time"

	"lazyolo/yolo"
)

// inferPlan is of a model with this input.
func inferPlan(t *testing.T, shape ...int64) *plan {
	t.Helper()
	in := []yolo.TensorInfo{{Name: "images", DType: yolo.FP32, Shape: shape}}
	p, err := newPlan(labelled(yolo.Detect, 3), in, infos([]int64{1, 7, -1}), names3())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestTensorsMustFit(t *testing.T) {
	static, dynamic := inferPlan(t, 1, 3, 64, 32), inferPlan(t, -1, 3, -1, -1)
	for _, tt := range []struct {
		name   string
		p      *plan
		shape  []int64
		values int64
		pixels int64 // 0: refused
	}{
		{"as declared", static, []int64{1, 3, 64, 32}, 3 * 64 * 32, 64 * 32},
		{"two pictures", static, []int64{2, 3, 64, 32}, 2 * 3 * 64 * 32, 0},
		{"sides swapped", static, []int64{1, 3, 32, 64}, 3 * 64 * 32, 0},
		{"a value short", static, []int64{1, 3, 64, 32}, 3*64*32 - 1, 0},
		{"flat", static, []int64{3 * 64 * 32}, 3 * 64 * 32, 0},
		{"dynamic", dynamic, []int64{1, 3, 32, 96}, 3 * 32 * 96, 32 * 96},
		{"dynamic, two pictures", dynamic, []int64{2, 3, 32, 32}, 2 * 3 * 32 * 32, 2 * 32 * 32},
		{"no multiple of the stride", dynamic, []int64{1, 3, 32, 33}, 3 * 32 * 33, 0},
		{"nothing", dynamic, []int64{0, 3, 32, 32}, 0, 0},
		{"negative", dynamic, []int64{-1, 3, -32, 32}, 3 * 32 * 32, 0},
		{"overflow", dynamic, []int64{1 << 31, 3, 1 << 31, 1 << 31}, 0, 0},
		{"one channel", dynamic, []int64{1, 1, 32, 32}, 32 * 32, 0},
	} {
		pixels, err := tt.p.fits([]yolo.Tensor{{Shape: tt.shape, Data: make([]float32, tt.values)}})
		if pixels != tt.pixels || (err == nil) != (tt.pixels > 0) || err != nil && yolo.CodeOf(err) != yolo.Invalid {
			t.Errorf("%s: %d pixels, %v", tt.name, pixels, err)
		}
	}
	if _, err := static.fits(nil); yolo.CodeOf(err) != yolo.Invalid {
		t.Errorf("no tensors: %v", err)
	}
}

func TestSignatureOfAKnownModelTakesNoLoad(t *testing.T) {
	want := yolo.Signature{Metadata: map[string]string{"stride": "32"}}
	d := New(nil, nil, Options{Known: func(*yolo.Model) (yolo.Signature, bool) { return want, true }})
	got, err := d.Signature(t.Context(), &yolo.Model{ID: "m"})
	if err != nil || got.Metadata["stride"] != "32" {
		t.Errorf("%v %v", got, err)
	}
}

type noModels struct{}

func (noModels) Model(string) (*yolo.Model, bool) { return nil, false }

func TestInferOfAnUnknownModel(t *testing.T) {
	d := New(noModels{}, nil, Options{})
	err := d.Infer(context.Background(), "m", nil, nil)
	if yolo.CodeOf(err) != yolo.NotFound {
		t.Error(err)
	}
}

func TestCounts(t *testing.T) {
	d := New(noModels{}, nil, Options{})
	m := &yolo.Model{ID: "m"}
	one := d.counts.begin(m)
	one.ran()
	one.end(yolo.Took{Load: 1, Memory: 2, Decode: 4, Run: time.Hour}, nil)
	d.counts.begin(m).end(yolo.Took{Load: 8}, errors.New("no"))
	n := d.Counts(m)
	if n.Success.N != 1 || n.Fail.N != 1 || n.Queue != (yolo.Sum{N: 1, Time: 3}) || n.Input.Time != 4 {
		t.Errorf("%+v", n)
	}
	if n.Infer.Time <= time.Hour/2 || n.Infer.Time+n.Output.Time != time.Hour || n.Last.IsZero() {
		t.Errorf("%+v", n)
	}
	if n := d.Counts(&yolo.Model{ID: "other"}); n != (yolo.Counts{}) {
		t.Errorf("%+v", n)
	}
}
