package browser

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// axe is axe-core's script, once for all tests.
func axe(t *testing.T) string {
	t.Helper()
	f, err := os.Open("axe/axe.min.js.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestVendored: axe-core is what axe/VENDORED.md says.
func TestVendored(t *testing.T) {
	notes, err := os.ReadFile("axe/VENDORED.md")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(axe(t)))
	contains(t, string(notes), "`axe.min.js` | `"+hex.EncodeToString(sum[:])+"`")
}

// accessible checks what is shown with axe-core: WCAG 2.2 A and AA, and good practice.
func (p *page) accessible(script string) {
	p.t.Helper()
	p.eval(script+";0", nil)
	var found []struct {
		ID, Help string
		Nodes    []struct{ HTML, FailureSummary string }
	}
	p.eval(`axe.run(document, {resultTypes: ["violations"]}).then((r) => r.violations)`, &found)
	for _, v := range found {
		for _, n := range v.Nodes {
			p.t.Errorf("axe: %s (%s): %s\n%s", v.ID, v.Help, n.HTML, n.FailureSummary)
		}
	}
}

// some models of a small site; the last cannot be loaded.
func site(t *testing.T) []model {
	t.Helper()
	broken := filepath.Join(t.TempDir(), "broken.onnx")
	if err := os.WriteFile(broken, []byte("not a model"), 0o644); err != nil {
		t.Fatal(err)
	}
	return []model{
		demo("model_0", "smoke-v2"), demo("model_1", "helmets"), demo("model_2", "parking"), demo("model_3", "parking"), demo("model_4", "shelf-gaps"),
		{"model_5", "broken", "detection", broken},
	}
}

// TestPages shows every page in both languages, light and dark, wide and as a phone
// does: nothing may overflow, complain, be unreachable for some, or come from elsewhere.
func TestPages(t *testing.T) {
	b := startChromium(t)
	needORT(t)
	s := startServer(t, site(t), "MAX_MEMORY_MB=250")
	for _, m := range []string{"model_0", "model_1", "model_2"} {
		s.detect(m, filepath.Join(pictures, "shapes.jpg"))
	}
	s.act("model_1", "pin")
	s.fails("model_5")
	script := axe(t)
	words := map[string][]string{
		"en": {"Memory", "Last decisions", "Loaded smoke-v2", "Search models", "What the states mean", "Lowest confidence"},
		"zh": {"内存", "最近的决定", "加载 smoke-v2", "搜索模型", "各状态的含义", "最低置信度"},
	}
	for name, l := range map[string]look{
		"light":    desktop,
		"dark-zh":  {lang: "zh-CN", dark: true, width: 1280, height: 900},
		"phone":    {lang: "en-GB", dark: true, width: 375, height: 740, phone: true},
		"phone-zh": {lang: "zh-TW", width: 360, height: 740, phone: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := b.open(t, l)
			p.visit(s.url + "/")
			lang := "en"
			if strings.HasPrefix(l.lang, "zh") {
				lang = "zh"
			}
			var all string
			for _, at := range []string{"overview", "models", "try"} {
				p.eval(fmt.Sprintf("location.hash = %q", "#/"+at), nil)
				p.until("the page", fmt.Sprintf("!document.getElementById(%q).hidden", at))
				switch at {
				case "overview":
					p.until("the chart", `document.querySelector("#chart canvas") && document.querySelector("#rate").textContent !== "–"`)
				case "models":
					p.until("rows", `document.querySelectorAll("#rows .model").length === 6`)
				case "try":
					p.eval(`document.getElementById("sample").click()`, nil)
					p.until("an answer", `document.querySelector("#json").textContent.includes("predictions")`)
				}
				var over float64
				p.eval("document.documentElement.scrollWidth - innerWidth", &over)
				if over > 0 {
					t.Errorf("%s is %v pixels wider than the window", at, over)
				}
				p.accessible(script)
				p.keep(at)
				var text string
				p.eval(`document.body.innerText + [...document.querySelectorAll("[placeholder]")].map((e) => e.placeholder)`, &text)
				all += text
			}
			contains(t, all, words[lang]...)
			p.clean(s.url)
		})
	}
}

// TestAPIPage: the page of the API lists the calls, and asks no other host for anything.
func TestAPIPage(t *testing.T) {
	b := startChromium(t)
	s := startServer(t, []model{demo("model_0", "smoke-v2")})
	for _, path := range []string{"/docs", "/redoc"} {
		p := b.open(t, desktop)
		p.must("Page.navigate", map[string]any{"url": s.url + path}, nil)
		p.until("the calls", `document.querySelectorAll(".opblock").length > 5 && document.body.innerText.includes("/api/v2/detect")`)
		p.keep(path[1:])
		p.clean(s.url)
	}
}

// TestWeight: whoever comes for the first time and looks at every page gets at most
// 200 kB over the network, the data in it included.
func TestWeight(t *testing.T) {
	b := startChromium(t)
	s := startServer(t, []model{demo("model_0", "smoke-v2")})
	p := b.open(t, desktop)
	p.visit(s.url + "/")
	p.until("the chart", `document.querySelector("#chart canvas")`)
	for _, at := range []string{"models", "try"} {
		p.eval(fmt.Sprintf("location.hash = %q", "#/"+at), nil)
		p.until("the page", fmt.Sprintf("!document.getElementById(%q).hidden", at))
	}
	p.until("the library of the chart", `performance.getEntriesByType("resource").some((e) => e.name.includes("uPlot"))`)
	p.mu.Lock()
	received, requests := p.received, len(p.requests)
	p.mu.Unlock()
	t.Logf("%d bytes for %d requests", received, requests)
	if received < 20_000 || received > 200_000 {
		t.Errorf("the pages weigh %d bytes", received)
	}
	p.clean(s.url)
}

// TestKeyboard walks through the pages with the Tab key alone.
func TestKeyboard(t *testing.T) {
	b := startChromium(t)
	needORT(t)
	s := startServer(t, []model{demo("model_0", "smoke-v2")})
	p := b.open(t, desktop)
	p.visit(s.url + "/#/models")
	p.until("a row", `document.querySelector("#rows .model")`)
	reached := make(map[string]bool)
	for range 40 {
		p.press("Tab", 9)
		var at, outline string
		p.eval(`(document.activeElement.getAttribute("aria-label") || document.activeElement.innerText || document.activeElement.id)`, &at)
		p.eval(`getComputedStyle(document.activeElement).outlineStyle`, &outline)
		reached[at] = true
		if at == "Load: smoke-v2" {
			if outline == "none" {
				t.Error("what has the focus is not marked")
			}
			break
		}
	}
	for _, want := range []string{"Skip to content", "Overview", "Models", "Try it", "search", "State", "Try: smoke-v2", "Load: smoke-v2"} {
		if !reached[want] {
			t.Errorf("Tab does not reach %q: %v", want, reached)
		}
	}
	p.press("Enter", 13)
	p.until("the model", `document.querySelector(".model .state").dataset.is === "warm" && document.querySelector("#said").innerText === "smoke-v2 is loaded."`)
	var label string
	p.eval(`document.activeElement.getAttribute("aria-label")`, &label)
	if label != "Unload: smoke-v2" {
		t.Errorf("the focus went to %q", label)
	}
	p.clean(s.url)
}

// TestLive: what happens on the server is on the page without a reload.
func TestLive(t *testing.T) {
	b := startChromium(t)
	needORT(t)
	models := []model{demo("model_0", "smoke-v2"), demo("model_1", "helmets"), demo("model_2", "parking")}
	s := startServer(t, models, "EVICTION_POLICY=lru")
	p := b.open(t, desktop)
	p.visit(s.url + "/")
	p.until("the empty state", `document.querySelector("#holders").innerText.includes("No model is in memory")`)
	s.act("model_0", "load")
	p.until("the load", `document.querySelector("#decisions").innerText.includes("Loaded smoke-v2: took") && document.querySelector("#holders").innerText.includes("smoke-v2")`)
	p.until("the count", `document.querySelector("#resident").innerText === "1 of 3"`)
	p.until("a mark and a line in the chart", `document.querySelector("#chart").getAttribute("aria-label").includes("1 loads and evictions")`)
	s.act("model_0", "unload")
	p.until("the end", `document.querySelector("#decisions").innerText.includes("Closed smoke-v2: asked to unload") && document.querySelector("#resident").innerText === "0 of 3"`)
	before := p.text("#rate-sub")
	for range 3 {
		s.detect("model_1", filepath.Join(pictures, "shapes.jpg"))
	}
	p.until("the latency", `document.querySelector("#latency").innerText.endsWith(" ms") || document.querySelector("#latency").innerText.endsWith(" s")`)
	p.until("the requests", `document.querySelector("#rate-sub").innerText.includes("3 since the server started")`)
	if !strings.Contains(before, "0 since the server started") {
		t.Errorf("before: %q", before)
	}

	p.eval(`location.hash = "#/models"`, nil)
	p.until("three rows", `document.querySelectorAll("#rows .model").length === 3`)
	row := `[...document.querySelectorAll("#rows .model")].find((r) => r.innerText.includes("parking"))`
	s.act("model_2", "load")
	p.until("the state", row+`.querySelector(".state").dataset.is === "warm"`)
	p.eval(row+`.querySelectorAll("button")[1].click()`, nil)
	p.until("the pin", row+`.innerText.includes("pinned") && document.querySelector("#said").innerText === "parking stays in memory."`)
	p.expect("409") // what the server refuses
	p.eval(row+`.querySelectorAll("button")[0].click()`, nil)
	p.until("the refusal in words", `document.querySelector("#said").innerText.startsWith("parking: ") && document.querySelector("#said.bad")`)
	p.clean(s.url)
}

// TestEvicted: the sentence that says why a model had to go.
func TestEvicted(t *testing.T) {
	b := startChromium(t)
	needORT(t)
	var models []model
	for i := range 80 {
		models = append(models, demo(fmt.Sprintf("model_%d", i), fmt.Sprintf("site-%d", i)))
	}
	s := startServer(t, models, "MAX_MEMORY_MB=200")
	p := b.open(t, look{lang: "en-US", width: 1280, height: 1100})
	p.visit(s.url + "/")
	for i := range models {
		s.detect(fmt.Sprintf("model_%d", i), filepath.Join(pictures, "shapes.jpg"))
	}
	p.until("an eviction", `/Evicted site-\d+: room for site-\d+: (idle|in use).*reload costs/.test(document.querySelector("#decisions").innerText)`)
	p.keep("evicted")
	p.clean(s.url)
}

// count evaluates to a number.
func (p *page) count(script string) int {
	p.t.Helper()
	var n json.Number
	p.eval(script, &n)
	i, err := n.Int64()
	if err != nil {
		p.t.Fatal(err)
	}
	return int(i)
}
