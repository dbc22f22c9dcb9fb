package detect

import (
	"cmp"
	"slices"
)

// The constants of Ultralytics' non_max_suppression.
const (
	maxCandidates = 30000 // that enter NMS
	maxObjects    = 300   // that leave it when a request does not say
	classOffset   = 7680  // pixels between the boxes of two classes, so that they never overlap
)

// A rect is four values of a row: x1, y1, x2, y2, or centre and sides, in pixels
// of the network's input.
type rect [4]float32

// A candidate is a box the model proposes.
type candidate struct {
	box   rect
	conf  float32
	class int
	row   int // of the output, where the task's extra values stand
}

// boxes returns what an output of upright boxes proposes for q, corners, best
// first, after suppression unless the export has done it.
func (t table) boxes(q query) []candidate {
	if t.finished {
		return t.over(q)
	}
	found := t.proposals(q)
	for i := range found {
		b := &found[i].box
		halfW, halfH := b[2]/2, b[3]/2
		*b = rect{b[0] - halfW, b[1] - halfH, b[0] + halfW, b[1] + halfH}
	}
	return suppress(found, q)
}

// over takes the rows over the threshold of an output that needs no NMS.
func (t table) over(q query) []candidate {
	var found []candidate
	step := 6 + t.extra
	for i := range t.rows {
		r := t.data[i*step:][:6]
		if r[4] > q.conf && len(found) < q.most && q.wants(r[5]) {
			found = append(found, candidate{rect(r[:4]), r[4], int(r[5]), i})
		}
	}
	return found
}

// wants reports whether the request asks for a class, given as the output has it.
func (q query) wants(class float32) bool {
	if !(class >= 0) { // NaN: no class
		return false
	}
	return q.classes == nil || slices.ContainsFunc(q.classes, func(c int) bool { return float32(c) == class })
}

// block is how many anchors are looked at together: their best scores stay in
// the fastest cache while the rows of the classes pass by.
const block = 512

// proposals keeps each anchor's best class where it scores over the threshold,
// in order of anchors, with its box as the output has it. Data is row-major
// [4+classes+extra][anchors]; only scores over the threshold cost more than a
// comparison.
func (t table) proposals(q query) []candidate {
	var found []candidate
	var best [block]float32
	var class [block]int32
	for from := 0; from < t.rows; from += block {
		n := min(block, t.rows-from)
		if !t.best(best[:n], class[:n], from, q.conf) {
			continue
		}
		for i, s := range best[:n] {
			if s > q.conf && q.wants(float32(class[i])) {
				found = append(found, candidate{t.box(from + i), s, int(class[i]), from + i})
			}
		}
	}
	return found
}

// best finds the best class over conf of the anchors [from, from+len(best)) and
// reports whether there is any; an anchor without one gets the score conf.
func (t table) best(best []float32, class []int32, from int, conf float32) (any bool) {
	for i := range best {
		best[i] = conf
	}
	class = class[:len(best)]
	for c := range t.classes {
		scores := t.data[(4+c)*t.rows+from:][:len(best)]
		for i, s := range scores {
			if s > conf && s > best[i] { // of equal scores the first class wins
				best[i], class[i] = s, int32(c)
				any = true
			}
		}
	}
	return any
}

// sorted puts candidates in order, best first, and keeps as many as NMS takes.
func sorted(found []candidate) []candidate {
	slices.SortStableFunc(found, func(a, b candidate) int { return cmp.Compare(b.conf, a.conf) })
	return found[:min(len(found), maxCandidates)]
}

// suppress is greedy non-maximum suppression per class: from the best candidate
// down, whoever overlaps a kept one of its class by more than the request's iou
// goes. Boxes are moved apart by class and compared in float32, as Ultralytics and
// torchvision do: the rounding decides ties.
func suppress(found []candidate, q query) []candidate {
	found = sorted(found)
	moved := make([]rect, 0, min(len(found), q.most))
	kept := found[:0]
	for _, c := range found {
		at := c.box.moved(q.offset(c.class))
		overlaps := false
		for i, k := range kept {
			if (q.agnostic || k.class == c.class) && float64(overlap(moved[i], at)) > q.iou {
				overlaps = true
				break
			}
		}
		if overlaps {
			continue
		}
		kept, moved = append(kept, c), append(moved, at)
		if len(kept) == q.most {
			break
		}
	}
	return kept
}

// offset is how far the boxes of a class are moved to keep it apart.
func (q query) offset(class int) float32 {
	if q.agnostic {
		return 0
	}
	return float32(class) * classOffset
}

func (b rect) moved(d float32) rect { return rect{b[0] + d, b[1] + d, b[2] + d, b[3] + d} }

// overlap is the intersection of two boxes over their union.
func overlap(a, b rect) float32 {
	w := max(0, min(a[2], b[2])-max(a[0], b[0]))
	h := max(0, min(a[3], b[3])-max(a[1], b[1]))
	inter := w * h
	return inter / (area(a) + area(b) - inter)
}

func area(b rect) float32 { return (b[2] - b[0]) * (b[3] - b[1]) }
