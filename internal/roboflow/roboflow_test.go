package roboflow_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lazyolo/internal/bodies"
	"lazyolo/internal/roboflow"
	"lazyolo/yolo"
)

// detectFunc is a Detector that is a function.
type detectFunc func(context.Context, yolo.Request) (*yolo.Result, error)

func (f detectFunc) Detect(ctx context.Context, r yolo.Request) (*yolo.Result, error) {
	return f(ctx, r)
}

// nothing is a Detector that finds nothing.
func nothing(context.Context, yolo.Request) (*yolo.Result, error) {
	return &yolo.Result{Width: 4, Height: 3}, nil
}

// shelf is the Models and Residents of a test.
type shelf struct {
	models []*yolo.Model
	status []yolo.Status
	did    []string
	err    error // of Load and Unload
}

func (s *shelf) All() []*yolo.Model { return s.models }

func (s *shelf) Status() []yolo.Status { return s.status }

func (s *shelf) Load(_ context.Context, m *yolo.Model) error {
	s.did = append(s.did, "load "+m.ID)
	return s.err
}

func (s *shelf) Unload(_ context.Context, m *yolo.Model) error {
	s.did = append(s.did, "unload "+m.ID)
	return s.err
}

// models are one of each task.
func models() *shelf {
	labels := yolo.Labels{0: "cat", 1: "dog", 7: "dog"}
	return &shelf{models: []*yolo.Model{
		{ID: "boxes", Index: 0, Name: "zoo", Version: "2.1.0", Task: yolo.Detect, Labels: labels, InputSize: 320},
		{ID: "masks", Index: 1, Name: "masks-of", Version: "v3", Task: yolo.Segment, Labels: labels},
		{ID: "points", Index: 2, Name: "same", Version: "beta", Task: yolo.Pose, Labels: labels},
		{ID: "classes", Index: 3, Name: "same", Version: "1.0.0", Task: yolo.Classify, Labels: labels},
		{ID: "api", Index: 4, Name: "turned", Version: "1", Task: yolo.OBB, Labels: labels},
	}}
}

func options() roboflow.Options {
	return roboflow.Options{Log: slog.New(slog.DiscardHandler), MaxBody: 1 << 20, UploadTimeout: time.Minute, Bodies: bodies.New(0)}
}

func newDoor(t testing.TB, d detectFunc, s *shelf, o roboflow.Options) *roboflow.Door {
	t.Helper()
	door, err := roboflow.New(d, s, s, o)
	if err != nil {
		t.Fatal(err)
	}
	return door
}

// ask sends a request and returns the answer.
func ask(door http.Handler, method, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	door.ServeHTTP(w, r)
	return w
}

// picture is the base64 of the bytes that stand for a picture.
var picture = base64.StdEncoding.EncodeToString([]byte("picture"))

// request is a body for model_id with more fields.
func request(model string, more ...string) string {
	fields := append([]string{`"model_id":"` + model + `"`, `"image":{"type":"base64","value":"` + picture + `"}`}, more...)
	return "{" + strings.Join(fields, ",") + "}"
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	good, s := options(), models()
	for want, o := range map[string]func(*roboflow.Options){
		"Options.Log":            func(o *roboflow.Options) { o.Log = nil },
		"Options.MaxBody":        func(o *roboflow.Options) { o.MaxBody = 0 },
		"Options.Bodies":         func(o *roboflow.Options) { o.Bodies = nil },
		"Options.UploadTimeout":  func(o *roboflow.Options) { o.UploadTimeout = 0 },
		"Options.RequestTimeout": func(o *roboflow.Options) { o.RequestTimeout = -1 },
		"Options.URLHosts":       func(o *roboflow.Options) { o.URLHosts = []string{"http://a"} },
	} {
		bad := good
		o(&bad)
		if _, err := roboflow.New(detectFunc(nothing), s, s, bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v", want, err)
		}
	}
}

// TestRequestsBecomeOurs sends fields and looks at what the detector is asked.
func TestRequestsBecomeOurs(t *testing.T) {
	num := func(v float64) *float64 { return &v }
	tests := map[string]struct {
		fields []string
		want   yolo.Request
	}{
		"nothing more": {nil, yolo.Request{}},
		"numbers": {[]string{`"confidence":0.5`, `"iou_threshold":0`, `"max_detections":7`, `"class_agnostic_nms":true`},
			yolo.Request{Conf: num(0.5), IoU: num(0), MaxDet: 7, AgnosticNMS: true}},
		"null is not given": {[]string{`"confidence":null`, `"iou_threshold":null`, `"max_detections":null`, `"class_agnostic_nms":null`,
			`"class_filter":null`, `"visualize_predictions":null`, `"response_mask_format":null`, `"keypoint_confidence":null`}, yolo.Request{}},
		"best":              {[]string{`"confidence":"best"`}, yolo.Request{}},
		"default":           {[]string{`"confidence":"default"`, `"iou_threshold":1`}, yolo.Request{IoU: num(1)}},
		"names of classes":  {[]string{`"class_filter":["dog","cat","dog"]`}, yolo.Request{Classes: []int{0, 1, 7}}},
		"no names":          {[]string{`"class_filter":[]`}, yolo.Request{}},
		"what is not known": {[]string{`"max_candidates":3000`, `"api_key":"x"`, `"disable_preproc_contrast":true`, `"source":{"a":["}"]}`}, yolo.Request{}},
		"the last counts":   {[]string{`"confidence":0.9`, `"confidence":0.25`}, yolo.Request{Conf: num(0.25)}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got yolo.Request
			door := newDoor(t, func(_ context.Context, r yolo.Request) (*yolo.Result, error) {
				r.Image = bytes.Clone(r.Image)
				got = r
				return &yolo.Result{}, nil
			}, models(), options())
			if w := ask(door, "POST", "/infer/object_detection", request("boxes", tt.fields...)); w.Code != 200 {
				t.Fatal(w.Code, w.Body)
			}
			tt.want.Model, tt.want.Image = "boxes", []byte("picture")
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestEachFieldWrong sends a wrong value in each field in turn.
func TestEachFieldWrong(t *testing.T) {
	image := func(v string) string { return `{"model_id":"boxes","image":` + v + `}` }
	many := strings.Repeat(`{"type":"base64","value":"QQ=="},`, 64) + `{"type":"base64","value":"QQ=="}`
	names := strings.Repeat(`"cat",`, 10000) + `"cat"`
	for body, want := range map[string]string{
		``:         "the request body must be a JSON object",
		`[]`:       "the request body must be a JSON object",
		`{"a":1,}`: "the request body must be a JSON object",
		`{"a":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`:   "the request body must be a JSON object",
		`{"image":{"type":"base64","value":"QQ=="}}`:                              "model_id is missing",
		`{"model_id":7,"image":{"type":"base64","value":"QQ=="}}`:                 "model_id must be a text",
		request(strings.Repeat("m", 1200)):                                        "model_id must be a text of at most 1024 bytes",
		`{"model_id":"boxes"}`:                                                    "image is missing",
		image(`"QQ=="`):                                                           "image must be an object",
		image(`null`):                                                             "image must be an object",
		image(`[1]`):                                                              "image[0] must be an object",
		image(`[` + many + `]`):                                                   "image has more than 64 pictures",
		image(`{"value":"QQ=="}`):                                                 `image.type must be "base64" or "url"`,
		image(`{"type":1,"value":"QQ=="}`):                                        "image.type must be a text",
		image(`{"type":"file","value":"QQ=="}`):                                   `image.type must be "base64" or "url"`,
		image(`{"type":"numpy","value":"QQ=="}`):                                  `image.type "numpy" is not served`,
		image(`{"type":"base64"}`):                                                "image.value must be a text that is not empty",
		image(`{"type":"base64","value":7}`):                                      "image.value must be a text that is not empty",
		image(`{"type":"base64","value":""}`):                                     "image.value must be a text that is not empty",
		image(`{"type":"base64","value":"Q*Q="}`):                                 "image.value must be base64",
		image(`{"type":"base64","value":"data:image/png,QQ=="}`):                  "image.value must be base64",
		image(`[{"type":"base64","value":"QQ=="},{"type":"base64","value":"?"}]`): "image[1].value must be base64",
		image(`{"type":"url","value":"http://a/b.jpg"}`):                          "image: pictures are not fetched from URLs here",
		request("boxes", `"confidence":1.5`):                                      `confidence must be a number from 0 to 1, "best" or "default"`,
		request("boxes", `"confidence":-0.1`):                                     "confidence must be",
		request("boxes", `"confidence":1e999`):                                    "confidence must be",
		request("boxes", `"confidence":0.`+strings.Repeat("1", 100)):              "confidence must be",
		request("boxes", `"confidence":"worst"`):                                  "confidence must be",
		request("boxes", `"confidence":[0.5]`):                                    "confidence must be",
		request("boxes", `"iou_threshold":2`):                                     "iou_threshold must be a number from 0 to 1",
		request("boxes", `"iou_threshold":"0.5"`):                                 "iou_threshold must be a number",
		request("boxes", `"max_detections":0`):                                    "max_detections must be a whole number from 1 to 30000",
		request("boxes", `"max_detections":2.5`):                                  "max_detections must be a whole number",
		request("boxes", `"max_detections":1e30`):                                 "max_detections must be a whole number",
		request("boxes", `"class_agnostic_nms":1`):                                "class_agnostic_nms must be true or false",
		request("boxes", `"class_filter":"cat"`):                                  "class_filter must be a list of class names",
		request("boxes", `"class_filter":[0]`):                                    "class_filter must be a list of class names",
		request("boxes", `"class_filter":[`+names+`]`):                            "class_filter has more than 10000 names",
		request("boxes", `"class_filter":["cow"]`):                                `class_filter has "cow", which is no class of model boxes`,
		request("boxes", `"visualize_predictions":"yes"`):                         "visualize_predictions must be true or false",
		request("boxes", `"visualize_predictions":true`):                          "pictures with predictions drawn on them are not available",
		request("boxes", `"response_mask_format":"png"`):                          `response_mask_format must be "polygon" or "rle"`,
		request("boxes", `"response_mask_format":5`):                              `response_mask_format must be "polygon" or "rle"`,
		request("boxes", `"keypoint_confidence":"high"`):                          "keypoint_confidence must be a number",
		request("masks"):                                                          "model masks does instance-segmentation: use /infer/instance_segmentation",
		request("api"):                                                            "model api does oriented-object-detection, which this API does not have: use /api/v2/detect",
	} {
		w := ask(newDoor(t, nothing, models(), options()), "POST", "/infer/object_detection", body)
		var got struct{ Message string }
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if w.Code != http.StatusBadRequest || !strings.HasPrefix(got.Message, want) {
			t.Errorf("%.200s: %d %s, want %s", body, w.Code, got.Message, want)
		}
	}
}

// TestErrorsHaveTheDialectsStatus gives each kind of error its status.
func TestErrorsHaveTheDialectsStatus(t *testing.T) {
	for _, tt := range []struct {
		err    error
		status int
		retry  string
		text   string
	}{
		{&yolo.Error{Code: yolo.Invalid, Msg: "no picture"}, 400, "", "image: no picture"},
		{&yolo.Error{Code: yolo.Unsupported, Msg: "no"}, 400, "", "no"},
		{&yolo.Error{Code: yolo.NotFound, Msg: "gone"}, 404, "", "gone"},
		{&yolo.Error{Code: yolo.TooLarge, Msg: "large"}, 413, "", "image: large"},
		{&yolo.Error{Code: yolo.Overloaded, Msg: "busy"}, 429, "1", "busy"},
		{&yolo.Error{Code: yolo.NoRoom, Model: "boxes", Msg: "full"}, 503, "1", "boxes: full"},
		{&yolo.Error{Code: yolo.LoadFailed, Msg: "broken", Retry: 2500 * time.Millisecond}, 503, "3", "broken"},
		{&yolo.Error{Code: yolo.Unavailable, Msg: "stopping"}, 503, "1", "stopping"},
		{&yolo.Error{Code: yolo.TooBig, Msg: "big"}, 507, "", "big"},
		{&yolo.Error{Code: yolo.Conflict, Msg: "pinned"}, 409, "", "pinned"},
		{&yolo.Error{Code: yolo.Denied, Msg: "key"}, 401, "", "key"},
		{&yolo.Error{Code: yolo.Forbidden, Msg: "key"}, 403, "", "key"},
		{context.DeadlineExceeded, 504, "", "the request took too long"},
		{context.Canceled, 499, "", "the client left"},
		{errors.New("secret"), 500, "", "internal error"},
		{&yolo.Error{Code: yolo.Internal, Msg: "secret"}, 500, "", "internal error"},
	} {
		door := newDoor(t, func(context.Context, yolo.Request) (*yolo.Result, error) { return nil, tt.err }, models(), options())
		w := ask(door, "POST", "/infer/object_detection", request("boxes"))
		var got struct{ Message string }
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if w.Code != tt.status || w.Header().Get("Retry-After") != tt.retry || got.Message != tt.text {
			t.Errorf("%v: %d, Retry-After %q, %q", tt.err, w.Code, w.Header().Get("Retry-After"), got.Message)
		}
	}
}

func TestPanicIsAnswered(t *testing.T) {
	door := newDoor(t, func(context.Context, yolo.Request) (*yolo.Result, error) { panic("secret") }, models(), options())
	w := ask(door, "POST", "/infer/object_detection", request("boxes"))
	if w.Code != 500 || !strings.Contains(w.Body.String(), `"message":"internal error","id":"`) || strings.Contains(w.Body.String(), "secret") {
		t.Error(w.Code, w.Body)
	}
}

// TestListInListOut keeps the form of the request, and its order.
func TestListInListOut(t *testing.T) {
	n := 0
	door := newDoor(t, func(_ context.Context, r yolo.Request) (*yolo.Result, error) {
		n++
		return &yolo.Result{Width: len(r.Image), Height: n}, nil
	}, models(), options())
	one := func(s string) string {
		return `{"type":"base64","value":"` + base64.StdEncoding.EncodeToString([]byte(s)) + `"}`
	}
	for images, want := range map[string]string{
		`[` + one("a") + `,` + one("bcd") + `]`: `[{"width":1,"height":1},{"width":3,"height":2}]`,
		`[` + one("ab") + `]`:                   `[{"width":2,"height":1}]`,
		`[]`:                                    `[]`,
	} {
		n = 0
		w := ask(door, "POST", "/infer/object_detection", `{"image":`+images+`,"model_id":"boxes"}`)
		var all []struct {
			Image json.RawMessage `json:"image"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil {
			t.Fatal(err, w.Body)
		}
		var got []string
		for _, a := range all {
			got = append(got, string(a.Image))
		}
		if s := "[" + strings.Join(got, ",") + "]"; s != want {
			t.Errorf("%s: %s, want %s", images, s, want)
		}
	}
}

// TestModelIDs finds models by every name the dialect has for them, and by no other.
func TestModelIDs(t *testing.T) {
	for id, want := range map[string]string{
		"boxes": "boxes", "boxes/2": "boxes", "boxes/2.1.0": "boxes", "zoo": "boxes", "zoo/2": "boxes", "0": "boxes",
		"masks/3": "", "masks/v3": "", // another task: found, and refused with 400
		"boxes/1": "404", "boxes/2.1": "404", "boxes/": "404", "same": "404", "9": "404", "-1": "404", "nobody": "404", "nobody/1": "404",
		"99999999999999999999999": "404", "/": "404", "boxes/2/2": "404",
	} {
		got := "404"
		door := newDoor(t, func(_ context.Context, r yolo.Request) (*yolo.Result, error) {
			got = r.Model
			return &yolo.Result{}, nil
		}, models(), options())
		w := ask(door, "POST", "/infer/object_detection", request(id))
		if w.Code == http.StatusBadRequest {
			got = ""
		}
		if got != want || want == "404" && w.Code != 404 {
			t.Errorf("%q found %q (%d %s), want %q", id, got, w.Code, w.Body, want)
		}
	}
}

func TestAmbiguousNameSaysSo(t *testing.T) {
	w := ask(newDoor(t, nothing, models(), options()), "POST", "/infer/keypoints_detection", request("same"))
	if w.Code != 404 || !strings.Contains(w.Body.String(), "the model name same is not unique: use a folder's name such as points") {
		t.Error(w.Code, w.Body)
	}
}

func TestRegistryAndMemory(t *testing.T) {
	s := models()
	s.models[0].OtherHead = &yolo.Model{ID: "boxes/one2one"}
	s.status = []yolo.Status{
		{Model: s.models[0], State: yolo.Ready, Mapped: 10, Private: 5},
		{Model: s.models[0].OtherHead, State: yolo.Ready, Mapped: 1},
		{Model: s.models[1], State: yolo.Ready, Pinned: true, Mapped: 100},
		{Model: s.models[2], State: yolo.Unloaded},
	}
	door := newDoor(t, nothing, s, options())
	type row struct {
		ID     string `json:"model_id"`
		Task   string `json:"task_type"`
		Bytes  int64  `json:"vram_bytes"`
		Height *int   `json:"input_height"`
		Loaded bool
	}
	list := func(w *httptest.ResponseRecorder) (rows []row, total int64) {
		t.Helper()
		var got struct {
			Models []row
			Total  int64 `json:"total_vram_bytes"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 {
			t.Fatal(err, w.Code, w.Body)
		}
		return got.Models, got.Total
	}
	size := 320
	rows, total := list(ask(door, "GET", "/model/registry", ""))
	want := []row{
		{"boxes", "object-detection", 16, &size, true}, {"boxes/2", "object-detection", 16, &size, true},
		{"masks", "instance-segmentation", 100, nil, true}, {"masks/3", "instance-segmentation", 100, nil, true},
		{"points", "keypoint-detection", 0, nil, false}, {"points/1", "keypoint-detection", 0, nil, false},
		{"classes", "classification", 0, nil, false}, {"classes/1", "classification", 0, nil, false},
		{"api", "oriented-object-detection", 0, nil, false}, {"api/1", "oriented-object-detection", 0, nil, false},
	}
	if d := cmp.Diff(want, rows); d != "" || total != 116 {
		t.Error(total, d)
	}
	rows, _ = list(ask(door, "POST", "/model/add", `{"model_id":"zoo/2","api_key":"x"}`))
	if !slices.ContainsFunc(rows, func(r row) bool { return r.ID == "zoo/2" && r.Task == "object-detection" }) {
		t.Errorf("the name that was asked for is not in %v", rows)
	}
	list(ask(door, "POST", "/model/remove", `{"model_id":"boxes"}`))
	list(ask(door, "POST", "/model/clear", ""))
	did := []string{"load boxes", "unload boxes", "unload boxes/one2one", "unload boxes", "unload boxes/one2one"} // the pinned one stays
	if d := cmp.Diff(did, s.did); d != "" {
		t.Error(d)
	}
	for body, status := range map[string]int{`{"model_id":"nobody"}`: 404, `{}`: 400, `[]`: 400, `{"model_id":null}`: 400, `{"model_id":1}`: 400} {
		for _, path := range []string{"/model/add", "/model/remove"} {
			if w := ask(door, "POST", path, body); w.Code != status {
				t.Errorf("%s %s: %d %s", path, body, w.Code, w.Body)
			}
		}
	}
	s.err = &yolo.Error{Code: yolo.TooBig, Msg: "big"}
	if w := ask(door, "POST", "/model/add", `{"model_id":"boxes"}`); w.Code != 507 {
		t.Error(w.Code, w.Body)
	}
}

func TestPathsAndScopes(t *testing.T) {
	o := options()
	o.Legacy, o.Reserved = true, []string{"api"}
	old := options()
	on, off := newDoor(t, nothing, models(), o), newDoor(t, nothing, models(), old)
	for path, want := range map[string]struct {
		on, off bool
		scope   yolo.Scope
	}{
		"/infer/object_detection": {true, true, yolo.Infer}, "/infer/classification": {true, true, yolo.Infer}, "/infer/nothing": {true, true, yolo.Open},
		"/model/registry": {true, true, yolo.Read}, "/model/add": {true, true, yolo.Admin}, "/model/remove": {true, true, yolo.Admin},
		"/model/clear": {true, true, yolo.Admin}, "/model/other": {true, true, yolo.Open}, "/info": {true, true, yolo.Read}, "/readiness": {true, true, yolo.Open},
		"/boxes/2": {true, false, yolo.Infer}, "/zoo/77": {true, false, yolo.Infer}, "/boxes": {false, false, yolo.Open}, "/boxes/": {false, false, yolo.Open},
		"/boxes/2/3": {false, false, yolo.Open}, "/nobody/1": {false, false, yolo.Open}, "/api/1": {false, false, yolo.Open}, "/same/1": {false, false, yolo.Open},
		"/": {false, false, yolo.Open}, "": {false, false, yolo.Open}, "boxes/2": {false, false, yolo.Open}, "/modelling": {false, false, yolo.Open},
		"/inferno/1": {false, false, yolo.Open}, "/api/v2/detect": {false, false, yolo.Open},
	} {
		if got := on.Owns(path); got != want.on {
			t.Errorf("legacy on: Owns(%q) = %v", path, got)
		}
		if got := off.Owns(path); got != want.off {
			t.Errorf("legacy off: Owns(%q) = %v", path, got)
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.Path = path
		route := path
		switch {
		case want.scope == yolo.Infer && !want.off:
			route = "/{model}/{version}"
		case want.scope == yolo.Open && path != "/readiness":
			route = ""
		}
		if got := on.Route(r); got != route {
			t.Errorf("Route(%q) = %q", path, got)
		}
		if got := on.Scope(r); got != want.scope {
			t.Errorf("Scope(%q) = %v", path, got)
		}
	}
	for path, method := range map[string]string{"/infer/object_detection": "GET", "/model/registry": "POST", "/model/add": "GET", "/boxes/2": "DELETE"} {
		if w := ask(on, method, path, ""); w.Code != 405 || w.Header().Get("Allow") == "" {
			t.Errorf("%s %s: %d", method, path, w.Code)
		}
	}
	for _, path := range []string{"/infer/nothing", "/model/other", "/infer"} {
		if w := ask(on, "POST", path, ""); w.Code != 404 || !strings.Contains(w.Body.String(), "there is no such path: use /") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestInfoAndReadiness(t *testing.T) {
	o, ready := options(), false
	o.Version, o.Ready = "1.2", func() bool { return ready }
	door := newDoor(t, nothing, models(), o)
	w := ask(door, "GET", "/info", "")
	if !regexp.MustCompile(`^\{"name":"lazyolo","version":"1.2","uuid":"` + uuid + `"\}$`).MatchString(w.Body.String()) {
		t.Error(w.Body)
	}
	if w := ask(door, "GET", "/readiness", ""); w.Code != 503 || w.Body.String() != `{"status":"not ready"}` {
		t.Error(w.Code, w.Body)
	}
	ready = true
	if w := ask(door, "GET", "/readiness", ""); w.Code != 200 || w.Body.String() != `{"status":"ready"}` {
		t.Error(w.Code, w.Body)
	}
}

func TestGuardStopsChanges(t *testing.T) {
	o, s := options(), models()
	o.Guard = func(*http.Request) error { return yolo.Errorf(yolo.Forbidden, "not you") }
	door := newDoor(t, nothing, s, o)
	for _, path := range []string{"/model/add", "/model/remove", "/model/clear"} {
		if w := ask(door, "POST", path, `{"model_id":"boxes"}`); w.Code != 403 || len(s.did) > 0 {
			t.Error(path, w.Code, s.did)
		}
	}
	if w := ask(door, "GET", "/model/registry", ""); w.Code != 200 {
		t.Error(w.Code)
	}
}

// has reports whether n bytes of a share are free now.
func has(share *bodies.Share, n int64) bool {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // it does not wait for them
	c := share.Claim()
	defer c.Release()
	return c.Grow(ctx, n) == nil
}

// TestBodiesAreBoundAndPaidFor claims memory before it is used and gives it back.
func TestBodiesAreBoundAndPaidFor(t *testing.T) {
	const room = 2 << 20
	large := request("boxes", `"x":"`+strings.Repeat("y", 900<<10)+`"`)
	o := options()
	o.Bodies = bodies.New(room)
	held := false
	door := newDoor(t, func(ctx context.Context, r yolo.Request) (*yolo.Result, error) {
		held = !has(o.Bodies, room-int64(len(large))+1)
		return nothing(ctx, r)
	}, models(), o)
	if w := ask(door, "POST", "/infer/object_detection", large); w.Code != 200 || !held || !has(o.Bodies, room) {
		t.Error(w.Code, w.Body, held)
	}
	tooLarge := request("boxes", `"x":"`+strings.Repeat("y", 1<<20)+`"`)
	if w := ask(door, "POST", "/infer/object_detection", tooLarge); w.Code != 413 || !strings.Contains(w.Body.String(), "larger than 1048576 bytes (MAX_BODY_MB)") || !has(o.Bodies, room) {
		t.Error(w.Code, w.Body)
	}
	streamed := httptest.NewRequest("POST", "/infer/object_detection", io.MultiReader(strings.NewReader(tooLarge))) // of no length
	w := httptest.NewRecorder()
	if door.ServeHTTP(w, streamed); w.Code != 413 {
		t.Error(w.Code, w.Body)
	}
	o.Bodies = bodies.New(100 << 10)
	door = newDoor(t, nothing, models(), o)
	if w := ask(door, "POST", "/infer/object_detection", large); w.Code != 429 || w.Header().Get("Retry-After") != "1" || !has(o.Bodies, 100<<10) {
		t.Error(w.Code, w.Body)
	}
}

func TestRequestTimeout(t *testing.T) {
	o := options()
	o.RequestTimeout = time.Millisecond
	door := newDoor(t, func(ctx context.Context, _ yolo.Request) (*yolo.Result, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}, models(), o)
	if w := ask(door, "POST", "/infer/object_detection", request("boxes")); w.Code != 504 {
		t.Error(w.Code, w.Body)
	}
}
