package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// What Ultralytics itself finds with the models and pictures of
// internal/testmodels, lazyolo finds too: every layout of output, fp32 and fp16,
// static and dynamic inputs.
func TestParityWithUltralytics(t *testing.T) {
	t.Parallel()
	needORT(t)
	const dir = "../../internal/testmodels"
	var golden struct {
		Cases []struct {
			Model, Image string
			Predictions  []prediction
		}
	}
	if err := json.Unmarshal(readFile(t, filepath.Join(dir, "golden.json")), &golden); err != nil {
		t.Fatal(err)
	}
	// Names without a folder are beside golden.json, others in the repository.
	place := func(name string) string {
		if strings.Contains(name, "/") {
			return filepath.Join("../..", name)
		}
		return filepath.Join(dir, name)
	}
	h := newHome(t)
	ids := make(map[string]string) // of the models seen so far
	for _, c := range golden.Cases {
		if ids[c.Model] == "" {
			ids[c.Model] = fmt.Sprint(len(ids))
			h.addModel(t, "model_"+ids[c.Model], readFile(t, place(c.Model)))
			writeFile(t, filepath.Join(h.models, "model_"+ids[c.Model], "labels.yaml"), labels())
		}
	}
	s := start(t, h, "SAVE_ANNOTATED=off")
	for _, c := range golden.Cases {
		t.Run(c.Model+" "+c.Image, func(t *testing.T) {
			want := make([]prediction, len(c.Predictions))
			for i, p := range c.Predictions {
				p.ClassName = string(rune('a' + p.ClassID)) // as in labels
				want[i] = p.whole()
			}
			a := s.post(t, picture(ids[c.Model], readFile(t, place(c.Image))))
			if a.Predictions == nil {
				t.Fatal(a)
			}
			same(t, a.Predictions, want, toleranceOf(c.Image))
		})
	}
}

// whole cuts the corners to whole pixels, as the old API gives them.
func (p prediction) whole() prediction {
	for _, c := range []*float64{&p.X1, &p.Y1, &p.X2, &p.Y2} {
		*c = float64(int(*c))
	}
	return p
}
