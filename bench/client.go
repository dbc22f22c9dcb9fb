package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strconv"
	"time"
)

// health asks once whether the server can infer.
func (p *process) health(ctx context.Context) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/api/v1/health", nil)
	if err != nil {
		return false, err
	}
	var answer struct {
		OK bool `json:"inference_ok"`
	}
	if err := p.answer(req, &answer); err != nil {
		return false, err
	}
	return answer.OK, nil
}

// answer sends a request and reads JSON that must come with 200.
func (p *process) answer(req *http.Request, to any) error {
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", req.Method, req.URL.Path, resp.Status, body)
	}
	if err := json.Unmarshal(body, to); err != nil {
		return fmt.Errorf("%s %s: %w: %s", req.Method, req.URL.Path, err, body)
	}
	return nil
}

// A detection is a request to detect, ready to be sent any number of times.
type detection struct {
	body        []byte
	contentType string
}

// newDetection encodes the form, with options as names and values; the work is the
// client's, not the server's.
func newDetection(picture []byte, model int, options ...string) (detection, error) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	file, err := form.CreateFormFile("file", "street.jpg")
	if err != nil {
		return detection{}, err
	}
	if _, err := file.Write(picture); err != nil {
		return detection{}, err
	}
	fields := append([]string{"model_id", strconv.Itoa(model)}, options...)
	for i := 0; i < len(fields); i += 2 {
		if err := form.WriteField(fields[i], fields[i+1]); err != nil {
			return detection{}, err
		}
	}
	if err := form.Close(); err != nil {
		return detection{}, err
	}
	return detection{body.Bytes(), form.FormDataContentType()}, nil
}

// detect sends d and returns the time to the complete answer and the answer's
// error field, which is empty when the picture was answered.
func (p *process) detect(ctx context.Context, d detection) (time.Duration, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/api/v2/detect", bytes.NewReader(d.body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", d.contentType)
	var answer struct {
		Predictions []json.RawMessage `json:"predictions"`
		Error       string            `json:"error"`
	}
	began := time.Now()
	err = p.answer(req, &answer)
	return time.Since(began), answer.Error, err
}

// mustDetect is detect where an error field is an error.
func (p *process) mustDetect(ctx context.Context, d detection) (time.Duration, error) {
	took, said, err := p.detect(ctx, d)
	if err == nil && said != "" {
		err = fmt.Errorf("detect: %s; see %s", said, p.log)
	}
	return took, err
}

// ask sends d and returns the time to the complete answer and the answer, which
// must be one without an error.
func (p *process) ask(ctx context.Context, d detection) (time.Duration, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/api/v2/detect", bytes.NewReader(d.body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", d.contentType)
	began := time.Now()
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	took := time.Since(began)
	if err == nil && (resp.StatusCode != http.StatusOK || bytes.Contains(body, []byte(`"error"`))) {
		err = fmt.Errorf("%s: %.300s", resp.Status, body)
	}
	return took, body, err
}

// do is a call of the memory's management, such as POST /api/v2/models/0/unload.
func (p *process) do(ctx context.Context, model int, action string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("%s/api/v2/models/%d/%s", p.url, model, action), nil)
	if err != nil {
		return err
	}
	return p.answer(req, new(struct{}))
}

// A budgetState is what /api/v2/memory_status says.
type budgetState struct {
	Loaded      []int   `json:"loaded_models"`
	Unexplained float64 `json:"unexplained_mb"`
}

func (p *process) budget(ctx context.Context) (budgetState, error) {
	var s budgetState
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/api/v2/memory_status", nil)
	if err != nil {
		return s, err
	}
	return s, p.answer(req, &s)
}
