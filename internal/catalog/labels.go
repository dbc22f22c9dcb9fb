package catalog

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"lazyolo/yolo"
)

// Limits of a labels.yaml. They are far beyond real ones; what exceeds them is
// not a labels file, and memory must not depend on it.
const (
	maxNames       = 100_000
	maxMarks       = 300_000 // of what separates YAML values, each of which costs some 200 bytes
	maxText        = 1_000   // bytes of a name or another short text
	maxDescription = 64 << 10
	maxInputSize   = 8192
	maxIndex       = 1_000_000_000 // of a class and of id
)

const tasks = "classification, detection, segmentation, classify, detect, segment, pose, obb, semantic"

// labels is the content of a labels.yaml.
type labels struct {
	name, family, version, path, description string
	taskName                                 string
	task                                     yolo.Task
	inputSize                                int // 0: not given
	pin                                      int // -1: not given
	oneToOne                                 bool
	keepAlive                                *time.Duration // nil: not given
	names                                    yolo.Labels
}

// parseLabels reads a labels.yaml; what may be missing is check's matter.
// Unknown keys are allowed: the file belongs to whoever trained the model.
func parseLabels(data []byte) (*labels, *Problem) {
	if !utf8.Valid(data) {
		return nil, &Problem{Field: labelsFile, Msg: "is not UTF-8", Remedy: "save it as UTF-8, for example with iconv -f GB18030 -t UTF-8"}
	}
	if marks(data) > maxMarks {
		return nil, &Problem{Field: labelsFile, Msg: fmt.Sprintf("has more lines and entries than %d names need", maxNames), Remedy: "keep the classes the model has"}
	}
	if l, ok := parsePlain(data); ok {
		return l, nil
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, &Problem{Field: labelsFile, Msg: "is not YAML: " + strings.TrimPrefix(err.Error(), "yaml: "),
			Remedy: "correct that line; indent with spaces, not tabs, and quote texts with a colon in them"}
	}
	if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
		return nil, &Problem{Field: labelsFile, Msg: "is empty", Remedy: "write model_name, version, model_path, task and names into it"}
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, &Problem{Field: labelsFile, Msg: "is not a list of fields", Remedy: "write one field a line, such as task: detection"}
	}
	return readFields(root)
}

// readFields reads the fields of a labels.yaml from its top mapping.
func readFields(root *yaml.Node) (*labels, *Problem) {
	l := &labels{pin: -1}
	lines := make(map[string]int)
	for i := 0; i+1 < len(root.Content); i += 2 {
		key := deref(root.Content[i])
		known, p := l.field(key.Value, deref(root.Content[i+1]))
		if p != nil {
			return nil, p
		}
		if !known {
			continue
		}
		if first := lines[key.Value]; first > 0 {
			return nil, &Problem{Field: key.Value, Msg: fmt.Sprintf("is given twice, on lines %d and %d", first, key.Line), Remedy: "keep one of them"}
		}
		lines[key.Value] = key.Line
	}
	return l, nil
}

// marks counts the bytes that can begin another value, before the parser
// spends memory on them.
func marks(data []byte) int {
	n := 0
	for _, c := range data {
		switch c {
		case '\n', '\r', ',', ':', '[', '{':
			n++
		}
	}
	return n
}

// field reads the field called key, unless labels knows none of that name.
func (l *labels) field(key string, n *yaml.Node) (known bool, p *Problem) {
	switch key {
	case "model_name":
		return true, text(&l.name, key, n, maxText)
	case "model_family":
		return true, text(&l.family, key, n, maxText)
	case "version":
		return true, text(&l.version, key, n, maxText)
	case "model_path":
		return true, text(&l.path, key, n, maxText)
	case "description":
		return true, text(&l.description, key, n, maxDescription)
	case "task":
		return true, l.readTask(n)
	case "input_size":
		return true, l.readInputSize(n)
	case "id":
		return true, l.readID(n)
	case "head":
		return true, l.readHead(n)
	case "keep_alive":
		return true, l.readKeepAlive(n)
	case "names":
		return true, l.readNames(n)
	case "<<":
		return true, &Problem{Field: "<<", Msg: "merges another part of the file, which is not read", Remedy: "write those fields out"}
	}
	return false, nil
}

// check names every required field that is not there at once, so that a file is
// completed in one go.
func (l *labels) check() *Problem {
	var missing []string
	for _, f := range []struct {
		name  string
		there bool
	}{
		{"model_name", l.name != ""}, {"version", l.version != ""}, {"model_path", l.path != ""},
		{"task", l.taskName != ""}, {"names", len(l.names) > 0},
	} {
		if !f.there {
			missing = append(missing, f.name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	p := &Problem{Field: strings.Join(missing, ", "), Msg: "is missing or empty", Remedy: "add it to " + labelsFile}
	if len(missing) > 1 {
		p.Msg, p.Remedy = "are missing or empty", "add them to "+labelsFile
	}
	return p
}

// fillIn completes the labels of the old server's first layout, which named
// neither its only model nor the file.
func (l *labels) fillIn(id, dir string) {
	if l.name == "" {
		l.name = id
	}
	if l.version == "" {
		l.version = "1.0.0"
	}
	if l.taskName == "" {
		l.taskName, l.task = "detection", yolo.Detect
	}
	for _, f := range []string{"best.onnx", "best.pt"} {
		if _, err := os.Lstat(filepath.Join(dir, f)); l.path == "" && err == nil {
			l.path = f
		}
	}
}

// deref follows an alias. One step is enough, and nothing here goes deeper into
// a node than its children, so an alias bomb stays small.
func deref(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// text reads a scalar as its author wrote it: version 1.10 is not 1.1. A field
// without a value is one that is not there.
func text(to *string, field string, n *yaml.Node, limit int) *Problem {
	if n.Tag == "!!null" {
		return nil
	}
	if n.Kind != yaml.ScalarNode {
		return &Problem{Field: field, Msg: fmt.Sprintf("on line %d is not a text", n.Line), Remedy: "write " + field + ": TEXT on one line"}
	}
	if len(n.Value) > limit {
		return &Problem{Field: field, Msg: fmt.Sprintf("on line %d is longer than %d bytes", n.Line, limit), Remedy: "shorten it"}
	}
	*to = strings.TrimSpace(n.Value)
	return nil
}

func (l *labels) readTask(n *yaml.Node) *Problem {
	if p := text(&l.taskName, "task", n, maxText); p != nil || l.taskName == "" {
		return p
	}
	var ok bool
	if l.task, ok = yolo.ParseTask(l.taskName); !ok {
		return &Problem{Field: "task", Msg: fmt.Sprintf("%.100q is not a task", l.taskName), Remedy: "write one of " + tasks}
	}
	return nil
}

// readHead reads which of two heads (YOLOv10, YOLO26) a checkpoint is used with.
func (l *labels) readHead(n *yaml.Node) *Problem {
	var head string
	if p := text(&head, "head", n, maxText); p != nil {
		return p
	}
	switch head {
	case "one2one":
		l.oneToOne = true
	case "", "one2many":
	default:
		return &Problem{Field: "head", Msg: fmt.Sprintf("%.100q is not a head", head), Remedy: "write one2one or one2many, or leave it out"}
	}
	return nil
}

// readKeepAlive reads how long the model stays in memory unused.
func (l *labels) readKeepAlive(n *yaml.Node) *Problem {
	if n.Tag == "!!null" {
		return nil
	}
	d, ok := yolo.ParseKeepAlive(n.Value)
	if n.Kind != yaml.ScalarNode || !ok {
		return &Problem{Field: "keep_alive", Msg: fmt.Sprintf("%.100q is not a keep-alive", n.Value), Remedy: "write " + yolo.KeepAliveAccepts}
	}
	l.keepAlive = &d
	return nil
}

func (l *labels) readID(n *yaml.Node) *Problem {
	if n.Tag == "!!null" {
		return nil
	}
	i, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || i < 0 || i > maxIndex {
		return &Problem{Field: "id", Msg: fmt.Sprintf("%.100q is not a model id", n.Value), Remedy: "write a whole number from 0 on, or leave it out"}
	}
	l.pin = i
	return nil
}

// readInputSize takes 640, "640x640" and [640, 640]. Models are fed squares: of
// two different sides the larger one counts.
func (l *labels) readInputSize(n *yaml.Node) *Problem {
	if n.Tag == "!!null" {
		return nil
	}
	var sides []string
	switch n.Kind {
	case yaml.ScalarNode:
		sides = strings.FieldsFunc(n.Value, func(r rune) bool { return strings.ContainsRune("xX×*", r) })
	case yaml.SequenceNode:
		for _, c := range n.Content {
			sides = append(sides, deref(c).Value)
		}
	}
	bad := &Problem{Field: "input_size", Msg: fmt.Sprintf("%.100q is not a size", strings.Join(sides[:min(len(sides), 4)], "x")),
		Remedy: fmt.Sprintf("write WIDTHxHEIGHT in pixels, such as 640x640, up to %d", maxInputSize)}
	if len(sides) < 1 || len(sides) > 2 {
		return bad
	}
	for _, s := range sides {
		v, err := strconv.Atoi(strings.TrimSpace(s))
		if err != nil || v < 1 || v > maxInputSize {
			return bad
		}
		l.inputSize = max(l.inputSize, v)
	}
	return nil
}

// readNames takes names by class number or as a list from class 0 on. A class
// without a name is left out: its number stands for it.
func (l *labels) readNames(n *yaml.Node) *Problem {
	refuse := func(n *yaml.Node, remedy, format string, args ...any) *Problem {
		return &Problem{Field: "names", Msg: fmt.Sprintf("on line %d ", n.Line) + fmt.Sprintf(format, args...), Remedy: remedy}
	}
	const example = "write one class a line, such as 0: person"
	step := 2
	switch {
	case n.Tag == "!!null":
		return nil
	case n.Kind == yaml.SequenceNode:
		step = 1
	case n.Kind != yaml.MappingNode:
		return refuse(n, example, "is neither a list nor names by number")
	}
	if len(n.Content)/step > maxNames {
		return refuse(n, "keep the classes the model has", "has more than %d entries", maxNames)
	}
	l.names = make(yolo.Labels, len(n.Content)/step)
	for i := 0; i+step <= len(n.Content); i += step {
		class := i
		if step == 2 {
			key := deref(n.Content[i])
			c, err := strconv.Atoi(key.Value)
			if key.Kind != yaml.ScalarNode || err != nil || c < 0 || c > maxIndex {
				return refuse(n.Content[i], example, "has %.100q for a class number", key.Value)
			}
			if _, twice := l.names[c]; twice {
				return refuse(n.Content[i], "keep one of them", "has class %d a second time", c)
			}
			class = c
		}
		name := deref(n.Content[i+step-1])
		switch {
		case name.Kind != yaml.ScalarNode:
			return refuse(n.Content[i], example, "has no text for class %d", class)
		case len(name.Value) > maxText:
			return refuse(n.Content[i], "shorten it", "has a name longer than %d bytes for class %d", maxText, class)
		}
		l.names[class] = name.Value
		if name.Tag == "!!null" {
			l.names[class] = ""
		}
	}
	maps.DeleteFunc(l.names, func(_ int, name string) bool { return name == "" })
	return nil
}
