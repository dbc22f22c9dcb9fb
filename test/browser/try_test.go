package browser

import (
	"fmt"
	"io"
	"log"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTry looks at a picture as people do: by file, drawn, and from the camera.
func TestTry(t *testing.T) {
	b := startChromium(t)
	needORT(t)
	s := startServer(t, []model{demo("model_0", "smoke-v2"), demo("model_1", "helmets")})
	p := b.open(t, desktop)
	p.visit(s.url + "/#/try?model=model_1")
	p.until("the model of the address", `document.querySelector("#model").selectedOptions[0]?.textContent.startsWith("helmets")`)
	want := s.detect("model_1", filepath.Join(pictures, "shapes.jpg"))
	p.choose("#file", filepath.Join(pictures, "shapes.jpg"))
	p.until("all results", fmt.Sprintf(`document.querySelectorAll("#found li").length === %d && document.querySelector("#took").innerText.includes("ms: model")`, want))
	p.keep("file")
	contains(t, p.text("#code"), "curl "+s.url+"/api/v2/detect", "-F file=@shapes.jpg", "-F model=model_1", "-F conf=0.25")
	p.eval(`document.querySelector("#as-python").click()`, nil)
	contains(t, p.text("#code"), "import requests", `"model": "model_1"`, s.url)

	ink := `document.querySelector("#canvas").toDataURL()`
	var before, after string
	p.eval(ink, &before)
	p.eval(`{const c = document.querySelector("#conf"); c.value = 0.99; c.dispatchEvent(new Event("input", {bubbles: true}))}`, nil)
	p.until("fewer with a higher threshold", fmt.Sprintf(`document.querySelectorAll("#found li").length < %d`, want))
	p.eval(ink, &after)
	if before == after {
		t.Error("the picture does not follow the threshold")
	}
	p.eval(`{const c = document.querySelector("#conf"); c.value = 0.01; c.dispatchEvent(new Event("input", {bubbles: true}))}`, nil)
	p.until("more with a lower one", fmt.Sprintf(`document.querySelectorAll("#found li").length > %d`, want))

	p.choose("#file", filepath.Join(pictures, "text.jpg"))
	p.until("the reason", `document.querySelector("#answer.bad")?.innerText.includes("Failed to decode image")`)

	p.eval(`document.querySelector("#camera").click()`, nil)
	p.until("the camera's pictures", `document.querySelector("#camera").innerText === "Stop the camera" && document.querySelector("#code").innerText.includes("camera.jpg") && document.querySelector("#json").textContent.includes("predictions")`)
	p.eval(`document.querySelector("#camera").click()`, nil)
	p.until("the end of the camera", `document.querySelector("#camera").innerText === "Use the camera" && !document.querySelector("#video").srcObject`)
	p.clean(s.url)
}

// TestEveryTask has a model of each task find something and the page draw it.
func TestEveryTask(t *testing.T) {
	b := startChromium(t)
	needORT(t)
	families := filepath.Join(sharedDir, "fixtures", "families")
	if _, err := os.Stat(families); err != nil {
		if os.Getenv("REQUIRE_SHARED") == "1" {
			t.Fatal(err)
		}
		t.Skipf("models of every task are not here: %v", err)
	}
	tasks := map[string]struct{ weights, found string }{
		"detect":   {"26-detect", `a.predictions[0].x1 !== undefined`},
		"segment":  {"26-seg", `a.predictions[0].segments.x.length > 2`},
		"pose":     {"26-pose", `a.predictions[0].keypoints.x.length > 0`},
		"obb":      {"26-obb", `a.predictions[0].obb.corners.length === 4`},
		"classify": {"26-cls", `a.probs.top5.length > 0`},
	}
	var models []model
	for task, about := range tasks {
		models = append(models, model{task, task + "-model", task, filepath.Join(families, about.weights, "model.onnx")})
	}
	s := startServer(t, models, "MAX_MEMORY_MB=700")
	for task, about := range tasks {
		t.Run(task, func(t *testing.T) {
			p := b.open(t, desktop)
			p.visit(s.url + "/#/try?model=" + task)
			p.until("the model", fmt.Sprintf(`document.querySelector("#model").selectedOptions[0]?.textContent.startsWith(%q)`, task))
			p.choose("#file", filepath.Join(families, "images", "b.png"))
			p.until("results", `document.querySelectorAll("#found li").length > 0`)
			p.until("what the task adds", fmt.Sprintf(`((a) => %s)(JSON.parse(document.querySelector("#json").textContent.replaceAll('"…"', "0")))`, about.found))
			if disabled := p.count(`Number(document.querySelector("#conf").disabled)`) == 1; disabled != (task == "classify") {
				t.Errorf("the threshold's slider is disabled: %v", disabled)
			}
			p.keep("drawn")
			p.clean(s.url)
		})
	}
}

// TestDraw draws recorded answers of every task on a white picture and looks at pixels.
func TestDraw(t *testing.T) {
	b := startChromium(t)
	s := startServer(t, []model{demo("model_0", "smoke-v2")})
	p := b.open(t, desktop)
	p.visit(s.url + "/")
	white := `255,255,255`
	for name, tt := range map[string]struct {
		prediction  string
		inked, bare [][2]int // pixels
	}{
		"box":      {`{class_id: 1, class_name: "a", confidence: 0.9, x1: 20, y1: 40, x2: 80, y2: 90}`, [][2]int{{20, 60}, {50, 90}, {80, 60}}, [][2]int{{50, 60}, {95, 60}}},
		"obb":      {`{class_id: 1, class_name: "a", confidence: 0.9, x1: 10, y1: 10, x2: 90, y2: 90, obb: {corners: [[50, 30], [70, 50], [50, 70], [30, 50]]}}`, [][2]int{{40, 60}, {60, 60}}, [][2]int{{10, 60}, {50, 50}, {90, 80}}},
		"polygon":  {`{class_id: 1, class_name: "a", confidence: 0.9, x1: 20, y1: 40, x2: 80, y2: 90, segments: {x: [30, 70, 70, 30], y: [50, 50, 80, 80]}}`, [][2]int{{50, 60}, {35, 75}}, [][2]int{{25, 60}}},
		"rle":      {`{class_id: 1, class_name: "a", mask: {size: [100, 100], counts: [1010, 20, 80, 20, 2870, 300, 5700]}}`, [][2]int{{10, 15}, {11, 29}, {40, 0}, {42, 99}}, [][2]int{{10, 35}, {12, 15}, {43, 50}}},
		"keypoint": {`{class_id: 1, class_name: "a", confidence: 0.9, x1: 5, y1: 25, x2: 95, y2: 95, keypoints: {x: [50, 70, 20], y: [50, 80, 80], visible: [0.9, 0.9, 0.1]}}`, [][2]int{{53, 50}, {73, 80}}, [][2]int{{23, 80}, {60, 65}}},
		"skeleton": {`{class_id: 1, class_name: "a", confidence: 0.9, x1: 5, y1: 25, x2: 95, y2: 95, keypoints: {x: [...Array(5).fill(0), 20, 80, ...Array(10).fill(0)], y: [...Array(5).fill(0), 60, 60, ...Array(10).fill(0)], visible: [...Array(5).fill(0), 1, 1, ...Array(10).fill(0)]}}`, [][2]int{{50, 60}}, [][2]int{{50, 70}}},
		"class":    {`{class_id: 1, class_name: "a", confidence: 0.9}`, nil, [][2]int{{50, 50}, {1, 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			pixel := fmt.Sprintf(`(async () => {
				const {draw} = await import("/dashboard/draw.js");
				const image = new OffscreenCanvas(100, 100), c = image.getContext("2d");
				c.fillStyle = "#fff"; c.fillRect(0, 0, 100, 100);
				const canvas = document.createElement("canvas");
				draw(canvas, {image, width: 100, height: 100}, [%s]);
				return (x, y) => [...canvas.getContext("2d").getImageData(x, y, 1, 1).data.slice(0, 3)].join();
			})()`, tt.prediction)
			for _, want := range []struct {
				at   [][2]int
				bare bool
			}{{tt.inked, false}, {tt.bare, true}} {
				for _, at := range want.at {
					var got string
					p.eval(fmt.Sprintf("(async () => (await %s)(%d, %d))()", pixel, at[0], at[1]), &got)
					if (got == white) != want.bare {
						t.Errorf("pixel %v is %s, bare: %v", at, got, want.bare)
					}
				}
			}
		})
	}
}

// A gate stands before a server, as a proxy does.
type gate struct {
	*httptest.Server
	down atomic.Bool // it hangs up
}

// newGate passes calls on as more changes them; nil: as they are.
func newGate(t *testing.T, to string, more func(*httputil.ProxyRequest)) *gate {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{FlushInterval: -1, ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		if more != nil {
			more(r)
		}
	}}
	g := new(gate)
	g.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.down.Load() {
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	g.Config.ErrorLog = log.New(io.Discard, "", 0) // streams that end are no news
	g.Start()
	t.Cleanup(func() { g.CloseClientConnections(); g.Close() })
	return g
}

// TestKey: a server with keys is asked for one, which stays in the tab.
func TestKey(t *testing.T) {
	b := startChromium(t)
	needORT(t)
	const secret, blind = "a-secret-that-opens-all", "a-secret-that-may-not-see"
	s := startServer(t, []model{demo("model_0", "smoke-v2")}, "API_KEYS=all:read+infer+admin:"+secret+",camera:infer:"+blind)
	p := b.open(t, desktop)
	p.expect("401")
	p.expect("403")
	p.must("Page.navigate", map[string]any{"url": s.url + "/"}, nil)
	p.until("the question", `document.querySelector("#key")?.open && document.activeElement.id === "key-input"`)
	for _, scheme := range []string{"dark", "light"} {
		p.must("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
		p.accessible(axe(t))
		p.keep("asked-" + scheme)
	}
	enter := func(key string) {
		p.eval(fmt.Sprintf(`document.querySelector("#key-input").value = %q; document.querySelector("#key button").click()`, key), nil)
	}
	enter("wrong")
	p.until("the refusal", `document.querySelector("#key").open && document.querySelector("#key-bad").innerText.includes("does not know this key")`)
	p.eval(`document.querySelector("#key-no").click()`, nil)
	p.until("a way back", `document.querySelector("#notice").innerText.includes("asks for a key") && !document.querySelector("#notice-do").hidden`)
	p.eval(`document.querySelector("#notice-do").click()`, nil)
	enter(blind)
	p.until("what the key may not", `document.querySelector("#notice").innerText.includes("This key may not see this") && !document.querySelector("#notice-do").hidden`)
	p.eval(`document.querySelector("#notice-do").click()`, nil)
	enter(secret)
	p.until("the data", `document.querySelector("#conn").dataset.is === "live" && !document.querySelector("#key").open && document.querySelector("#notice").hidden`)
	p.eval(`location.hash = "#/models"`, nil)
	p.until("a row", `document.querySelector("#rows .model")`)
	p.eval(`document.querySelector("#rows button").click()`, nil)
	p.until("the load", `document.querySelector("#said").innerText === "smoke-v2 is loaded."`)
	p.eval(`location.hash = "#/try"`, nil)
	p.until("code with the key's name, not the key", fmt.Sprintf(`document.querySelector("#code").innerText.includes("Bearer $LAZYOLO_KEY") && !document.body.innerHTML.includes(%q)`, secret))
	p.eval(`document.querySelector("#sample").click()`, nil)
	p.until("an answer", `document.querySelector("#json").textContent.includes("predictions")`)
	if kept := p.count(`Object.keys(localStorage).length + document.cookie.length`); kept > 0 {
		t.Error("the key is kept beyond the tab")
	}
	p.visit(s.url + "/") // it is still known
	p.clean(s.url)
}

// TestHint: a call that the server takes only on the machine itself says so.
func TestHint(t *testing.T) {
	b := startChromium(t)
	s := startServer(t, []model{demo("model_0", "smoke-v2")})
	at := newGate(t, s.url, (*httputil.ProxyRequest).SetXForwarded).URL
	p := b.open(t, desktop)
	p.expect("403")
	p.visit(at + "/#/models")
	p.until("a row", `document.querySelector("#rows .model")`)
	p.eval(`document.querySelector("#rows button").click()`, nil)
	p.until("the hint", `document.querySelector("#said").innerText.includes("call it on the machine itself")`)
	p.clean(at)
}

// TestServerGone: the page says that the server is gone, and comes back with it.
func TestServerGone(t *testing.T) {
	b := startChromium(t)
	needORT(t)
	s := startServer(t, []model{demo("model_0", "smoke-v2")})
	g := newGate(t, s.url, nil)
	p := b.open(t, desktop)
	p.expect("ERR_")
	p.visit(g.URL + "/")
	g.down.Store(true)
	g.CloseClientConnections()
	p.until("the news", `document.querySelector("#conn").dataset.is === "lost" && document.querySelector("#notice").innerText.includes("does not answer. What you see is as of")`)
	p.accessible(axe(t))
	p.keep("gone")
	s.act("model_0", "load")
	g.down.Store(false)
	p.until("the way back, and what happened meanwhile", `document.querySelector("#conn").dataset.is === "live" && document.querySelector("#notice").hidden && document.querySelector("#decisions").innerText.includes("Loaded smoke-v2")`)
	p.clean(g.URL)
}

// TestQuantiles reads a histogram as the dashboard does and compares quantiles that
// were reckoned by hand.
func TestQuantiles(t *testing.T) {
	b := startChromium(t)
	s := startServer(t, []model{demo("model_0", "smoke-v2")})
	p := b.open(t, desktop)
	p.visit(s.url + "/")
	const text = `# TYPE lazyolo_inference_duration_seconds histogram
lazyolo_inference_duration_seconds_bucket{model="a",le="0.01"} 10
lazyolo_inference_duration_seconds_bucket{model="a",le="0.02"} 30
lazyolo_inference_duration_seconds_bucket{model="a",le="+Inf"} 30
lazyolo_inference_duration_seconds_sum{model="a"} 0.4
lazyolo_inference_duration_seconds_count{model="a"} 30
lazyolo_inference_duration_seconds_bucket{model="b} c,le=",le="0.01"} 0
lazyolo_inference_duration_seconds_bucket{model="b} c,le=",le="0.02"} 40
lazyolo_inference_duration_seconds_bucket{model="b} c,le=",le="+Inf"} 70
lazyolo_request_duration_seconds_bucket{door="old",route="/",le="0.01"} 1000
`
	var got []float64
	p.eval(fmt.Sprintf(`(async () => {
		const {parse, quantile} = await import("/dashboard/metrics.js");
		const all = parse(%q);
		return [all.get(Infinity), ...[0.05, 0.5, 0.7, 0.99].map((q) => quantile(q, all)), quantile(0.5, new Map()) === undefined ? 1 : 0];
	})()`, text), &got)
	// 100 in all: 10 up to 10 ms, 70 up to 20 ms, 30 beyond every bound.
	if want := []float64{100, 0.005, 0.01 + 0.01*40/60, 0.02, 0.02, 1}; !cmp.Equal(want, got, cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-9 })) {
		t.Errorf("got %v, want %v", got, want)
	}
	p.clean(s.url)
}
