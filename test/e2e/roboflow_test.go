package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A rfBox is an object of the Roboflow dialect.
type rfBox struct {
	X, Y, Width, Height, Confidence float64
	Class                           string
	ClassID                         int    `json:"class_id"`
	DetectionID                     string `json:"detection_id"`
	Points                          []struct{ X, Y float64 }
	Keypoints                       []struct {
		X, Y, Confidence float64
		Class            string
	}
}

// A rfAnswer is an answer of the Roboflow dialect.
type rfAnswer struct {
	ID            string `json:"inference_id"`
	Image         struct{ Width, Height int }
	Predictions   []rfBox
	Top           string
	Confidence    float64
	Visualization []byte
	Message       string
}

// roboflow sends a JSON body and reads the answer into to.
func (s *server) roboflow(t *testing.T, path, body string, to any) *http.Response {
	t.Helper()
	r, err := s.client.Post(s.url+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if err := json.NewDecoder(r.Body).Decode(to); err != nil {
		t.Fatalf("POST %s: %v", path, err)
	}
	return r
}

// asked is a body with a picture for a model and more fields.
func asked(model string, image []byte, more ...string) string {
	return fmt.Sprintf(`{"model_id":%q,"image":{"type":"base64","value":%q}%s}`, model,
		base64.StdEncoding.EncodeToString(image), strings.Join(append([]string{""}, more...), ","))
}

// The boxes of the Roboflow dialect are those of the old API, told by their centre.
func TestRoboflowFindsWhatTheOldAPIFinds(t *testing.T) {
	t.Parallel()
	needORT(t)
	s := start(t, newHome(t), "ROBOFLOW_LEGACY=on")
	picture := smallPicture(t)
	old := s.serves(t, "0").Predictions
	check := func(what string, got []rfBox) {
		t.Helper()
		if len(got) != len(old) {
			t.Errorf("%s: %d objects, want %d", what, len(got), len(old))
			return
		}
		for i, p := range got {
			w := old[i]
			x1, y1, x2, y2 := p.X-p.Width/2, p.Y-p.Height/2, p.X+p.Width/2, p.Y+p.Height/2
			far := max(math.Abs(x1-w.X1), math.Abs(y1-w.Y1), math.Abs(x2-w.X2), math.Abs(y2-w.Y2)) // the old ones are cut to whole pixels
			if far > 1.001 || math.Abs(p.Confidence-w.Confidence) > 1e-6 || p.Class != w.ClassName || p.ClassID != w.ClassID || len(p.DetectionID) != 36 {
				t.Errorf("%s: object %d is %+v, want %+v", what, i, p, w)
			}
		}
	}
	for _, id := range []string{"model_0", "model_0/1", "model_0/1.0.0", "0"} {
		var a rfAnswer
		r := s.roboflow(t, "/infer/object_detection", asked(id, picture), &a)
		if r.StatusCode != 200 || a.Image.Width == 0 || len(a.ID) != 36 {
			t.Errorf("%s: %d %+v", id, r.StatusCode, a)
		}
		check(id, a.Predictions)
	}
	var list []rfAnswer
	one := fmt.Sprintf(`{"type":"base64","value":%q}`, base64.StdEncoding.EncodeToString(picture))
	s.roboflow(t, "/infer/object_detection", `{"model_id":"model_0","image":[`+one+`,`+one+`]}`, &list)
	if len(list) != 2 {
		t.Fatalf("%d answers to two pictures", len(list))
	}
	check("list", list[1].Predictions)
	var drawn rfAnswer
	s.roboflow(t, "/infer/object_detection", asked("model_0", picture, `"visualize_predictions":true`, `"max_detections":1`), &drawn)
	if len(drawn.Predictions) != 1 || !strings.HasPrefix(string(drawn.Visualization), "\xff\xd8") {
		t.Errorf("%d objects, %d bytes of picture", len(drawn.Predictions), len(drawn.Visualization))
	}
	var legacy rfAnswer
	s.roboflow(t, "/model_0/1?confidence=25", base64.StdEncoding.EncodeToString(picture), &legacy)
	check("legacy", legacy.Predictions)
}

// The registry lists what is there, and add, remove and clear change what is loaded.
func TestRoboflowRegistry(t *testing.T) {
	t.Parallel()
	needORT(t)
	s := start(t, newHome(t), "SAVE_ANNOTATED=off")
	type registry struct {
		Models []struct {
			ID     string `json:"model_id"`
			Task   string `json:"task_type"`
			Loaded bool
			Bytes  int64 `json:"vram_bytes"`
		}
		Total int64 `json:"total_vram_bytes"`
	}
	expect := func(what string, r registry, loaded bool) {
		t.Helper()
		if len(r.Models) != 2 || r.Models[0].ID != "model_0" || r.Models[1].ID != "model_0/1" || r.Models[0].Task != "object-detection" ||
			r.Models[0].Loaded != loaded || (r.Total > 0) != loaded || r.Total != r.Models[0].Bytes {
			t.Errorf("%s: %+v", what, r)
		}
	}
	ask := func(path, body string) (r registry) {
		t.Helper()
		s.roboflow(t, path, body, &r)
		return r
	}
	var first registry
	s.get(t, "/model/registry", &first)
	expect("at the start", first, false)
	expect("add", ask("/model/add", `{"model_id":"model_0/1"}`), true)
	expect("remove", ask("/model/remove", `{"model_id":"model_0"}`), false)
	expect("add again", ask("/model/add", `{"model_id":"model_0"}`), true)
	expect("clear", ask("/model/clear", `{}`), false)
	for _, path := range []string{"/model/add", "/model/remove", "/model/clear"} {
		for header, value := range map[string]string{"X-Forwarded-For": "192.0.2.1", "Origin": "http://elsewhere.example"} {
			req, err := http.NewRequest("POST", s.url+path, strings.NewReader(`{"model_id":"model_0"}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set(header, value)
			r, err := s.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if r.Body.Close(); r.StatusCode != http.StatusForbidden {
				t.Errorf("%s with %s answers %d", path, header, r.StatusCode)
			}
		}
	}
}

// What a client does wrong is told, and the next is served.
func TestRoboflowBadInput(t *testing.T) {
	t.Parallel()
	needORT(t)
	s := start(t, newHome(t), "MAX_BODY_MB=1", "ALLOW_URL_INPUT=127.0.0.1,localhost")
	good := smallPicture(t)
	url := func(u string) string { return `{"model_id":"model_0","image":{"type":"url","value":"` + u + `"}}` }
	for name, c := range map[string]struct {
		body   string
		status int
		text   string
	}{
		"no JSON":        {"x", 400, "must be a JSON object"},
		"no picture":     {asked("model_0", []byte("text")), 400, "image: "},
		"cut off":        {asked("model_0", good[:len(good)/2]), 400, "image: "},
		"giant header":   {asked("model_0", pngHeader(30000, 30000)), 413, "image: "},
		"too large":      {asked("model_0", make([]byte, 1<<20)), 413, "MAX_BODY_MB"},
		"no model":       {asked("nobody", good), 404, "nobody"},
		"numpy":          {`{"model_id":"model_0","image":{"type":"numpy","value":"gASV"}}`, 400, "pickle"},
		"this machine":   {url(s.url + "/api/v1/health"), 400, "pictures are not fetched from"},
		"port 80 of it":  {url("http://127.0.0.1/"), 400, "not public"},
		"a name of it":   {url("http://localhost/"), 400, "not public"},
		"a cloud's":      {url("http://169.254.169.254/latest"), 400, "pictures are not fetched from"},
		"somewhere else": {url("https://example.com/a.jpg"), 400, "pictures are not fetched from"},
	} {
		var a rfAnswer
		r := s.roboflow(t, "/infer/object_detection", c.body, &a)
		if r.StatusCode != c.status || !strings.Contains(a.Message, c.text) {
			t.Errorf("%s: %d %s, want %d %s", name, r.StatusCode, a.Message, c.status, c.text)
		}
	}
	if r, err := s.client.Post(s.url+"/model_0/1", "", strings.NewReader("QQ==")); err != nil || r.StatusCode != 404 {
		t.Errorf("the older path is there: %v, %v", r, err)
	} else {
		r.Body.Close()
	}
	s.serves(t, "0")
}

// With the older paths, a folder called like one of another door's is refused.
func TestRoboflowReservedFolders(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	for _, name := range []string{"api", "docs", "infer"} {
		h.addModel(t, name, demoModel(t))
	}
	refused := func(s *server, name string) bool {
		return strings.Contains(s.log.String(), "rename it, for example to "+name+"_model")
	}
	off := start(t, h)
	if refused(off, "api") || refused(off, "docs") || !refused(off, "infer") {
		t.Errorf("ROBOFLOW_LEGACY=off: %s", off.log.String())
	}
	off.stop(t)
	on := start(t, h, "ROBOFLOW_LEGACY=on")
	if !refused(on, "api") || !refused(on, "docs") || !refused(on, "infer") {
		t.Errorf("ROBOFLOW_LEGACY=on: %s", on.log.String())
	}
	on.serves(t, "0")
}

// Each task answers at its own path as Ultralytics does, and only there.
func TestRoboflowTasks(t *testing.T) {
	t.Parallel()
	needORT(t)
	dir := needShared(t, "fixtures/families")
	h := newHome(t)
	paths := map[string]string{"detect": "/infer/object_detection", "segment": "/infer/instance_segmentation", "pose": "/infer/keypoints_detection", "classify": "/infer/classification"}
	models := map[string]string{"detect": "v8-detect", "segment": "v8-seg", "pose": "v8-pose", "classify": "v8-cls", "obb": "v8-obb"}
	for task, from := range models {
		writeFile(t, filepath.Join(h.models, task, "best.pt"), readFile(t, filepath.Join(dir, from, "model.pt")))
		writeFile(t, filepath.Join(h.models, task, "labels.yaml"), labels("model_path: ./best.pt", "task: "+task))
	}
	s := start(t, h, "SAVE_ANNOTATED=off")
	photo, err := os.ReadFile(filepath.Join(dir, "images", "b.png"))
	if err != nil {
		t.Fatal(err)
	}
	for task := range models {
		var a rfAnswer
		path, has := paths[task]
		if !has {
			if r := s.roboflow(t, paths["detect"], asked(task, photo), &a); r.StatusCode != 400 || !strings.Contains(a.Message, "/api/v2/detect") {
				t.Errorf("%s: %d %+v", task, r.StatusCode, a)
			}
			continue
		}
		if r := s.roboflow(t, path, asked(task, photo), &a); r.StatusCode != 200 || a.Image.Width != 250 || a.Image.Height != 410 {
			t.Errorf("%s: %d %+v", task, r.StatusCode, a)
			continue
		}
		var rec recording
		if err := json.Unmarshal(readFile(t, filepath.Join(dir, models[task], "ref.json")), &rec); err != nil {
			t.Fatal(err)
		}
		compareRoboflow(t, task, a, rec)
		var wrong rfAnswer
		for other, at := range paths {
			if r := s.roboflow(t, at, asked(task, photo), &wrong); other != task && (r.StatusCode != 400 || !strings.Contains(wrong.Message, "use "+path)) {
				t.Errorf("%s at %s: %d %+v", task, at, r.StatusCode, wrong)
			}
		}
	}
}

// compareRoboflow compares with what Ultralytics gave for b.png.
func compareRoboflow(t *testing.T, task string, a rfAnswer, rec recording) {
	t.Helper()
	for _, run := range rec.Runs {
		if run.Image != "b.png" || run.Mode == "square" || run.End2end {
			continue
		}
		if task == "classify" {
			var want recordedProbs
			if err := json.Unmarshal(run.Predictions, &want); err != nil {
				t.Fatal(err)
			}
			if math.Abs(a.Confidence-want.Top5Conf[0]) > lossless.conf || a.Top != a.Predictions[0].Class || a.Predictions[0].ClassID != want.Top5[0] {
				t.Errorf("%s: %+v, want %+v", task, a, want)
			}
			return
		}
		var want []recordedObject
		if err := json.Unmarshal(run.Predictions, &want); err != nil {
			t.Fatal(err)
		}
		if len(a.Predictions) != len(want) || len(want) == 0 {
			t.Errorf("%s: %d objects, want %d", task, len(a.Predictions), len(want))
			return
		}
		for _, w := range want {
			if !found1(a.Predictions, w) {
				t.Errorf("%s: %+v is not in %+v", task, w, a.Predictions)
			}
		}
		return
	}
	t.Errorf("%s: nothing is recorded for b.png", task)
}

// found1 reports whether one of the boxes is w, with its keypoints.
func found1(all []rfBox, w recordedObject) bool {
	for _, p := range all {
		far := max(math.Abs(p.X-p.Width/2-w.XYXY[0]), math.Abs(p.Y-p.Height/2-w.XYXY[1]),
			math.Abs(p.X+p.Width/2-w.XYXY[2]), math.Abs(p.Y+p.Height/2-w.XYXY[3]))
		if far > 0.5 || p.ClassID != w.Cls || math.Abs(p.Confidence-w.Conf) > lossless.conf || len(p.Keypoints) != len(w.Keypoints) {
			continue
		}
		if (w.MaskShape != nil) != (p.Points != nil) {
			continue
		}
		same := true
		for i, k := range w.Keypoints {
			same = same && math.Abs(p.Keypoints[i].X-k[0]) < 0.5 && math.Abs(p.Keypoints[i].Y-k[1]) < 0.5
		}
		if same {
			return true
		}
	}
	return false
}
