package httpapi_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lazyolo/yolo"
)

// A part is a field of a form, or a file if it has a name.
type part struct{ name, filename, value string }

// upload returns a detection with these parts, as the bytes of an HTTP request.
func upload(path string, parts ...part) []byte {
	var b strings.Builder
	for _, p := range parts {
		fmt.Fprintf(&b, "--B\r\nContent-Disposition: form-data; name=%q", p.name)
		if p.filename != "" {
			fmt.Fprintf(&b, "; filename=%q", p.filename)
		}
		fmt.Fprintf(&b, "\r\n\r\n%s\r\n", p.value)
	}
	b.WriteString("--B--\r\n")
	return append(postHead(path, b.Len(), ""), b.String()...)
}

// rawPicture returns a detection whose body is the picture.
func rawPicture(path, media, image string) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: example.test\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
		path, media, len(image), image)
}

var photo = part{"file", "a.jpg", "JPEG"}

// asked sends a request and returns what reached the detector, if anything did.
func asked(t *testing.T, raw []byte) (reached *yolo.Request, status int, body string) {
	t.Helper()
	detect := detectFunc(func(_ context.Context, r yolo.Request) (*yolo.Result, error) {
		r.Image = append([]byte(nil), r.Image...)
		reached = &r
		return &yolo.Result{}, nil
	})
	addr := serve(t, handler(t, detect, shapes(), options(io.Discard)))
	res, answer := exchange(t, addr, "POST", raw)
	return reached, res.StatusCode, string(answer)
}

func TestOptionsReachTheDetector(t *testing.T) {
	num := func(v float64) *float64 { return &v }
	everything := yolo.Request{
		Model: "model_0", Image: []byte("JPEG"), Conf: num(0.5), IoU: num(0), MaxDet: 7,
		Classes: []int{0, 2, 5}, AgnosticNMS: true, NMS: new(false), ImgSz: 320,
	}
	plain := yolo.Request{Model: "model_0", Image: []byte("JPEG")}
	with := func(edit func(*yolo.Request)) yolo.Request { r := plain; edit(&r); return r }
	form := func(name, value string) []byte {
		return upload("/api/v2/detect", photo, part{name: name, value: value})
	}
	tests := map[string]struct {
		raw  []byte
		want yolo.Request
	}{
		"none": {upload("/api/v2/detect", photo), plain},
		"all in the form": {upload("/api/v2/detect", part{name: "conf", value: " 0.5"}, part{name: "iou", value: "0"},
			part{name: "max_det", value: "7"}, part{name: "classes", value: "0, 2"}, part{name: "classes", value: "5"},
			part{name: "agnostic_nms", value: "True"}, part{name: "nms", value: "no"}, part{name: "imgsz", value: "320"}, part{name: "format", value: "json"}, photo), everything},
		"all in the query": {upload("/api/v2/detect?conf=5e-1&iou=0.0&max_det=7&classes=0,2,5&agnostic_nms=1&nms=0&imgsz=320&masks=none", photo), everything},
		"a keep-alive":     {form("keep_alive", " 90s"), with(func(r *yolo.Request) { r.KeepAlive = new(90 * time.Second) })},
		"none at all":      {upload("/api/v2/detect?keep_alive=-1", photo), with(func(r *yolo.Request) { r.KeepAlive = new(yolo.KeepAliveForever) })},
		"a list":           {form("classes", "[0, 2,5]"), with(func(r *yolo.Request) { r.Classes = []int{0, 2, 5} })},
		"the form wins":    {upload("/api/v2/detect?conf=0.9&classes=9", photo, part{name: "conf", value: "0.5"}, part{name: "classes", value: "1"}), with(func(r *yolo.Request) { r.Conf, r.Classes = num(0.5), []int{1} })},
		"the last wins":    {upload("/api/v2/detect?conf=0.9&conf=0.25", photo), with(func(r *yolo.Request) { r.Conf = num(0.25) })},
		"empty values":     {upload("/api/v2/detect?conf=&classes=", photo, part{name: "iou"}, part{name: "model"}), plain},
		"no":               {form("agnostic_nms", "off"), plain},
		"suppression":      {form("nms", "on"), with(func(r *yolo.Request) { r.NMS = new(true) })},
		"a folder":         {form("model", "model_2"), with(func(r *yolo.Request) { r.Model = "model_2" })},
		"a name":           {form("model", "shapes-1"), with(func(r *yolo.Request) { r.Model = "model_1" })},
		"a number":         {form("model", "2"), with(func(r *yolo.Request) { r.Model = "model_2" })},
		"a name in the query wins": {upload("/api/v2/detect?model=shapes-2", photo, part{name: "model_id", value: "1"}),
			with(func(r *yolo.Request) { r.Model = "model_2" })},
		"the old server's query":  {upload("/api/v2/detect?model_id=2", photo), plain},
		"v1 has one model":        {upload("/api/v1/detect?model=shapes-2&conf=0.5", photo), with(func(r *yolo.Request) { r.Conf = num(0.5) })},
		"a picture":               {rawPicture("/api/v2/detect?conf=0.5&model_id=%201", "image/jpeg", "JPEG"), with(func(r *yolo.Request) { r.Conf, r.Model = num(0.5), "model_1" })},
		"a picture of any type":   {rawPicture("/api/v2/detect", "Image/X-Unknown; q=1", "JPEG"), plain},
		"what is not understood":  {upload("/api/v2/detect?x=%zz;y", photo, part{name: "save", value: "1"}), plain},
		"the greatest of numbers": {upload("/api/v2/detect?conf=1&iou=1&max_det=30000&imgsz=2048", photo), with(func(r *yolo.Request) { r.Conf, r.IoU, r.MaxDet, r.ImgSz = num(1), num(1), 30000, 2048 })},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, status, body := asked(t, tt.raw)
			if got == nil {
				t.Fatalf("nothing reached the detector: %d %s", status, body)
			}
			if d := cmp.Diff(tt.want, *got); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestWrongOptions: the answers are FastAPI's own to the same declarations.
func TestWrongOptions(t *testing.T) {
	tests := map[string]string{
		"conf=abc":                             `{"type":"float_parsing","loc":["query","conf"],"msg":"Input should be a valid number, unable to parse string as a number","input":"abc"}`,
		"conf=0x1p1":                           `{"type":"float_parsing","loc":["query","conf"],"msg":"Input should be a valid number, unable to parse string as a number","input":"0x1p1"}`,
		"conf=-1":                              `{"type":"greater_than_equal","loc":["query","conf"],"msg":"Input should be greater than or equal to 0","input":"-1","ctx":{"ge":0}}`,
		"iou=1.5":                              `{"type":"less_than_equal","loc":["query","iou"],"msg":"Input should be less than or equal to 1","input":"1.5","ctx":{"le":1}}`,
		"iou=nan":                              `{"type":"less_than_equal","loc":["query","iou"],"msg":"Input should be less than or equal to 1","input":"nan","ctx":{"le":1}}`,
		"iou=1e999":                            `{"type":"less_than_equal","loc":["query","iou"],"msg":"Input should be less than or equal to 1","input":"1e999","ctx":{"le":1}}`,
		"max_det=0":                            `{"type":"greater_than_equal","loc":["query","max_det"],"msg":"Input should be greater than or equal to 1","input":"0","ctx":{"ge":1}}`,
		"max_det=1" + strings.Repeat("0", 400): `{"type":"less_than_equal","loc":["query","max_det"],"msg":"Input should be less than or equal to 30000","input":"1` + strings.Repeat("0", 400) + `","ctx":{"le":30000}}`,
		"max_det=2.5":                          `{"type":"int_parsing","loc":["query","max_det"],"msg":"Input should be a valid integer, unable to parse string as an integer","input":"2.5"}`,
		"imgsz=31":                             `{"type":"greater_than_equal","loc":["query","imgsz"],"msg":"Input should be greater than or equal to 32","input":"31","ctx":{"ge":32}}`,
		"imgsz=4096":                           `{"type":"less_than_equal","loc":["query","imgsz"],"msg":"Input should be less than or equal to 2048","input":"4096","ctx":{"le":2048}}`,
		"classes=1,x":                          `{"type":"int_parsing","loc":["query","classes",1],"msg":"Input should be a valid integer, unable to parse string as an integer","input":"x"}`,
		"classes=0,,1":                         `{"type":"int_parsing","loc":["query","classes",1],"msg":"Input should be a valid integer, unable to parse string as an integer","input":""}`,
		"classes=-1":                           `{"type":"greater_than_equal","loc":["query","classes",0],"msg":"Input should be greater than or equal to 0","input":"-1","ctx":{"ge":0}}`,
		"classes=9999999":                      `{"type":"less_than_equal","loc":["query","classes",0],"msg":"Input should be less than or equal to 1048576","input":"9999999","ctx":{"le":1048576}}`,
		"classes=[0":                           `{"type":"int_parsing","loc":["query","classes",0],"msg":"Input should be a valid integer, unable to parse string as an integer","input":"[0"}`,
		"classes=0,2]":                         `{"type":"int_parsing","loc":["query","classes",1],"msg":"Input should be a valid integer, unable to parse string as an integer","input":"2]"}`,
		"agnostic_nms=may":                     `{"type":"bool_parsing","loc":["query","agnostic_nms"],"msg":"Input should be a valid boolean, unable to interpret input","input":"may"}`,
		"nms=0.5":                              `{"type":"bool_parsing","loc":["query","nms"],"msg":"Input should be a valid boolean, unable to interpret input","input":"0.5"}`,
		"keep_alive=soon":                      `{"type":"time_delta_parsing","loc":["query","keep_alive"],"msg":"Input should be a time from 0s to 24h such as 90s or 5m (a plain number is seconds), or -1 for ever","input":"soon"}`,
		"masks=png":                            `{"type":"literal_error","loc":["query","masks"],"msg":"Input should be 'polygon', 'rle' or 'none'","input":"png","ctx":{"expected":"'polygon', 'rle' or 'none'"}}`,
	}
	for option, want := range tests {
		t.Run(option, func(t *testing.T) {
			name, value, _ := strings.Cut(option, "=")
			for place, raw := range map[string][]byte{
				"query": upload("/api/v2/detect?"+option, photo),
				"body":  upload("/api/v2/detect", photo, part{name: name, value: value}),
			} {
				reached, status, body := asked(t, raw)
				want := `{"detail":[` + strings.Replace(want, `"query"`, `"`+place+`"`, 1) + `]}`
				if reached != nil || status != 422 || body != want {
					t.Errorf("%s: %d\n%s, want 422\n%s", place, status, body, want)
				}
			}
		})
	}
}

// A wrong option in the query is refused beside a right one in the form, which wins.
func TestWhatTheFormOverrulesMustBeRight(t *testing.T) {
	reached, status, body := asked(t, upload("/api/v2/detect?nms=null&conf=0.9&classes=x", photo,
		part{name: "nms", value: "1"}, part{name: "conf", value: "0.5"}, part{name: "classes", value: "1"}))
	want := `{"detail":[{"type":"int_parsing","loc":["query","classes",0],"msg":"Input should be a valid integer, unable to parse string as an integer","input":"x"},` +
		`{"type":"bool_parsing","loc":["query","nms"],"msg":"Input should be a valid boolean, unable to interpret input","input":"null"}]}`
	if reached != nil || status != 422 || body != want {
		t.Errorf("%d\n%s, want 422\n%s", status, body, want)
	}
}

func TestEveryComplaintAtOnce(t *testing.T) {
	_, status, body := asked(t, upload("/api/v2/detect?iou=2", part{name: "model_id", value: "x"}, part{"conf", "c.txt", "1"}, part{"classes", "d", "1"}))
	want := `{"detail":[{"type":"missing","loc":["body","file"],"msg":"Field required","input":null},` +
		`{"type":"int_parsing","loc":["body","model_id"],"msg":"Input should be a valid integer, unable to parse string as an integer","input":"x"},` +
		`{"type":"float_type","loc":["body","conf"],"msg":"Input should be a valid number","input":{"filename":"c.txt","size":1}},` +
		`{"type":"less_than_equal","loc":["query","iou"],"msg":"Input should be less than or equal to 1","input":"2","ctx":{"le":1}},` +
		`{"type":"int_type","loc":["body","classes"],"msg":"Input should be a valid integer","input":{"filename":"d","size":1}}]}`
	if status != 422 || body != want {
		t.Errorf("%d\n%s, want 422\n%s", status, body, want)
	}
}

// TestPlaceOfFormat: the complaint about two of the request's values says where
// the format stood.
func TestPlaceOfFormat(t *testing.T) {
	for place, raw := range map[string][]byte{
		"query": upload("/api/v2/detect?format=image", photo, photo),
		"body":  upload("/api/v2/detect", photo, photo, part{name: "format", value: "image"}),
	} {
		if _, status, body := asked(t, raw); status != 422 || !strings.Contains(body, `"loc":["`+place+`","format"]`) {
			t.Errorf("%s: %d %s", place, status, body)
		}
	}
}

func TestRawPictures(t *testing.T) {
	tests := map[string]struct {
		raw  []byte
		want string
	}{
		"nothing":          {rawPicture("/api/v2/detect", "image/png", ""), `"type":"missing","loc":["body","file"]`},
		"a wrong model_id": {rawPicture("/api/v2/detect?model_id=x", "image/png", "PNG"), `"type":"int_parsing","loc":["query","model_id"]`},
		"another type":     {rawPicture("/api/v2/detect", "application/octet-stream", "PNG"), `"type":"missing","loc":["body","file"]`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, status, body := asked(t, tt.raw); status != 422 || !strings.Contains(body, tt.want) {
				t.Errorf("%d %s, want 422 and %s", status, body, tt.want)
			}
		})
	}
}

func TestModelsByName(t *testing.T) {
	tests := map[string]string{
		"nobody":    `{"error":"Model nobody not found"}`,
		"7":         `{"error":"Model 7 not found"}`,
		"twins":     `{"error":"Model name twins is not unique, use a folder name such as model_1"}`,
		"model_1":   `{"predictions":[]}`,
		"shapes-0":  `{"predictions":[]}`,
		" shapes-0": `{"error":"Model  shapes-0 not found"}`,
	}
	catalog := shapes()
	catalog.models[1].Name, catalog.models[2].Name = "twins", "twins"
	addr := serve(t, handler(t, found(), catalog, options(io.Discard)))
	for name, want := range tests {
		_, body := exchange(t, addr, "POST", upload("/api/v2/detect", photo, part{name: "model", value: name}))
		if string(body) != want {
			t.Errorf("%s: %s, want %s", name, body, want)
		}
	}
}
