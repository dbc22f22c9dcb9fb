package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"lazyolo/internal/machine"
)

// ok is the code of a request that was answered with what it asked for. Others are the
// HTTP status, "error" for the old server's failures with status 200, and what kept an
// answer from coming: "timeout", "refused", "broken".
const ok = "200"

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 20

// A body is a request's form.
type body struct {
	contentType string
	data        []byte
}

// Form is the body, and its content type, of a request that asks a model for a
// picture. Format is the answer's, as json; "": the server's choice.
func Form(model, format string, p Picture) (contentType string, data []byte, err error) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	fields := [][2]string{{"model_id", model}}
	if format != "" {
		fields = append(fields, [2]string{"format", format})
	}
	for _, f := range fields {
		if err := w.WriteField(f[0], f[1]); err != nil {
			return "", nil, err
		}
	}
	part, err := w.CreateFormFile("file", p.Name)
	if err != nil {
		return "", nil, err
	}
	if _, err := part.Write(p.Data); err != nil {
		return "", nil, err
	}
	if err := w.Close(); err != nil {
		return "", nil, err
	}
	return w.FormDataContentType(), b.Bytes(), nil
}

// send sends one request and returns its code, and what was said where that is not ok.
func (d *driver) send(ctx context.Context, b body) (code, said string) {
	req, err := d.request(ctx, http.MethodPost, "/api/v2/detect", b.data)
	if err != nil {
		return broken, err.Error()
	}
	req.Header.Set("Content-Type", b.contentType)
	resp, err := d.client.Do(req)
	if err != nil {
		return why(err), err.Error()
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return why(err), err.Error()
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Sprint(resp.StatusCode), message(answer)
	}
	var got struct{ Error *string }
	if err := json.Unmarshal(answer, &got); err != nil {
		return broken, err.Error()
	}
	if got.Error != nil {
		return "error", short(*got.Error)
	}
	return ok, ""
}

// message is what an answer with an error says: one field of JSON, as lazyolo, the old
// server and others call it, or the beginning of the text.
func message(answer []byte) string {
	var fields map[string]any
	if json.Unmarshal(answer, &fields) == nil {
		for _, name := range []string{"error", "detail", "message"} {
			if text, is := fields[name].(string); is && text != "" {
				return short(text)
			}
		}
	}
	return short(string(answer))
}

// short is the beginning of a text, in one line.
func short(text string) string {
	const most = 200
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " ")
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

// request makes a request of the server.
func (d *driver) request(ctx context.Context, method, path string, data []byte) (*http.Request, error) {
	u, err := url.JoinPath(d.o.URL, path)
	if err != nil {
		return nil, err
	}
	if method == http.MethodPost && len(d.o.Query) > 0 {
		u += "?" + d.o.Query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, u, bytes.NewReader(data))
	if err == nil && d.o.Key != "" {
		req.Header.Set("Authorization", "Bearer "+d.o.Key)
	}
	return req, err
}

// Codes of requests that no answer came to.
const (
	timeout = "timeout"
	refused = "refused"
	broken  = "broken"
)

// why names what kept an answer from coming.
func why(err error) string {
	switch {
	case os.IsTimeout(err), errors.Is(err, context.DeadlineExceeded):
		return timeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return refused
	}
	return broken
}

// watch looks at the server's memory until stop is closed.
func (d *driver) watch(ctx context.Context, stop <-chan struct{}) {
	tick := time.NewTicker(d.o.Sample)
	defer tick.Stop()
	for {
		if mb, known := d.memory(ctx); known {
			d.mu.Lock()
			d.report.Memory = append(d.report.Memory, Sample{time.Since(d.begun).Seconds(), mb})
			d.mu.Unlock()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		case <-stop:
			return
		}
	}
}

// memory is what the server holds now, in MB: of its process where that is known, else
// as it says itself, lazyolo in one place, the old server in another.
func (d *driver) memory(ctx context.Context) (mb float64, known bool) {
	if d.o.PID > 0 {
		held := machine.Resident(d.o.PID)
		for _, child := range machine.Children(d.o.PID) {
			held += machine.Resident(child)
		}
		return float64(held) / (1 << 20), held > 0
	}
	for _, place := range []struct{ path, field string }{
		{"/api/v2/memory_status", "memory_used_mb"}, {"/api/v2/cache/stats", "current_memory_mb"},
	} {
		if mb, known = d.said(ctx, place.path, place.field); known {
			return mb, true
		}
	}
	return 0, false
}

// said reads one number of a JSON answer.
func (d *driver) said(ctx context.Context, path, field string) (float64, bool) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := d.request(ctx, http.MethodGet, path, nil)
	if err != nil {
		return 0, false
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return 0, false
	}
	defer resp.Body.Close()
	var all map[string]any
	if resp.StatusCode != http.StatusOK || json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&all) != nil {
		return 0, false
	}
	v, known := all[field].(float64)
	return v, known
}
