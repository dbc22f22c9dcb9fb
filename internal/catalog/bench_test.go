package catalog_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lazyolo/internal/catalog"
)

// thousand makes n model folders with 80 names each; every tenth set of names
// is one of its own.
func thousand(tb testing.TB, n int) string {
	tb.Helper()
	dir := tb.TempDir()
	for i := range n {
		var b strings.Builder
		fmt.Fprintf(&b, "model_name: shapes-%d\nmodel_family: YOLOv8\nversion: 1.0.%d\nmodel_path: ./best.onnx\ntask: detection\n", i, i)
		b.WriteString("input_size: \"640x640\"\ndescription: 形状检测 shapes\nmetadata:\n  training_data: synthetic\n  note: n\nnames:\n")
		for c := range 80 {
			if i%10 == 0 {
				fmt.Fprintf(&b, "  %d: class %d of model %d\n", c, c, i)
			} else {
				fmt.Fprintf(&b, "  %d: class number %d\n", c, c)
			}
		}
		folder := fmt.Sprintf("model_%d", i)
		write(tb, filepath.Join(dir, folder, "labels.yaml"), b.String())
		write(tb, filepath.Join(dir, folder, "best.onnx"), "weights")
	}
	return dir
}

func write(tb testing.TB, file, content string) {
	tb.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		tb.Fatal(err)
	}
}

func BenchmarkOpen1000(b *testing.B) {
	o := catalog.Options{Dir: thousand(b, 1000), StateDir: b.TempDir()}
	b.ReportAllocs()
	for b.Loop() {
		c, err := catalog.Open(o)
		if err != nil || len(c.All()) != 1000 {
			b.Fatalf("Open: %d models, %v", len(c.All()), err)
		}
	}
}
