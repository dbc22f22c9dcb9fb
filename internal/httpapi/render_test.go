package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"lazyolo/yolo"
)

// An answer may be the annotated picture, or have it inside.
func TestPicturesAsAnswers(t *testing.T) {
	draw := func(_ context.Context, w io.Writer, name string, picture []byte, r *yolo.Result) error {
		if string(picture) == "broken" {
			return errors.New("cannot encode")
		}
		_, err := fmt.Fprintf(w, "%s of %s with %d", name, picture, len(r.Objects))
		return err
	}
	second := part{"file", "b.jpg", "OTHER"}
	tests := []struct {
		name   string
		none   bool // no Render
		parts  []part
		status int
		media  string
		says   string
	}{
		{"image", false, []part{photo, {name: "format", value: "image"}}, 200, "image/jpeg", "answer.jpg of JPEG with 1"},
		{"both", false, []part{photo, {name: "format", value: "image_and_json"}}, 200, "application/json", `"image":"YW5zd2VyLmpwZyBvZiBKUEVHIHdpdGggMQ=="`},
		{"both, several", false, []part{photo, second, {name: "format", value: "image_and_json"}}, 200, "application/json", `"results":[{"filename":"a.jpg"`},
		{"image, several", false, []part{photo, second, {name: "format", value: "image"}}, 422, "application/json", "takes one file"},
		{"json", false, []part{photo, {name: "format", value: "json"}}, 200, "application/json", `{"predictions":[{"class_id":0`},
		{"not wired", true, []part{photo, {name: "format", value: "image"}}, 200, "application/json", "use format=json"},
		{"fails", false, []part{{"file", "a.jpg", "broken"}, {name: "format", value: "image"}}, 200, "application/json", "Inference failed"},
		{"unknown", false, []part{photo, {name: "format", value: "png"}}, 422, "application/json", "'json', 'image' or 'image_and_json'"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := options(io.Discard)
			if !tt.none {
				o.Render = draw
			}
			addr := serve(t, handler(t, found(yolo.Object{Confidence: 0.5}), shapes(), o))
			res, body := exchange(t, addr, http.MethodPost, upload("/api/v2/detect", tt.parts...))
			if res.StatusCode != tt.status || !strings.HasPrefix(res.Header.Get("Content-Type"), tt.media) || !strings.Contains(string(body), tt.says) {
				t.Errorf("%d %s: %s", res.StatusCode, res.Header.Get("Content-Type"), body)
			}
		})
	}
}
