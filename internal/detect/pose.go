package detect

import (
	"slices"

	"lazyolo/yolo"
)

// A poseHead reads upright boxes with keypoints.
type poseHead struct {
	layout layout
	number int // keypoints of an object
	values int // of a keypoint: x, y and perhaps visibility
	names  [][]string
}

func newPose(m *yolo.Model, f facts, shapes [][]int64) (head, error) {
	p := poseHead{number: f.keypoints[0], values: f.keypoints[1], names: f.kptNames}
	if p.values != 2 && p.values != 3 {
		return nil, unsupported(m, "task: labels.yaml says %s, but the file does not say how many keypoints it has (metadata kpt_shape): export it with Ultralytics", m.TaskName)
	}
	if p.number == 17 && p.names == nil && len(f.names) == 1 && f.names[0] == "person" {
		p.names = [][]string{cocoKeypoints()} // files older than kpt_names
	}
	if err := noMasks(m, shapes); err != nil {
		return nil, err
	}
	p.layout = layoutOf(m, f, p.number*p.values)
	if len(shapes) == 0 {
		return nil, unsupported(m, "it has no output")
	}
	return p, p.layout.declared(shapes[0])
}

func (p poseHead) decode(out []yolo.Tensor, q query, r *yolo.Result) error {
	t, err := p.layout.read(out[0])
	if err != nil {
		return err
	}
	found := t.boxes(q)
	r.Objects = make([]yolo.Object, len(found))
	points := make([]yolo.Keypoint, len(found)*p.number)
	scale := q.fit.Scale()
	for i, c := range found {
		o := c.object(scale)
		o.Keypoints, points = points[:p.number:p.number], points[p.number:]
		for k := range o.Keypoints {
			at := k * p.values
			o.Keypoints[k] = yolo.Keypoint{Point: scale.Point(t.value(c.row, at), t.value(c.row, at+1)), Visible: -1}
			if p.values == 3 {
				o.Keypoints[k].Visible = t.value(c.row, at+2)
			}
		}
		o.KeypointNames = p.namesOf(c.class)
		r.Objects[i] = o
	}
	return nil
}

// namesOf returns the keypoints' names for a class, or the only list there is.
func (p poseHead) namesOf(class int) []string {
	var list []string
	if class < len(p.names) {
		list = p.names[class]
	} else if len(p.names) == 1 {
		list = p.names[0]
	}
	if len(list) != p.number {
		return nil
	}
	return slices.Clip(list)
}

// cocoKeypoints are the names of the 17 keypoints of COCO's persons.
func cocoKeypoints() []string {
	return []string{
		"nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
		"left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
		"left_knee", "right_knee", "left_ankle", "right_ankle",
	}
}
