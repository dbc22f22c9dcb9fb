package browser

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestThousandModels: with a thousand models of which all were used, the table has few
// rows at a time, scrolls without pauses, finds and sorts, and an open dashboard takes
// the server less than a hundredth of a core.
func TestThousandModels(t *testing.T) {
	b := startChromium(t)
	needORT(t)
	const n = 1000
	var models []model
	for i := range n {
		models = append(models, demo(fmt.Sprintf("model_%d", i), fmt.Sprintf("site-%d", i)))
	}
	s := startServer(t, models, "MAX_MEMORY_MB=600", "LOG_LEVEL=WARN")
	for i := range n {
		s.act(fmt.Sprintf("model_%d", i), "load")
	}
	const seconds = 20 // the system counts in hundredths
	share := func() float64 {
		before := s.processorTime()
		<-time.After(seconds * time.Second)
		return (s.processorTime() - before).Seconds() / seconds
	}
	idle := share()
	p := b.open(t, desktop)
	p.visit(s.url + "/#/models")
	p.until("all of them", fmt.Sprintf(`document.querySelector("#count").innerText === "%s models"`, "1,000"))
	if rows := p.count(`document.querySelectorAll("#rows .model").length`); rows < 10 || rows > 60 {
		t.Errorf("%d rows exist at once", rows)
	}
	for _, want := range []struct{ at, first string }{{"0", "site-0"}, {"1e9", "site-999"}} {
		p.eval(`document.querySelector("#scroll").scrollTop = `+want.at, nil)
		p.until(want.first+" in sight", fmt.Sprintf(`(() => {
			const box = document.querySelector("#scroll").getBoundingClientRect();
			const row = [...document.querySelectorAll("#rows .model")].find((r) => r.querySelector(".name").innerText === %q)?.getBoundingClientRect();
			return row && row.top >= box.top && row.bottom <= box.bottom + 1;
		})()`, want.first))
	}
	// The processor time of a frame, so that other work on this machine does not count.
	const frames = 120
	p.must("Performance.enable", map[string]any{"timeDomain": "threadTicks"}, nil)
	began := p.taskTime()
	p.eval(fmt.Sprintf(`(async () => {
		for (let i = 0; i < %d; i++) {
			document.querySelector("#scroll").scrollTop = i * 100; // 6,000 pixels a second: a fast flick
			await new Promise(requestAnimationFrame);
		}
	})()`, frames), nil)
	frame := (p.taskTime() - began) / frames
	t.Logf("a frame of scrolling takes %v of the page's processor time", frame)
	if frame > 12*time.Millisecond {
		t.Errorf("a frame of scrolling takes %v: too much for a screen of 60 Hz", frame)
	}
	p.keep("scrolled")
	p.eval(`{const s = document.querySelector("#search"); s.value = "site-77"; s.dispatchEvent(new Event("input", {bubbles: true}))}`, nil)
	p.until("what was searched for", `document.querySelector("#count").innerText === "11 of 1,000 models" && document.querySelectorAll("#rows .model").length === 11`)
	p.eval(`{const s = document.querySelector("#search"); s.value = ""; s.dispatchEvent(new Event("input", {bubbles: true})); document.querySelector('[data-id="used"] button').click()}`, nil)
	p.until("the last one used first", `document.querySelector("#rows .model .name").innerText === "site-999" && document.querySelector('[data-id="used"]').ariaSort === "descending"`)

	p.eval(`location.hash = "#/"`, nil) // the page that asks for the most
	p.until("the latency", `document.querySelector("#latency-sub").innerText === "No answers yet"`)
	open := share()
	for range 2 { // what else the server had to do then may be over
		if open-idle >= 0.01 {
			open = min(open, share())
		}
	}
	t.Logf("the server takes %.2f %% of a core without a dashboard, %.2f %% with one", 100*idle, 100*open)
	if open-idle >= 0.01 {
		t.Errorf("an open dashboard takes %.2f %% of a core", 100*(open-idle))
	}
	p.clean(s.url)
}

// taskTime is what the page's main thread has used so far.
func (p *page) taskTime() time.Duration {
	p.t.Helper()
	var r struct {
		Metrics []struct {
			Name  string
			Value float64
		}
	}
	p.must("Performance.getMetrics", nil, &r)
	for _, m := range r.Metrics {
		if m.Name == "TaskDuration" {
			return time.Duration(m.Value * float64(time.Second))
		}
	}
	p.t.Fatalf("no TaskDuration in %v", r)
	return 0
}

// processorTime is what the server has used so far.
func (s *server) processorTime() time.Duration {
	s.t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		s.t.Skipf("processor time is read from Linux's /proc: %v", err)
	}
	_, after, _ := strings.Cut(string(raw), ") ")
	fields := strings.Fields(after)
	var ticks int64
	for _, f := range fields[11:13] { // utime and stime
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			s.t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
