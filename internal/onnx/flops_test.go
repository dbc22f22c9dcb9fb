package onnx

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWork(t *testing.T) {
	conv := Node{Op: "Conv", Inputs: []string{"x", "w"}, Outputs: []string{"y"}, Attributes: []Attribute{IntsAttribute("strides", 2, 2), IntsAttribute("pads", 1, 1, 1, 1)}}
	weight := Tensor{Name: "w", Type: Float, Dims: []int64{8, 3, 3, 3}}
	tests := []struct {
		name string
		g    Graph
		want Work
	}{
		{"nothing", Graph{}, Work{}},
		{"convolution", Graph{Nodes: []Node{conv}, Initializers: []Tensor{weight}}, Work{FLOPs: 2 * 8 * 5 * 5 * 27}},
		{"unknown input", Graph{Nodes: []Node{{Op: "Mystery", Inputs: []string{"x"}, Outputs: []string{"z"}},
			{Op: "Conv", Inputs: []string{"z", "w"}, Outputs: []string{"y"}}}, Initializers: []Tensor{weight}}, Work{Unknown: 1}},
		{"nodes without inputs", Graph{Nodes: []Node{{Op: "Conv"}, {Op: "MatMul", Inputs: []string{"x"}}, {Op: "Shape"}}}, Work{Unknown: 2}},
		{"known from the file", Graph{Nodes: []Node{{Op: "Mystery", Inputs: []string{"x"}, Outputs: []string{"z"}}, {Op: "MatMul", Inputs: []string{"z", "w"}, Outputs: []string{"y"}}},
			Values: []Value{{Name: "z", Shape: []Dim{{Size: 2}, {Size: 4}}}}, Initializers: []Tensor{{Name: "w", Type: Float, Dims: []int64{4, 5}}}}, Work{FLOPs: 2 * 2 * 4 * 5}},
		{"impossible", Graph{Nodes: []Node{{Op: "Conv", Inputs: []string{"x", "w"}, Outputs: []string{"y"}, Attributes: []Attribute{IntsAttribute("strides", 0, -1)}}},
			Initializers: []Tensor{weight}}, Work{Unknown: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.g.Work(map[string][]int64{"x": {1, 3, 10, 10}}); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestWorkOfOfficial follows the shapes of official exports without the ones
// they tell: all sizes must be worked out, to the same outputs.
func TestWorkOfOfficial(t *testing.T) {
	dir := filepath.Join("..", "..", "..", "shared", "fixtures", "families")
	files, err := filepath.Glob(filepath.Join(dir, "*", "model.onnx"))
	if err != nil || len(files) == 0 {
		if os.Getenv("REQUIRE_SHARED") == "1" {
			t.Fatal("no fixtures", err)
		}
		t.Skipf("%s is not here; REQUIRE_SHARED=1 makes this a failure", dir)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		m, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		in, _ := fixedShape(m.Graph.Inputs[0])
		told := m.Graph.Work(map[string][]int64{"images": in})
		m.Graph.Values = nil
		w := m.Graph.Work(map[string][]int64{"images": in})
		if filepath.Base(filepath.Dir(f)) == "rtdetr-detect" && w.FLOPs < told.FLOPs {
			continue // its decoder has operators that are not followed
		}
		if w != told || w.FLOPs == 0 || w.Unknown > 0 {
			t.Errorf("%s: got %+v, with the file's shapes %+v", f, w, told)
		}
	}
}
