package detect

import (
	"math"
	"strconv"
	"strings"

	"lazyolo/yolo"
)

// facts are what a model file says of itself, in Ultralytics' metadata. An older
// or foreign export may say nothing.
type facts struct {
	task      string      // as written; "": not said
	names     yolo.Labels // nil: not said
	finished  answer      // end2end, or NMS in the export
	twoHeaded bool        // the checkpoint has another head
	stride    int         // 0: not said
	size      int         // longer side of the pictures it was trained with; 0: not said
	keypoints [2]int      // number, and values of each (2 or 3); 0: not said
	kptNames  [][]string  // by class
	rtdetr    answer      // the head is RT-DETR's
}

// An answer may be missing.
type answer int8

const (
	unsaid answer = iota
	no
	yes
)

func answerOf(b bool) answer {
	if b {
		return yes
	}
	return no
}

// readFacts understands metadata, and leaves out what it does not understand.
func readFacts(metadata map[string]string) facts {
	f := facts{
		task:   metadata["task"],
		names:  parseNames(metadata["names"]),
		stride: integer(metadata["stride"]),
	}
	f.twoHeaded = metadata["heads"] == "2" // as internal/convert says
	for _, n := range integers(metadata["imgsz"]) {
		if n <= maxImgSz {
			f.size = max(f.size, n)
		}
	}
	if s, ok := metadata["end2end"]; ok {
		f.finished = answerOf(s == "True" || s == "true")
	}
	if _, nms, ok := strings.Cut(metadata["args"], "'nms':"); ok && strings.HasPrefix(strings.TrimSpace(nms), "True") {
		f.finished = yes
	}
	if shape := integers(metadata["kpt_shape"]); len(shape) == 2 {
		f.keypoints = [2]int{shape[0], shape[1]}
	}
	f.kptNames = parseNameLists(metadata["kpt_names"])
	switch head := metadata["head"]; {
	case head != "":
		f.rtdetr = answerOf(head == "RTDETRDecoder")
	case saysRTDETR(metadata["description"]):
		f.rtdetr = yes
	}
	return f
}

// saysRTDETR finds the family's name in a description or a model_family.
func saysRTDETR(s string) bool {
	s = strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(s))
	return strings.Contains(s, "rtdetr")
}

// integer reads a decimal that may be written as a float ("32.0"); 0: none.
func integer(s string) int {
	f, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || math.IsNaN(f) || math.Abs(f) > 1<<30 {
		return 0
	}
	return int(f)
}

// integers reads the positive numbers of a list such as "[17, 3]".
func integers(s string) []int {
	var out []int
	for _, f := range strings.FieldsFunc(s, func(r rune) bool { return r < '0' || r > '9' }) {
		n, err := strconv.Atoi(f)
		if err != nil || n <= 0 || n > 1<<16 {
			return nil
		}
		out = append(out, n)
	}
	return out
}
