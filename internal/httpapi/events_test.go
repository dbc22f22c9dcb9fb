package httpapi_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lazyolo/yolo"
)

// subscribe asks for events and returns the stream after its head.
func subscribe(t *testing.T, c net.Conn, query, header string) *bufio.Reader {
	t.Helper()
	if _, err := fmt.Fprintf(c, "GET /api/v2/events%s HTTP/1.1\r\nHost: x\r\nOrigin: http://other.test\r\n%s\r\n", query, header); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s %v", res.Status, res.Header)
	}
	noCORS(t, res.Header)
	b := bufio.NewReader(res.Body)
	if got := message(t, b); got != ": lazyolo" {
		t.Fatalf("begins with %q", got)
	}
	return b
}

// message reads one message of a stream, its lines joined by blanks.
func message(t *testing.T, b *bufio.Reader) string {
	t.Helper()
	var lines []string
	for {
		line, err := b.ReadString('\n')
		if err != nil {
			t.Fatalf("%v after %q", err, lines)
		}
		if line == "\n" {
			return strings.Join(lines, " ")
		}
		lines = append(lines, strings.TrimSuffix(line, "\n"))
	}
}

func closed(i int) yolo.Decision {
	all := shapes().models
	return yolo.Decision{
		Kind: yolo.Closed, Model: all[1], Reason: fmt.Sprintf("reason %d", i), Bytes: 2 << 20,
		Chosen: yolo.Candidate{Model: all[1], Idle: 4 * time.Minute, Bytes: 2 << 20, Reload: 15 * time.Millisecond, Value: 0.5},
		Spared: []yolo.Candidate{{Model: all[2], Value: 2.5, Why: "in use"}},
	}
}

func TestEventsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(io.Discard)
		dial := pipeServer(t, handler(t, found(), shapes(), o))
		defer o.Events.Close()
		o.Events.Decide(closed(1)) // before anybody watches
		now, all, again := subscribe(t, dial(), "", ""), subscribe(t, dial(), "?since=0", ""), subscribe(t, dial(), "?since=7", "Last-Event-ID: 1\r\n")
		o.Events.Transition(yolo.Transition{Model: shapes().models[1], From: yolo.Ready, To: yolo.Draining, Used: 3 << 20})
		at := time.Now().UTC().Format(time.RFC3339Nano)
		first := `id: 1 event: decision data: {"seq":1,"time":"` + at + `","model_id":1,"folder":"model_1","kind":"closed","reason":"reason 1","mb":2,` +
			`"chosen":{"model_id":1,"folder":"model_1","value":0.5,"idle_s":240,"rate":0,"mb":2,"reload_ms":15},` +
			`"spared":[{"model_id":2,"folder":"model_2","value":2.5,"idle_s":0,"rate":0,"mb":0,"reload_ms":0,"why":"in use"}]}`
		second := `id: 2 event: transition data: {"seq":2,"time":"` + at + `","model_id":1,"folder":"model_1","from":"ready","to":"draining","used_mb":3}`
		if got := message(t, all); got != first {
			t.Errorf("got\n%s\nwant\n%s", got, first)
		}
		for i, s := range []*bufio.Reader{now, all, again} {
			if got := message(t, s); got != second {
				t.Errorf("%d: got\n%s\nwant\n%s", i, got, second)
			}
		}
		start := time.Now()
		if got := message(t, now); got != ": heartbeat" || time.Since(start) != 15*time.Second {
			t.Errorf("%q after %v", got, time.Since(start))
		}
	})
}

// A change of a model's folder is told with the revision that is served.
func TestEventsTellChangedModels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(io.Discard)
		dial := pipeServer(t, handler(t, found(), shapes(), o))
		defer o.Events.Close()
		s := subscribe(t, dial(), "", "")
		m := *shapes().models[1]
		m.Rev = "r2"
		at := time.Now().UTC().Format(time.RFC3339Nano)
		head := `","model_id":1,"folder":"model_1","change":`
		for i, tt := range []struct {
			kind string
			err  error
			want string
		}{
			{"changed", nil, `"changed","revision":"r2"}`},
			{"kept", yolo.Errorf(yolo.Unsupported, "task is wrong"), `"kept","revision":"r2","error":"task is wrong"}`},
			{"kept", &yolo.Error{Code: yolo.LoadFailed, Model: "model_1", Msg: "no model", Err: errors.New("a path")}, `"kept","revision":"r2","error":"no model"}`},
			{"kept", errors.New("/a/path is in the way"), `"kept","revision":"r2","error":"internal"}`},
		} {
			o.Events.Changed(tt.kind, &m, tt.err)
			want := fmt.Sprintf(`id: %d event: model data: {"seq":%d,"time":"%s%s%s`, i+1, i+1, at, head, tt.want)
			if got := message(t, s); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		}
	})
}

// What no longer fits the ring is gone, and said to be.
func TestEventsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(io.Discard)
		dial := pipeServer(t, handler(t, found(), shapes(), o))
		defer o.Events.Close()
		for i := range 600 {
			o.Events.Decide(closed(i + 1))
		}
		s := subscribe(t, dial(), "?since=10", "")
		if got := message(t, s); got != `event: lost data: {"events":78}` {
			t.Errorf("%s", got)
		}
		for i := 89; i <= 600; i++ {
			if got := message(t, s); !strings.HasPrefix(got, fmt.Sprintf("id: %d ", i)) {
				t.Fatalf("%s, want number %d", got, i)
			}
		}
		// The numbers of another run of the server do not count.
		if got := message(t, subscribe(t, dial(), "?since=9999", "")); got != `event: lost data: {"events":88}` {
			t.Errorf("%s", got)
		}
	})
}

// A client that reads nothing holds nobody up and is dropped.
func TestSlowWatcherIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(io.Discard)
		dial := pipeServer(t, handler(t, found(), shapes(), o))
		defer o.Events.Close()
		slow, quick := subscribe(t, dial(), "", ""), subscribe(t, dial(), "", "")
		start := time.Now()
		for i := range 300 {
			o.Events.Decide(closed(i + 1))
			if got := message(t, quick); !strings.HasPrefix(got, fmt.Sprintf("id: %d ", i+1)) {
				t.Fatalf("%s, want number %d", got, i+1)
			}
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("the slow client held the others up for %v", d)
		}
		time.Sleep(11 * time.Second)
		b, err := io.ReadAll(slow)
		if n := strings.Count(string(b), "event: decision"); n > 100 {
			t.Errorf("it got %d events (%v)", n, err)
		}
	})
}

// One that takes nothing at all is dropped although little happens.
func TestStuckWatcherIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log syncBuffer
		c := pipeServer(t, handler(t, found(), shapes(), options(&log)))()
		if _, err := io.WriteString(c, "GET /api/v2/events HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if !strings.Contains(log.String(), "path=/api/v2/events") {
			t.Errorf("the request has not ended:\n%s", log.String())
		}
	})
}

func TestEventsEndWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(io.Discard)
		dial := pipeServer(t, handler(t, found(), shapes(), o))
		s := subscribe(t, dial(), "", "")
		o.Events.Close()
		if b, err := io.ReadAll(s); err != nil || len(b) > 0 {
			t.Errorf("%q, %v", b, err)
		}
		c := dial()
		if _, err := io.WriteString(c, "GET /api/v2/events HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if res, body := answer(t, c, "GET"); res.StatusCode != 503 {
			t.Errorf("%d %s", res.StatusCode, body)
		}
	})
}

func TestEventsRefuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(io.Discard)
		dial := pipeServer(t, handler(t, found(), shapes(), o))
		defer o.Events.Close()
		ask := func(query string) (*http.Response, []byte) {
			c := dial()
			if _, err := io.WriteString(c, "GET /api/v2/events"+query+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			return answer(t, c, "GET")
		}
		for _, since := range []string{"x", "-1", "1.5"} {
			if res, body := ask("?since=" + since); res.StatusCode != 422 {
				t.Errorf("%s: %d %s", since, res.StatusCode, body)
			}
		}
		for range 32 {
			subscribe(t, dial(), "", "")
		}
		if res, body := ask(""); res.StatusCode != 429 || res.Header.Get("Retry-After") == "" {
			t.Errorf("%d %s", res.StatusCode, body)
		}
	})
}
