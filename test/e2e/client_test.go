package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"mime/multipart"
	"net/http"
	"slices"
	"testing"
)

// A prediction is one object of an answer.
type prediction struct {
	ClassID    int     `json:"class_id"`
	ClassName  string  `json:"class_name"`
	Confidence float64 `json:"confidence"`
	X1         float64 `json:"x1"`
	Y1         float64 `json:"y1"`
	X2         float64 `json:"x2"`
	Y2         float64 `json:"y2"`
}

// An answer is what a request came to.
type answer struct {
	status      int
	header      http.Header
	body        string
	Predictions []prediction    `json:"predictions"`
	Error       string          `json:"error"`
	Detail      json.RawMessage `json:"detail"`
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

// An upload is the form of a detect request.
type upload struct {
	fields   map[string]string
	field    string // of the picture; "" for none
	filename string
	image    []byte
}

// picture is a form with a picture for a model.
func picture(model string, image []byte) upload {
	return upload{fields: map[string]string{"model_id": model}, field: "file", filename: "picture.jpg", image: image}
}

// encode writes the form as multipart.
func (u upload) encode() (contentType string, body []byte) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for k, v := range u.fields {
		_ = w.WriteField(k, v) // a bytes.Buffer never fails, here and below
	}
	if u.field != "" {
		part, _ := w.CreateFormFile(u.field, u.filename)
		_, _ = part.Write(u.image)
	}
	_ = w.Close()
	return w.FormDataContentType(), b.Bytes()
}

// post sends a form to /api/v2/detect.
func (s *server) post(t *testing.T, u upload) answer {
	t.Helper()
	a, err := s.tryPost(u)
	if err != nil {
		t.Fatalf("%v; log:\n%s", err, s.log.String())
	}
	return a
}

// tryPost is post for goroutines, which must not end the test.
func (s *server) tryPost(u upload) (answer, error) {
	contentType, body := u.encode()
	r, err := s.client.Post(s.url+"/api/v2/detect", contentType, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	return readAnswer(r)
}

func readAnswer(r *http.Response) (answer, error) {
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: r.StatusCode, header: r.Header, body: string(b)}
	if err := json.Unmarshal(b, &a); err != nil {
		return a, fmt.Errorf("%w in %s", err, b)
	}
	return a, nil
}

// serves checks that a model finds something in a picture.
func (s *server) serves(t *testing.T, model string) answer {
	t.Helper()
	a := s.post(t, picture(model, smallPicture(t)))
	if a.status != http.StatusOK || len(a.Predictions) == 0 {
		t.Errorf("model %s does not serve: %v", model, a)
	}
	return a
}

// Tolerances of answers: how far from another implementation's they may be.
type tolerance struct{ iou, conf float64 }

var (
	lossy    = tolerance{0.95, 0.02}  // JPEG and WebP: another decoder
	lossless = tolerance{0.95, 0.002} // the API's corners are whole pixels
)

// same compares predictions with recorded ones. Best comes first in both, but
// which of two equally sure objects that is may differ.
func same(t *testing.T, got, want []prediction, tol tolerance) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d objects, want %d:\n got %v\nwant %v", len(got), len(want), got, want)
		return
	}
	for i := range len(got) - 1 {
		if got[i].Confidence < got[i+1].Confidence {
			t.Errorf("object %d is surer than the one before: %v", i+1, got)
		}
	}
	left := slices.Clone(got)
	for i, w := range want {
		at := slices.IndexFunc(left, func(g prediction) bool { return g.is(w, tol) })
		if at < 0 {
			t.Errorf("object %d, %+v, is not in %+v", i, w, left)
			continue
		}
		left = slices.Delete(left, at, at+1)
	}
}

// is reports whether two predictions are the same object.
func (p prediction) is(w prediction, tol tolerance) bool {
	return p.ClassID == w.ClassID && p.ClassName == w.ClassName && math.Abs(p.Confidence-w.Confidence) <= tol.conf &&
		(overlap(p, w) >= tol.iou || p.beside(w))
}

// beside reports whether no corner is more than a pixel away: corners are cut to
// whole pixels, which is a twentieth of a small box.
func (p prediction) beside(w prediction) bool {
	far := max(math.Abs(p.X1-w.X1), math.Abs(p.Y1-w.Y1), math.Abs(p.X2-w.X2), math.Abs(p.Y2-w.Y2))
	return far <= 1
}

// overlap is intersection over union.
func overlap(a, b prediction) float64 {
	w := max(0, min(a.X2, b.X2)-max(a.X1, b.X1))
	h := max(0, min(a.Y2, b.Y2)-max(a.Y1, b.Y1))
	area := func(p prediction) float64 { return (p.X2 - p.X1) * (p.Y2 - p.Y1) }
	return w * h / (area(a) + area(b) - w*h)
}
