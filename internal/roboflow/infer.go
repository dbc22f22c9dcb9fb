package roboflow

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"time"

	"lazyolo/internal/bodies"
	"lazyolo/yolo"
)

// A task is one of the dialect's, and which models of ours do it.
type task struct {
	name string // in GET /model/registry
	does yolo.Task
	path string // that requests go to; "": no path of the dialect serves it
}

// tasks are the dialect's names for what models do.
func tasks() []task {
	return []task{
		{"object-detection", yolo.Detect, "/infer/object_detection"},
		{"instance-segmentation", yolo.Segment, "/infer/instance_segmentation"},
		{"keypoint-detection", yolo.Pose, "/infer/keypoints_detection"},
		{"classification", yolo.Classify, "/infer/classification"},
		{"oriented-object-detection", yolo.OBB, ""},
		{"semantic-segmentation", yolo.Semantic, ""},
	}
}

// taskOf is what a model does.
func taskOf(m *yolo.Model) task {
	all := tasks()
	i := slices.IndexFunc(all, func(t task) bool { return t.does == m.Task })
	if i < 0 {
		return task{name: string(m.Task), does: m.Task}
	}
	return all[i]
}

// infer answers POST /infer/*.
func (d *Door) infer(w http.ResponseWriter, r *http.Request) error {
	held := d.o.Bodies.Claim()
	defer held.Release()
	body, err := d.readBody(w, r, held)
	if err != nil {
		return err
	}
	a, err := parseInfer(body)
	if err != nil {
		return err
	}
	m, err := d.find(a.model)
	if err != nil {
		return err
	}
	if at := taskOf(m).path; at != r.URL.Path {
		return wrongTask(m, at)
	}
	ctx, cancel := d.deadline(r.Context())
	defer cancel()
	answers, err := d.look(ctx, m, a)
	if err != nil {
		return err
	}
	if a.list {
		return writeJSON(w, http.StatusOK, answers)
	}
	return writeJSON(w, http.StatusOK, answers[0])
}

// wrongTask says where requests for a model go.
func wrongTask(m *yolo.Model, path string) error {
	if path == "" {
		return yolo.Errorf(yolo.Invalid, "model %s does %s, which this API does not have: use /api/v2/detect", m.ID, taskOf(m).name)
	}
	return yolo.Errorf(yolo.Invalid, "model %s does %s: use %s", m.ID, taskOf(m).name, path)
}

// look answers for every picture of a request, one after the other.
func (d *Door) look(ctx context.Context, m *yolo.Model, a *ask) ([]*inference, error) {
	classes, err := classesOf(m, a.only)
	if err != nil {
		return nil, err
	}
	req := yolo.Request{Model: m.ID, Conf: a.conf, IoU: a.iou, MaxDet: a.maxDet, AgnosticNMS: a.agnostic, Classes: classes}
	out := make([]*inference, 0, len(a.pictures))
	for _, p := range a.pictures {
		one, err := d.lookAt(ctx, req, p, a)
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, nil
}

// lookAt answers for one picture, and lets go of it.
func (d *Door) lookAt(ctx context.Context, req yolo.Request, p picture, a *ask) (one *inference, err error) {
	held := d.o.Bodies.Claim()
	defer held.Release()
	if req.Image, err = d.open(ctx, p, held); err != nil {
		return nil, err
	}
	if one, err = d.lookOnce(ctx, req, a); err != nil {
		return nil, ofPicture(p.field, err)
	}
	return one, nil
}

// ofPicture names the picture that is wrong.
func ofPicture(field string, err error) error {
	switch code := yolo.CodeOf(err); code {
	case yolo.Invalid, yolo.TooLarge:
		return &yolo.Error{Code: code, Msg: field + ": " + publicText(err), Err: err}
	}
	return err
}

// open returns the encoded picture: decoded from the body, or fetched.
func (d *Door) open(ctx context.Context, p picture, held *bodies.Claim) ([]byte, error) {
	if p.url {
		b, err := d.fetcher.fetch(ctx, string(p.value), held)
		if err != nil {
			return nil, ofPicture(p.field, err)
		}
		return b, nil
	}
	b, err := decodeBase64(p.value)
	if err != nil {
		return nil, wrong(p.field+".value", "must be base64")
	}
	return b, nil
}

// lookOnce answers for one picture.
func (d *Door) lookOnce(ctx context.Context, req yolo.Request, a *ask) (*inference, error) {
	start := time.Now()
	res, err := d.detector.Detect(ctx, req)
	if err != nil {
		return nil, err
	}
	out := newInference(res, a, time.Since(start))
	if a.draw {
		if out.Visualization, err = d.draw(ctx, req.Image, res); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// draw returns a JPEG of the picture with what was found.
func (d *Door) draw(ctx context.Context, picture []byte, r *yolo.Result) ([]byte, error) {
	if d.o.Render == nil {
		return nil, yolo.Errorf(yolo.Unsupported, "pictures with predictions drawn on them are not available")
	}
	var b bytes.Buffer
	if err := d.o.Render(ctx, &b, "answer.jpg", picture, r); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// classesOf finds the numbers of class names; nil: all.
func classesOf(m *yolo.Model, names []string) ([]int, error) {
	if len(names) == 0 {
		return nil, nil
	}
	numbers := make(map[string][]int, len(m.Labels)) // a name may stand for several
	for n, name := range m.Labels {
		numbers[name] = append(numbers[name], n)
	}
	var out []int
	for _, name := range names {
		if numbers[name] == nil {
			return nil, wrong("class_filter", "has %q, which is no class of model %s: they stand in its labels.yaml", name, m.ID)
		}
		out = append(out, numbers[name]...)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
