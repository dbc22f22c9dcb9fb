package roboflow_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"mime/multipart"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"lazyolo/yolo"
)

const uuid = `[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`

// plain replaces what is different every time.
func plain(body string) string {
	body = regexp.MustCompile(uuid).ReplaceAllString(body, "ID")
	return regexp.MustCompile(`"time":[0-9.e-]+`).ReplaceAllString(body, `"time":T`)
}

// found is a Detector that always answers the same.
func found(r *yolo.Result) detectFunc {
	return func(context.Context, yolo.Request) (*yolo.Result, error) { return r, nil }
}

func TestAnswersOfEachTask(t *testing.T) {
	cat := yolo.Object{Class: 2, Name: "猫", Confidence: 0.7, Box: yolo.Box{X1: 1, Y1: 0.5, X2: 4, Y2: 2.25}}
	const head = `{"inference_id":"ID","time":T,"image":{"width":4,"height":4},"predictions":[`
	const box = `{"x":2.5,"y":1.375,"width":3,"height":1.75,"confidence":0.7,"class":"猫","class_id":2,"detection_id":"ID"`
	masked, posed, blind, broken := cat, cat, cat, cat
	masked.Mask = &yolo.Mask{
		Width: 3, Height: 2, Window: yolo.Window{X: 1, W: 2, H: 2}, Runs: []int{2, 1, 2, 1},
		Polygon: []yolo.Point{{X: 2, Y: 0.123456}, {X: 2.5, Y: 4}},
	}
	posed.Keypoints = []yolo.Keypoint{{Point: yolo.Point{X: 1, Y: 2}, Visible: 0.25}, {Point: yolo.Point{X: 3, Y: 4.5}, Visible: 0.75}}
	posed.KeypointNames = []string{"nose", "tail"}
	blind.Keypoints = []yolo.Keypoint{{Point: yolo.Point{X: 1, Y: 2}, Visible: -1}}
	broken.Box.X1, broken.Confidence = float32(math.NaN()), float32(math.Inf(1))
	probs := &yolo.Result{Width: 4, Height: 4, Probs: []yolo.Prob{{Class: 3, Name: "a", Confidence: 0.75}, {Class: 0, Name: "b", Confidence: 0.125}}}
	objects := func(all ...yolo.Object) *yolo.Result { return &yolo.Result{Width: 4, Height: 4, Objects: all} }
	for name, tt := range map[string]struct {
		path, model, field string
		result             *yolo.Result
		want               string
	}{
		"nothing":   {"object_detection", "boxes", "", objects(), head + `]}`},
		"detection": {"object_detection", "boxes", "", objects(cat, cat), head + box + `},` + box + `}]}`},
		"broken": {"object_detection", "boxes", "", objects(broken),
			head + `{"x":null,"y":1.375,"width":null,"height":1.75,"confidence":null,"class":"猫","class_id":2,"detection_id":"ID"}]}`},
		"polygon": {"instance_segmentation", "masks", "", objects(masked), head + box + `,"mask_format":"polygon","points":[{"x":2,"y":0.12346},{"x":2.5,"y":4}]}]}`},
		"rle":     {"instance_segmentation", "masks", `"response_mask_format":"rle"`, objects(masked), head + box + `,"mask_format":"rle","rle":{"size":[4,4],"counts":"88"}}]}`},
		"keypoints": {"keypoints_detection", "points", "", objects(posed),
			head + box + `,"keypoints":[{"x":1,"y":2,"confidence":0.25,"class_id":0,"class":"nose"},{"x":3,"y":4.5,"confidence":0.75,"class_id":1,"class":"tail"}]}]}`},
		"sure keypoints": {"keypoints_detection", "points", `"keypoint_confidence":0.5`, objects(posed),
			head + box + `,"keypoints":[{"x":3,"y":4.5,"confidence":0.75,"class_id":1,"class":"tail"}]}]}`},
		"no sure keypoints": {"keypoints_detection", "points", `"keypoint_confidence":0.8`, objects(posed), head + box + `,"keypoints":[]}]}`},
		"keypoints in 2D": {"keypoints_detection", "points", `"keypoint_confidence":0.5`, objects(blind),
			head + box + `,"keypoints":[{"x":1,"y":2,"confidence":1,"class_id":0,"class":"0"}]}]}`},
		"classes": {"classification", "classes", "", probs,
			head + `{"class":"a","class_id":3,"confidence":0.75},{"class":"b","class_id":0,"confidence":0.125}],"top":"a","confidence":0.75}`},
		"sure classes":    {"classification", "classes", `"confidence":0.5`, probs, head + `{"class":"a","class_id":3,"confidence":0.75}],"top":"a","confidence":0.75}`},
		"no sure classes": {"classification", "classes", `"confidence":0.8`, probs, head + `],"top":"","confidence":0}`},
	} {
		t.Run(name, func(t *testing.T) {
			fields := []string{}
			if tt.field != "" {
				fields = append(fields, tt.field)
			}
			w := ask(newDoor(t, found(tt.result), models(), options()), "POST", "/infer/"+tt.path, request(tt.model, fields...))
			if got := plain(w.Body.String()); w.Code != 200 || got != tt.want {
				t.Errorf("%d\n got %s\nwant %s", w.Code, got, tt.want)
			}
		})
	}
}

// drawn is a Render that writes what it was given.
func drawn(_ context.Context, w io.Writer, name string, picture []byte, r *yolo.Result) error {
	_, err := fmt.Fprintf(w, "%s of %s, %d wide", name, picture, r.Width)
	return err
}

func TestVisualization(t *testing.T) {
	o := options()
	o.Render = drawn
	w := ask(newDoor(t, nothing, models(), o), "POST", "/infer/object_detection", request("boxes", `"visualize_predictions":true`))
	if want := `"visualization":"YW5zd2VyLmpwZyBvZiBwaWN0dXJlLCA0IHdpZGU="`; !strings.Contains(w.Body.String(), want) {
		t.Error(w.Code, w.Body)
	}
}

// TestPicturesInEveryWriting takes base64 as clients write it.
func TestPicturesInEveryWriting(t *testing.T) {
	for _, value := range []string{"cGljdHVyZQ==", "cGljdHVyZQ", "data:image/jpeg;base64,cGljdHVyZQ==", "data:;base64,cGljdHVyZQ", `cGlj\ndHVy\r\nZQ==\n`, `cGljdHVyZQ\u003d=`} {
		got := ""
		door := newDoor(t, func(_ context.Context, r yolo.Request) (*yolo.Result, error) {
			got = string(r.Image)
			return &yolo.Result{}, nil
		}, models(), options())
		w := ask(door, "POST", "/infer/object_detection", `{"model_id":"boxes","image":{"value":"`+value+`","type":"base64"}}`)
		if got != "picture" {
			t.Errorf("%s: %q, %s", value, got, w.Body)
		}
	}
}

func TestLegacy(t *testing.T) {
	num := func(v float64) *float64 { return &v }
	var form bytes.Buffer
	m := multipart.NewWriter(&form)
	_ = m.WriteField("name", "x")
	part, _ := m.CreateFormFile("file", "a.jpg")
	_, _ = part.Write([]byte("picture"))
	_ = m.Close()
	for name, tt := range map[string]struct {
		method, path, kind, body string
		status                   int
		want                     string // what the answer contains
		request                  yolo.Request
	}{
		"base64":        {"POST", "/boxes/2", "", picture, 200, `"predictions":[]`, yolo.Request{}},
		"a form's text": {"POST", "/zoo/2?api_key=x", "application/x-www-form-urlencoded", picture, 200, `"predictions":[]`, yolo.Request{}},
		"multipart":     {"POST", "/boxes/2.1.0", m.FormDataContentType(), form.String(), 200, `"predictions":[]`, yolo.Request{}},
		"percent": {"POST", "/boxes/2?confidence=40&overlap=30&max_detections=5&classes=cat,dog&class_agnostic_nms=True", "", picture, 200, "",
			yolo.Request{Conf: num(0.4), IoU: num(0.3), MaxDet: 5, Classes: []int{0, 1, 7}, AgnosticNMS: true}},
		"shares":      {"POST", "/boxes/2?confidence=0.4&overlap=0.3", "", picture, 200, "", yolo.Request{Conf: num(0.4), IoU: num(0.3)}},
		"one percent": {"POST", "/boxes/2?confidence=1&overlap=0", "", picture, 200, "", yolo.Request{Conf: num(0.01), IoU: num(0)}},
		"image":       {"POST", "/boxes/2?format=image", "", picture, 200, "answer.jpg of picture, 4 wide", yolo.Request{}},
		"both":        {"POST", "/boxes/2?format=image_and_json", "", picture, 200, `"visualization":"YW5zd2Vy`, yolo.Request{}},
		"classes":     {"POST", "/classes/1", "", picture, 200, `"predictions":[]`, yolo.Request{}},

		"version":    {"POST", "/boxes/3", "", picture, 404, "model boxes has version 2.1.0, not 3: ask for boxes/2", yolo.Request{}},
		"no picture": {"POST", "/boxes/2", "", "", 400, "there is no picture", yolo.Request{}},
		"no base64":  {"POST", "/boxes/2", "", "???", 400, "the body.value must be base64", yolo.Request{}},
		"no file":    {"POST", "/boxes/2", m.FormDataContentType(), "--" + m.Boundary() + "--", 400, "file is missing", yolo.Request{}},
		"no form":    {"POST", "/boxes/2", "multipart/form-data; boundary=b", "x", 400, "the multipart form", yolo.Request{}},
		"cut off":    {"POST", "/boxes/2", m.FormDataContentType(), form.String()[:form.Len()-30-len(m.Boundary())], 400, "file", yolo.Request{}},
		"a URL":      {"GET", "/boxes/2?image=http://a/b", "", "", 400, "pictures are not fetched from URLs here", yolo.Request{}},
		"confidence": {"POST", "/boxes/2?confidence=101", "", picture, 400, "confidence must be", yolo.Request{}},
		"null":       {"POST", "/boxes/2?confidence=null", "", picture, 400, "confidence must be", yolo.Request{}},
		"overlap":    {"POST", "/boxes/2?overlap=x", "", picture, 400, "overlap must be", yolo.Request{}},
		"keypoints":  {"POST", "/boxes/2?keypoint_confidence=x", "", picture, 400, "keypoint_confidence must be", yolo.Request{}},
		"detections": {"POST", "/boxes/2?max_detections=0", "", picture, 400, "max_detections must be", yolo.Request{}},
		"no number":  {"POST", "/boxes/2?max_detections=null", "", picture, 400, "max_detections must be", yolo.Request{}},
		"agnostic":   {"POST", "/boxes/2?class_agnostic_nms=2", "", picture, 400, "class_agnostic_nms must be", yolo.Request{}},
		"format":     {"POST", "/boxes/2?format=xml", "", picture, 400, "format must be", yolo.Request{}},
		"no class":   {"POST", "/boxes/2?classes=cow", "", picture, 400, "which is no class", yolo.Request{}},
		"turned":     {"POST", "/turned/1", "", picture, 400, "use /api/v2/detect", yolo.Request{}},
	} {
		t.Run(name, func(t *testing.T) {
			o := options()
			o.Legacy, o.Render = true, drawn
			var got yolo.Request
			door := newDoor(t, func(_ context.Context, r yolo.Request) (*yolo.Result, error) {
				got = r
				got.Image = bytes.Clone(r.Image)
				return &yolo.Result{Width: 4}, nil
			}, models(), o)
			r := httptest.NewRequest(tt.method, tt.path, strings.NewReader(tt.body))
			r.Header.Set("Content-Type", tt.kind)
			w := httptest.NewRecorder()
			door.ServeHTTP(w, r)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
				t.Errorf("%d %s, want %d %s", w.Code, w.Body, tt.status, tt.want)
			}
			if tt.status != 200 {
				return
			}
			if string(got.Image) != "picture" {
				t.Errorf("the picture is %q", got.Image)
			}
			got.Model, got.Image = "", nil
			if fmt.Sprintf("%+v", values(got)) != fmt.Sprintf("%+v", values(tt.request)) {
				t.Errorf("asked %+v, want %+v", values(got), values(tt.request))
			}
		})
	}
}

// values are a request's fields, without pointers.
func values(r yolo.Request) []any {
	num := func(v *float64) any {
		if v == nil {
			return "none"
		}
		return *v
	}
	return []any{num(r.Conf), num(r.IoU), r.MaxDet, r.Classes, r.AgnosticNMS}
}
