package httpapi_test

import (
	"context"
	"io"
	"math"
	"testing"

	"lazyolo/yolo"
)

// answered returns the body of the answer to one picture for which r was found.
func answered(t *testing.T, r *yolo.Result, options_ ...part) string {
	t.Helper()
	detect := detectFunc(func(context.Context, yolo.Request) (*yolo.Result, error) { return r, nil })
	addr := serve(t, handler(t, detect, shapes(), options(io.Discard)))
	_, body := exchange(t, addr, "POST", upload("/api/v2/detect", append(options_, photo)...))
	return string(body)
}

func TestAnswersOfEachTask(t *testing.T) {
	cat := yolo.Object{Class: 2, Name: "猫", Confidence: 0.5, Box: yolo.Box{X1: 1.9, Y1: -0.5, X2: 3.1, Y2: 4}}
	const head = `{"class_id":2,"class_name":"猫","confidence":0.5,"x1":1,"y1":0,"x2":3,"y2":4`
	segment, pose, blind, rotated := cat, cat, cat, cat
	// A grid of half the picture's size with a column of padding on the left: the
	// object is the right half of the picture.
	segment.Mask = &yolo.Mask{
		Width: 3, Height: 2, Window: yolo.Window{X: 1, W: 2, H: 2}, Runs: []int{2, 1, 2, 1},
		Polygon: []yolo.Point{{X: 2, Y: 0.123456}, {X: 2.5, Y: 4}},
	}
	pose.Keypoints = []yolo.Keypoint{{Point: yolo.Point{X: 1, Y: 2}, Visible: 0.25}, {Point: yolo.Point{X: 3, Y: 4.5}}}
	pose.KeypointNames = []string{"nose", "tail"}
	blind.Keypoints = []yolo.Keypoint{{Point: yolo.Point{X: 1, Y: 2}, Visible: -1}}
	rotated.Rotated = &yolo.Rotated{X: 1, Y: 2, W: 3, H: 4, Angle: -0.123456, Corners: [4]yolo.Point{{X: 1, Y: 2}, {X: 3, Y: 4}, {X: 5, Y: 6}, {X: 7, Y: 8}}}
	broken := cat
	broken.Keypoints = []yolo.Keypoint{{Point: yolo.Point{X: float32(math.NaN()), Y: float32(math.Inf(1))}, Visible: -1}}
	tests := map[string]struct {
		object  yolo.Object
		options []part
		want    string
	}{
		"detection":        {cat, nil, ``},
		"masks of nothing": {cat, []part{{name: "masks", value: "rle"}}, ``},
		"polygon":          {segment, nil, `,"segments":{"x":[2,2.5],"y":[0.12346,4]}`},
		"rle":              {segment, []part{{name: "masks", value: "rle"}}, `,"mask":{"size":[4,4],"counts":[8,8]}`},
		"no masks":         {segment, []part{{name: "masks", value: "none"}}, ``},
		"pose":             {pose, nil, `,"keypoints":{"x":[1,3],"y":[2,4.5],"visible":[0.25,0],"names":["nose","tail"]}`},
		"pose in 2D":       {blind, nil, `,"keypoints":{"x":[1],"y":[2]}`},
		"rotated":          {rotated, nil, `,"obb":{"xywhr":[1,2,3,4,-0.12346],"corners":[[1,2],[3,4],[5,6],[7,8]]}`},
		"a broken model's": {broken, nil, `,"keypoints":{"x":[null],"y":[null]}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := answered(t, &yolo.Result{Width: 4, Height: 4, Objects: []yolo.Object{tt.object}}, tt.options...)
			if want := `{"predictions":[` + head + tt.want + `}]}`; got != want {
				t.Errorf("got\n%s, want\n%s", got, want)
			}
		})
	}
}

func TestAnswerOfAClassifier(t *testing.T) {
	got := answered(t, &yolo.Result{Width: 4, Height: 4, Probs: []yolo.Prob{{Class: 3, Name: "a", Confidence: 0.75}, {Class: 0, Name: "b", Confidence: 0.125}}})
	want := `{"predictions":[{"class_id":3,"class_name":"a","confidence":0.75},{"class_id":0,"class_name":"b","confidence":0.125}],` +
		`"probs":{"top1":3,"top1conf":0.75,"top5":[3,0],"top5conf":[0.75,0.125]}}`
	if got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
}

func TestAnswerOfRegions(t *testing.T) {
	mask := &yolo.Mask{Width: 2, Height: 2, Window: yolo.Window{W: 2, H: 2}, Runs: []int{1, 1, 2}, Nearest: true}
	r := &yolo.Result{Width: 4, Height: 4, Regions: []yolo.Region{{Class: 3, Name: "路", Share: 0.123456, Mask: mask}}}
	if got, want := answered(t, r), `{"predictions":[{"class_id":3,"class_name":"路","pixel_ratio":0.12346}]}`; got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	want := `{"predictions":[{"class_id":3,"class_name":"路","pixel_ratio":0.12346,"mask":{"size":[4,4],"counts":[8,2,2,2,2]}}]}`
	if got := answered(t, r, part{name: "masks", value: "rle"}); got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
}

// TestSeveralPictures: the old answer, to the last one, and beside it all of them;
// what is wrong with one of them does not concern the others.
func TestSeveralPictures(t *testing.T) {
	detect := detectFunc(func(_ context.Context, r yolo.Request) (*yolo.Result, error) {
		switch string(r.Image) {
		case "broken":
			return nil, yolo.Errorf(yolo.Invalid, "cannot decode JPEG")
		case "huge":
			return nil, yolo.Errorf(yolo.TooLarge, "over the limit (MAX_PIXELS)")
		case "slow":
			return nil, yolo.Errorf(yolo.Overloaded, "too many requests are waiting")
		}
		return &yolo.Result{Objects: []yolo.Object{{Name: string(r.Image), Confidence: 1}}}, nil
	})
	pictures := &album{}
	o := options(io.Discard)
	o.Annotate = pictures
	addr := serve(t, handler(t, detect, shapes(), o))
	cat := func(name string) string {
		return `"predictions":[{"class_id":0,"class_name":"` + name + `","confidence":1,"x1":0,"y1":0,"x2":0,"y2":0}]`
	}
	file := func(name, data string) part { return part{"file", name, data} }
	tests := map[string]struct {
		parts  []part
		status int
		want   string
	}{
		"both well": {[]part{file("a.jpg", "A"), file("b.jpg", "B")}, 200,
			`{` + cat("B") + `,"results":[{"filename":"a.jpg",` + cat("A") + `},{"filename":"b.jpg",` + cat("B") + `}]}`},
		"the first broken": {[]part{file("a.jpg", "broken"), file("b.jpg", "B")}, 200,
			`{` + cat("B") + `,"results":[{"filename":"a.jpg","error":"Failed to decode image","reason":"cannot decode JPEG"},{"filename":"b.jpg",` + cat("B") + `}]}`},
		"the last broken": {[]part{file("a.jpg", "A"), file("b.jpg", "broken")}, 200,
			`{"error":"Failed to decode image","reason":"cannot decode JPEG","results":[{"filename":"a.jpg",` + cat("A") +
				`},{"filename":"b.jpg","error":"Failed to decode image","reason":"cannot decode JPEG"}]}`},
		"the first too large": {[]part{file("a.jpg", "huge"), file("b.jpg", "B")}, 200,
			`{` + cat("B") + `,"results":[{"filename":"a.jpg","error":"over the limit (MAX_PIXELS)"},{"filename":"b.jpg",` + cat("B") + `}]}`},
		"the last too large": {[]part{file("a.jpg", "A"), file("b.jpg", "huge")}, 200,
			`{"error":"over the limit (MAX_PIXELS)","results":[{"filename":"a.jpg",` + cat("A") + `},{"filename":"b.jpg","error":"over the limit (MAX_PIXELS)"}]}`},
		"one too large": {[]part{file("a.jpg", "huge")}, 413, `{"error":"over the limit (MAX_PIXELS)"}`},
		"one refused":   {[]part{file("a.jpg", "A"), file("b.jpg", "slow"), file("c.jpg", "C")}, 429, `{"error":"too many requests are waiting"}`},
		"only one":      {[]part{file("a.jpg", "A")}, 200, `{` + cat("A") + `}`},
		"one broken":    {[]part{file("a.jpg", "broken")}, 200, `{"error":"Failed to decode image"}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			res, body := exchange(t, addr, "POST", upload("/api/v2/detect", tt.parts...))
			if res.StatusCode != tt.status || string(body) != tt.want {
				t.Errorf("%d\n%s, want %d\n%s", res.StatusCode, body, tt.status, tt.want)
			}
		})
	}
	if last := pictures.last(); last.name == "" {
		t.Error("no picture was annotated")
	}
}
