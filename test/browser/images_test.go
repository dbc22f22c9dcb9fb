package browser

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestImages makes the pictures of the documents, in the folder that IMAGES names.
func TestImages(t *testing.T) {
	dir := os.Getenv("IMAGES")
	if dir == "" {
		t.Skip("IMAGES names no folder: the pictures of the documents stay as they are (make screenshots)")
	}
	b := startChromium(t)
	needORT(t)
	var models []model
	for i, name := range []string{
		"smoke-v2", "helmets", "parking", "shelf-gaps", "forklifts", "weld-seams", "license-plates", "queue-length", "bottle-caps", "solar-cells", "pallets", "leaf-spots",
		"fire-exit", "loading-dock", "birds", "gauges", "traffic", "potholes", "fruit-sizes", "safety-vests", "luggage", "poultry", "scratches", "boats",
	} {
		for j, variant := range []string{"", "-night", "-rain"} {
			models = append(models, demo(fmt.Sprintf("model_%d", 3*i+j), name+variant))
		}
	}
	s := startServer(t, models, "MAX_MEMORY_MB=195")
	p := b.open(t, look{lang: "en-US", width: 1280, height: 1180})
	p.visit(s.url + "/")
	// Some models are used often, most now and then.
	began := time.Now()
	for i := 0; time.Since(began) < 75*time.Second; i++ {
		at := i % 5
		if i%3 == 0 {
			at = (i / 3) % len(models)
		}
		s.detect(fmt.Sprintf("model_%d", at), filepath.Join(pictures, "shapes.jpg"))
		<-time.After(120 * time.Millisecond)
	}
	p.save(filepath.Join(dir, "dashboard.png"))
	p.clean(s.url)

	p = b.open(t, look{lang: "zh-CN", dark: true, width: 1280, height: 900})
	p.visit(s.url + "/#/try")
	p.choose("#file", filepath.Join(demoDir, "pictures/street.jpg"))
	p.until("results", `document.querySelectorAll("#found li").length > 2`)
	p.save(filepath.Join(dir, "try.png"))
	p.clean(s.url)
}
