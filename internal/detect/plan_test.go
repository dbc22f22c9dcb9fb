package detect

import (
	"errors"
	"strings"
	"testing"

	"lazyolo/internal/imaging"
	"lazyolo/yolo"
)

// segmentFit is a square picture in an input of 640.
func segmentFit() imaging.Fit { return imaging.Letterbox(640, 640, 640, 640) }

// infos describes outputs of these shapes.
func infos(shapes ...[]int64) []yolo.TensorInfo {
	out := make([]yolo.TensorInfo, len(shapes))
	for i, s := range shapes {
		out[i] = yolo.TensorInfo{Name: "output", DType: yolo.FP32, Shape: s}
	}
	return out
}

// names3 is the metadata of a file with three classes.
func names3(more ...string) map[string]string {
	m := map[string]string{"names": "{0: 'a', 1: 'b', 2: 'c'}"}
	for i := 0; i < len(more); i += 2 {
		m[more[i]] = more[i+1]
	}
	return m
}

// labelled is a model of that task with so many names in labels.yaml.
func labelled(task yolo.Task, names int) *yolo.Model {
	m := detector(names)
	m.Task, m.TaskName = task, string(task)
	return m
}

// TestShapesAndNamesTell: of a file that says nothing of itself, the outputs and the
// names in labels.yaml tell whether the task can be right.
func TestShapesAndNamesTell(t *testing.T) {
	protos, picture := []int64{1, 32, 80, 80}, []int64{1, 3, 320, 320}
	free := []int64{-1, 3, -1, -1}
	points := map[string]string{"kpt_shape": "[5, 3]"}
	tests := map[string]struct {
		task     yolo.Task
		names    int
		metadata map[string]string
		in       []int64
		outputs  [][]int64
		want     []string // in the message; nil: it is served
	}{
		"detect":                     {yolo.Detect, 4, nil, picture, [][]int64{{1, 8, 2100}}, nil},
		"detect, dynamic":            {yolo.Detect, 4, nil, free, [][]int64{{-1, 8, -1}}, nil},
		"detect, nothing declared":   {yolo.Detect, 4, nil, free, [][]int64{{-1, -1, -1}}, nil},
		"detect, end-to-end":         {yolo.Detect, 4, nil, picture, [][]int64{{1, 300, 6}}, nil},
		"detect, free end-to-end":    {yolo.Detect, 4, nil, free, [][]int64{{-1, -1, 6}}, nil},
		"detect, the file has names": {yolo.Detect, 9, names3(), picture, [][]int64{{1, 7, 2100}}, nil},
		"detect, no names":           {yolo.Detect, 0, nil, picture, [][]int64{{1, 84, 2100}}, nil},
		"obb":                        {yolo.OBB, 4, nil, picture, [][]int64{{1, 9, 2100}}, nil},
		"obb, end-to-end":            {yolo.OBB, 4, nil, picture, [][]int64{{1, 300, 7}}, nil},
		"segment":                    {yolo.Segment, 4, nil, picture, [][]int64{{1, 40, 2100}, protos}, nil},
		"segment, end-to-end":        {yolo.Segment, 4, nil, picture, [][]int64{{1, 300, 38}, protos}, nil},
		"pose":                       {yolo.Pose, 1, points, picture, [][]int64{{1, 20, 2100}}, nil},
		"pose, end-to-end":           {yolo.Pose, 1, points, picture, [][]int64{{1, 300, 21}}, nil},
		"segment, more names":        {yolo.Segment, 4, nil, picture, [][]int64{{1, 39, 2100}, protos}, nil},
		"classify, fewer names":      {yolo.Classify, 4, nil, picture, [][]int64{{1, 1000}}, nil},
		"semantic":                   {yolo.Semantic, 4, nil, picture, [][]int64{{1, 320, 320}}, nil},
		"semantic, dynamic":          {yolo.Semantic, 4, nil, free, [][]int64{{-1, -1, -1}}, nil},

		"detect, more classes":    {yolo.Detect, 4, nil, picture, [][]int64{{1, 84, 2100}}, []string{"[1, 8, anchors]", "4 names", "[1 84 2100]", "correct task", "80 classes"}},
		"detect, an angle":        {yolo.Detect, 4, nil, picture, [][]int64{{1, 9, 2100}}, []string{"[1 9 2100]", "looks like one of task obb", "5 classes"}},
		"detect, a listed angle":  {yolo.Detect, 4, nil, picture, [][]int64{{1, 300, 7}}, []string{"[1, n, 6]", "[1 300 7]", "looks like one of task obb: correct task"}},
		"detect, two, an angle":   {yolo.Detect, 2, nil, picture, [][]int64{{1, 300, 7}}, []string{"looks like one of task obb"}},
		"detect, a free angle":    {yolo.Detect, 0, nil, free, [][]int64{{-1, -1, 7}}, []string{"looks like one of task obb"}},
		"detect, listed points":   {yolo.Detect, 4, nil, picture, [][]int64{{1, 300, 21}}, []string{"[1 300 21]", "correct task"}},
		"detect, no names, angle": {yolo.Detect, 0, nil, picture, [][]int64{{1, 300, 7}}, []string{"looks like one of task obb"}},
		"detect, points":          {yolo.Detect, 1, nil, picture, [][]int64{{1, 56, 2100}}, []string{"[1 56 2100]", "correct task"}},
		"detect, RT-DETR":         {yolo.Detect, 80, nil, picture, [][]int64{{1, 300, 84}}, []string{"model_family: RT-DETR"}},
		"detect, old yolov5":      {yolo.Detect, 80, nil, picture, [][]int64{{1, 6300, 85}}, []string{"yolov5u"}},
		"detect, class map":       {yolo.Detect, 4, nil, picture, [][]int64{{1, 320, 320}}, []string{"[1 320 320]", "semantic"}},
		"obb, class map":          {yolo.OBB, 0, nil, picture, [][]int64{{1, 320, 320}}, []string{"[1 320 320]", "semantic"}},
		"obb, upright":            {yolo.OBB, 4, nil, picture, [][]int64{{1, 8, 2100}}, []string{"[1 8 2100]", "looks like one of task detect"}},
		"obb, listed upright":     {yolo.OBB, 4, nil, picture, [][]int64{{1, 300, 6}}, []string{"[1 300 6]", "looks like one of task detect"}},
		"obb, masks":              {yolo.OBB, 4, nil, picture, [][]int64{{1, 40, 2100}, protos}, []string{"[1 32 80 80]", "segmentation"}},
		"pose, masks":             {yolo.Pose, 1, points, picture, [][]int64{{1, 20, 2100}, protos}, []string{"[1 32 80 80]", "segmentation"}},
		"pose, more points":       {yolo.Pose, 1, points, picture, [][]int64{{1, 56, 2100}}, []string{"[1, 20, anchors]", "[1 56 2100]"}},
		"segment, no masks":       {yolo.Segment, 4, nil, picture, [][]int64{{1, 300, 38}}, []string{"prototype"}},
		"classify, boxes":         {yolo.Classify, 4, nil, picture, [][]int64{{1, 8, 2100}}, []string{"[1 8 2100]"}},
		"semantic, boxes":         {yolo.Semantic, 4, nil, picture, [][]int64{{1, 8, 2100}}, []string{"[1 3 320 320]", "[1 8 2100]"}},
		"semantic, objects":       {yolo.Semantic, 4, nil, free, [][]int64{{-1, 300, 6}}, []string{"[-1 300 6]"}},
		"semantic, masks":         {yolo.Semantic, 4, nil, free, [][]int64{{-1, -1, -1}, {-1, 32, -1, -1}}, []string{"segmentation"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := Check(labelled(tt.task, tt.names), infos(tt.in), infos(tt.outputs...), tt.metadata)
			if tt.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var known *yolo.Error
			if !errors.As(err, &known) || known.Code != yolo.Unsupported || !known.Final {
				t.Fatalf("got %v, want a final error", err)
			}
			for _, w := range append(tt.want, "model m") {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q lacks %q", err, w)
				}
			}
		})
	}
}

// A class map of whole numbers is none of boxes, whatever its sides; names with gaps
// count nothing.
func TestOtherSigns(t *testing.T) {
	free := infos([]int64{-1, 3, -1, -1})
	bytes := []yolo.TensorInfo{{Name: "output0", DType: "ONNX_2", Shape: []int64{-1, -1, -1}}}
	if err := Check(labelled(yolo.Detect, 4), free, bytes, nil); err == nil || !strings.Contains(err.Error(), "semantic") {
		t.Errorf("got %v", err)
	}
	m := labelled(yolo.Detect, 4)
	delete(m.Labels, 2)
	if err := Check(m, free, infos([]int64{-1, 84, -1}), nil); err != nil {
		t.Error(err)
	}
}

// What the file did not declare is told by the first run.
func TestUndeclaredOutputsAreToldByTheRun(t *testing.T) {
	p, err := newPlan(labelled(yolo.Detect, 4), infos([]int64{-1, 3, -1, -1}), infos([]int64{-1, -1, -1}), nil)
	if err != nil {
		t.Fatal(err)
	}
	err = p.head.decode([]yolo.Tensor{tensor([]int64{1, 9, 21})}, ask(), new(yolo.Result))
	if err == nil || !strings.Contains(err.Error(), "looks like one of task obb") {
		t.Errorf("got %v", err)
	}
}

func TestContradictionsAreRefused(t *testing.T) {
	raw, protos := []int64{1, 7, 21}, []int64{1, 32, 40, 40}
	tests := map[string]struct {
		task     yolo.Task
		metadata map[string]string
		outputs  [][]int64
		want     []string // in the message
	}{
		"the file's task":                {yolo.Detect, names3("task", "segment"), [][]int64{raw}, []string{"labels.yaml says detect", "file says segment"}},
		"a task nobody knows":            {yolo.Detect, names3("task", "depth"), [][]int64{raw}, []string{"says detect", "says depth"}},
		"a task not served":              {"depth", names3(), [][]int64{raw}, []string{"depth is not served"}},
		"detect, a classifier's output":  {yolo.Detect, names3(), [][]int64{{1, 3}}, []string{"detect", "[1 3]"}},
		"detect, masks":                  {yolo.Detect, names3(), [][]int64{{1, 39, 21}, protos}, []string{"detect", "segmentation"}},
		"detect, too many channels":      {yolo.Detect, names3(), [][]int64{{1, 8, 21}}, []string{"[1, 7, anchors]", "3 classes", "[1 8 21]"}},
		"detect, no box":                 {yolo.Detect, nil, [][]int64{{1, 4, 21}}, []string{"[1 4 21]"}},
		"detect, a batch":                {yolo.Detect, names3(), [][]int64{{2, 7, 21}}, []string{"[2 7 21]"}},
		"detect, nothing":                {yolo.Detect, names3(), nil, []string{"no output"}},
		"detect, old yolov5":             {yolo.Detect, names3(), [][]int64{{1, 25200, 8}}, []string{"[1 25200 8]", "yolov5u"}},
		"end-to-end, raw":                {yolo.Detect, names3("end2end", "True"), [][]int64{raw}, []string{"end-to-end", "[1 7 21]"}},
		"NMS inside, raw":                {yolo.Detect, names3("end2end", "False", "args", "{'nms': True, 'opset': 17}"), [][]int64{raw}, []string{"NMS", "[1 7 21]"}},
		"segment without masks":          {yolo.Segment, names3(), [][]int64{{1, 39, 21}}, []string{"segment", "[[1 39 21]]"}},
		"segment, a detector's rows":     {yolo.Segment, names3(), [][]int64{raw, protos}, []string{"[1, 39, anchors]", "[1 7 21]"}},
		"pose without keypoints":         {yolo.Pose, names3(), [][]int64{raw}, []string{"pose", "kpt_shape"}},
		"pose, keypoints of four values": {yolo.Pose, names3("kpt_shape", "[17, 4]"), [][]int64{{1, 75, 21}}, []string{"kpt_shape"}},
		"pose, other keypoints":          {yolo.Pose, names3("kpt_shape", "[5, 3]"), [][]int64{{1, 58, 84}}, []string{"[1, 22, anchors]", "[1 58 84]"}},
		"obb, a detector's output":       {yolo.OBB, names3(), [][]int64{raw}, []string{"obb", "[1, 8, anchors]", "[1 7 21]"}},
		"obb, an upright end":            {yolo.OBB, names3("end2end", "True"), [][]int64{{1, 300, 6}}, []string{"[1, n, 7]", "[1 300 6]"}},
		"classify, other classes":        {yolo.Classify, names3(), [][]int64{{1, 1000}}, []string{"classify", "3 classes", "[1 1000]"}},
		"classify, a detector":           {yolo.Classify, nil, [][]int64{raw}, []string{"classify", "[1 7 21]"}},
		"classify, nothing":              {yolo.Classify, nil, nil, []string{"no output"}},
		"semantic, logits":               {yolo.Semantic, names3(), [][]int64{{1, 3, 32, 32}}, []string{"semantic", "[1 3 32 32]"}},
		"semantic, nothing":              {yolo.Semantic, names3(), nil, []string{"no output"}},
		"rtdetr, a raw output":           {yolo.Detect, names3("head", "RTDETRDecoder"), [][]int64{{1, 7, 21}}, []string{"RT-DETR", "[1 7 21]"}},
	}
	in := infos([]int64{1, 3, 32, 32})
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := &yolo.Model{ID: "m", Task: tt.task, TaskName: string(tt.task)}
			_, err := newPlan(m, in, infos(tt.outputs...), tt.metadata)
			if err == nil || yolo.CodeOf(err) != yolo.Unsupported {
				t.Fatalf("got %v, want an error", err)
			}
			for _, w := range append(tt.want, "model m") {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q lacks %q", err, w)
				}
			}
		})
	}
}

// TestOutputsAreUnderstood: which rows need suppression, by what is known before
// the first run and by what the run gives.
func TestOutputsAreUnderstood(t *testing.T) {
	tests := map[string]struct {
		layout           layout
		declared, actual []int64
		finished         bool
		rows, classes    int
	}{
		"raw":                        {layout{classes: 3}, []int64{1, 7, 21}, []int64{1, 7, 21}, false, 21, 3},
		"raw, nothing known":         {layout{}, []int64{1, 7, 21}, []int64{1, 7, 21}, false, 21, 3},
		"raw, dynamic":               {layout{classes: 3}, []int64{-1, -1, -1}, []int64{1, 7, 21}, false, 21, 3},
		"finished":                   {layout{classes: 3}, []int64{1, 300, 6}, []int64{1, 300, 6}, true, 300, 3},
		"finished, it says so":       {layout{classes: 3, finished: yes}, []int64{-1, -1, -1}, []int64{1, 300, 6}, true, 300, 3},
		"finished, it denies":        {layout{classes: 3, finished: no}, []int64{1, 300, 6}, []int64{1, 300, 6}, true, 300, 3},
		"an angle, finished":         {layout{classes: 3, extra: 1}, []int64{1, 300, 7}, []int64{1, 300, 7}, true, 300, 3},
		"an angle, seven anchors":    {layout{classes: 3, extra: 1, finished: no}, []int64{1, 8, 7}, []int64{1, 8, 7}, false, 7, 3},
		"an angle, nothing known":    {layout{extra: 1}, []int64{1, 8, 21}, []int64{1, 8, 21}, false, 21, 3},
		"masks, dynamic, end-to-end": {layout{classes: 3, extra: 32, finished: yes}, []int64{-1, -1, -1}, []int64{1, 300, 38}, true, 300, 3},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.layout.model = detector(3)
			if _, err := tt.layout.check(tt.declared); err != nil {
				t.Fatal(err)
			}
			got, err := tt.layout.read(tensor(tt.actual))
			if err != nil {
				t.Fatal(err)
			}
			if got.finished != tt.finished || got.rows != tt.rows || got.classes != tt.classes {
				t.Errorf("finished %v, %d rows, %d classes", got.finished, got.rows, got.classes)
			}
		})
	}
}

func TestRTDETRIsRecognised(t *testing.T) {
	tests := map[string]struct {
		family   string
		metadata map[string]string
		shape    []int64
		want     bool
	}{
		"its head":                {"", names3("head", "RTDETRDecoder"), []int64{1, 300, 6}, true},
		"another head":            {"RT-DETR", names3("head", "Detect", "description", "rtdetr"), []int64{1, 300, 6}, false},
		"its description":         {"", names3("description", "Ultralytics rtdetr-l model trained on coco"), []int64{1, 300, 6}, true},
		"its family":              {"RT_DETR L", names3(), []int64{1, 300, 6}, true},
		"a score per class":       {"", names3(), []int64{1, 300, 7}, true},
		"an end-to-end YOLO":      {"YOLO26", names3("description", "Ultralytics YOLO26n model"), []int64{1, 300, 6}, false},
		"a raw YOLO":              {"", names3(), []int64{1, 7, 8400}, false},
		"as many anchors as rows": {"", names3(), []int64{1, 7, 7}, false},
		"nothing known":           {"", nil, []int64{1, 300, 6}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := &yolo.Model{Family: tt.family}
			if got := isRTDETR(m, readFacts(tt.metadata), [][]int64{tt.shape}); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestInputs(t *testing.T) {
	half := yolo.TensorInfo{Name: "images", DType: yolo.FP16, Shape: []int64{1, 3, 32, 32}}
	ints := yolo.TensorInfo{Name: "images", DType: "ONNX_2", Shape: []int64{1, 3, 32, 32}}
	tests := map[string]struct {
		in   []yolo.TensorInfo
		want string // in the error; "": none
	}{
		"static":          {infos([]int64{1, 3, 32, 32}), ""},
		"dynamic":         {infos([]int64{-1, 3, -1, -1}), ""},
		"halves":          {[]yolo.TensorInfo{half}, ""},
		"integers":        {[]yolo.TensorInfo{ints}, "FP32 or FP16"},
		"grey":            {infos([]int64{1, 1, 32, 32}), "[1,3,height,width]"},
		"a batch":         {infos([]int64{4, 3, 32, 32}), "batch=1"},
		"half dynamic":    {infos([]int64{1, 3, 32, -1}), "both static or both dynamic"},
		"no picture":      {infos([]int64{1, 10}), "expected one picture"},
		"two of them":     {infos([]int64{1, 3, 32, 32}, []int64{1, 3, 32, 32}), "expected one picture"},
		"nothing goes in": {nil, "expected one picture"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := newPlan(detector(1), tt.in, infos([]int64{1, 5, 21}), nil)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestPlacements(t *testing.T) {
	static := input{width: 64, height: 32, stride: 32}
	dynamic := input{stride: 32}
	tests := map[string]struct {
		in                  input
		w, h, size          int
		width, height, left int
	}{
		"static":             {static, 100, 100, 0, 64, 32, 16},
		"static, size asked": {static, 100, 100, 320, 64, 32, 16},
		"dynamic":            {dynamic, 100, 50, 0, 640, 320, 0},
		"dynamic, size":      {dynamic, 100, 50, 64, 64, 32, 0},
		"dynamic, odd size":  {dynamic, 100, 100, 65, 96, 96, 0},
		"a coarse stride":    {input{stride: 64}, 100, 50, 100, 128, 64, 0},
		"stretched":          {input{stride: 32, fitting: stretched}, 100, 50, 0, 640, 640, 0},
		"stretched, size":    {input{stride: 32, fitting: stretched}, 100, 50, 100, 128, 128, 0},
		"cropped":            {input{width: 32, height: 32, fitting: cropped}, 100, 50, 0, 32, 32, 0},
		"cropped, dynamic":   {input{stride: 1, fitting: cropped}, 100, 50, 50, 50, 50, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := tt.in.place(tt.w, tt.h, tt.size)
			if p.Width != tt.width || p.Height != tt.height || p.Left != tt.left || p.SrcW != tt.w || p.SrcH != tt.h {
				t.Errorf("got %+v", p.Fit)
			}
			img := &imaging.Image{Width: tt.w, Height: tt.h, Pix: make([]byte, 3*tt.w*tt.h)}
			p.fill(make([]float32, 3*p.Width*p.Height), img, 0)
			if fit := tt.in.fitter(tt.size); (fit == nil) != (tt.in.fitting == cropped) || fit != nil && fit(tt.w, tt.h) != p.Fit {
				t.Error("the decoder is told otherwise")
			}
		})
	}
}

// A request's NMS chooses between a checkpoint's heads, where the file has two.
func TestHeadFor(t *testing.T) {
	for _, first := range []bool{false, true} {
		second := &yolo.Model{ID: "m/other", OneToOne: !first}
		p := &plan{model: &yolo.Model{ID: "m", OneToOne: first, OtherHead: second}}
		for _, nms := range []*bool{nil, new(false), new(true)} {
			if m := p.headFor(yolo.Request{NMS: nms}); m != p.model {
				t.Errorf("of one head it is %s", m.ID)
			}
		}
		p.other = second
		for nms, want := range map[bool]*yolo.Model{first: second, !first: p.model} {
			if m := p.headFor(yolo.Request{NMS: &nms}); m != want {
				t.Errorf("first one-to-one %v, nms %v: %s", first, nms, m.ID)
			}
		}
		if m := p.headFor(yolo.Request{}); m != p.model {
			t.Errorf("unasked it is %s", m.ID)
		}
	}
}

// A model without labels.yaml has the task that its file says, and is refused if that is
// none we serve; of a file that says nothing it is detection.
func TestTheFileSaysTheTask(t *testing.T) {
	for name, c := range map[string]struct {
		metadata map[string]string
		output   []int64
		want     string // in the message; "": it is served
	}{
		"classify":           {names3("task", "classify"), []int64{1, 3}, ""},
		"detect":             {names3("task", "detect"), []int64{1, 7, 2100}, ""},
		"nothing":            {names3(), []int64{1, 7, 2100}, ""},
		"another task":       {names3("task", "depth"), []int64{1, 1, 320, 320}, "task depth is not served"},
		"not as it is built": {names3("task", "classify"), []int64{1, 7, 2100}, "classify"},
	} {
		m := &yolo.Model{ID: "best"}
		err := Check(m, infos([]int64{1, 3, 320, 320}), infos(c.output), c.metadata)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
		if m.Task != "" {
			t.Errorf("%s: the model was changed", name)
		}
	}
}
