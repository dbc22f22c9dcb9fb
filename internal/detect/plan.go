package detect

import (
	"fmt"

	"lazyolo/internal/imaging"
	"lazyolo/yolo"
)

// A plan is how one loaded model is fed and understood. It is read-only.
type plan struct {
	model *yolo.Model
	input input
	names names
	head  head
	other *yolo.Model // the checkpoint's other head; nil: it has none

	signature yolo.Signature // as the file says it
}

// headFor is the model that a request's NMS asks for: p's, or its other head.
func (p *plan) headFor(r yolo.Request) *yolo.Model {
	if p.other == nil || r.NMS == nil || *r.NMS == p.other.OneToOne {
		return p.model
	}
	return p.other
}

// A head turns the outputs of one run into objects, probabilities or
// regions, without their names, and adds them to r. It keeps nothing of out.
type head interface {
	decode(out []yolo.Tensor, q query, r *yolo.Result) error
}

// A query is what one request asks of a head.
type query struct {
	conf     float32
	iou      float64
	most     int   // objects
	classes  []int // nil: all
	agnostic bool
	fit      imaging.Fit
}

// newPlan chooses the head for m's task and checks the task against what the file
// says and has. Its errors say what contradicts what.
func newPlan(m *yolo.Model, inputs, outputs []yolo.TensorInfo, metadata map[string]string) (*plan, error) {
	f, whose := readFacts(metadata), m
	if m.Task == "" { // of a file that has no labels.yaml
		m = withTask(m, f)
	} else if said, ok := yolo.ParseTask(f.task); f.task != "" && (!ok || said != m.Task) {
		return nil, unsupported(m, "task: labels.yaml says %s, the model file says %s", m.TaskName, f.task)
	}
	p := &plan{model: whose, names: names{m.Labels, f.names}, signature: yolo.Signature{Inputs: inputs, Outputs: outputs, Metadata: metadata}}
	if f.twoHeaded {
		p.other = whose.OtherHead
	}
	shapes, how := shapesOf(outputs), letterboxed
	var err error
	if m.Task == yolo.Detect || m.Task == yolo.OBB {
		if err := noClassMap(m, inputs, outputs); err != nil {
			return nil, err
		}
	}
	switch m.Task {
	case yolo.Detect:
		if isRTDETR(m, f, shapes) {
			how = stretched
			p.head, err = newRTDETR(m, f, shapes)
		} else {
			p.head, err = newDetect(m, f, shapes)
		}
	case yolo.Segment:
		p.head, err = newSegment(m, f, shapes)
	case yolo.Pose:
		p.head, err = newPose(m, f, shapes)
	case yolo.OBB:
		p.head, err = newOBB(m, f, shapes)
	case yolo.Classify:
		how = cropped
		p.head, err = newClassify(m, f, shapes)
	case yolo.Semantic:
		p.head, err = newSemantic(m, f, shapes, inputs)
	default:
		err = unsupported(m, "task %s is not served", m.TaskName)
	}
	if err != nil {
		return nil, err
	}
	p.input, err = inputOf(m, inputs, f.stride, f.size, how)
	return p, err
}

// withTask is m with the task that its file says, or detection.
func withTask(m *yolo.Model, f facts) *yolo.Model {
	named := *m
	named.TaskName = f.task
	if named.TaskName == "" {
		named.TaskName = string(yolo.Detect)
	}
	named.Task, _ = yolo.ParseTask(named.TaskName)
	return &named
}

// name gives what is in r its names.
func (p *plan) name(r *yolo.Result) {
	for i := range r.Objects {
		r.Objects[i].Name = p.names.of(r.Objects[i].Class)
	}
	for i := range r.Probs {
		r.Probs[i].Name = p.names.of(r.Probs[i].Class)
	}
	for i := range r.Regions {
		r.Regions[i].Name = p.names.of(r.Regions[i].Class)
	}
}

// shapesOf returns the outputs' shapes; -1 is a dimension that a run decides.
func shapesOf(outputs []yolo.TensorInfo) [][]int64 {
	shapes := make([][]int64, len(outputs))
	for i, o := range outputs {
		shapes[i] = o.Shape
	}
	return shapes
}

// unsupported says why a model that opens cannot answer.
func unsupported(m *yolo.Model, format string, args ...any) error {
	return &yolo.Error{Code: yolo.Unsupported, Model: m.ID, Final: true, Msg: fmt.Sprintf("model %s: "+format, append([]any{m.ID}, args...)...)}
}
