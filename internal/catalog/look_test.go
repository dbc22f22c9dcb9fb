package catalog

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkLook1000 is a look at a thousand folders that did not change.
func BenchmarkLook1000(b *testing.B) {
	dir := b.TempDir()
	for i := range 1000 {
		folder := filepath.Join(dir, fmt.Sprintf("model_%d", i))
		if err := os.Mkdir(folder, 0o755); err != nil {
			b.Fatal(err)
		}
		text := "model_name: m\nversion: 1\nmodel_path: ./best.onnx\ntask: detection\nnames: {0: a}\n"
		for name, content := range map[string]string{labelsFile: text, "best.onnx": "weights"} {
			if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	c, err := Open(Options{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	t := newWatcher(c, Watching{})
	b.ReportAllocs()
	for b.Loop() {
		t.look(b.Context())
	}
	if len(c.All()) != 1000 || t.lost != "" {
		b.Fatalf("%d models, %s", len(c.All()), t.lost)
	}
}
