package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"lazyolo/yolo"
)

// An entry is a complete folder that has no number yet.
type entry struct {
	model *yolo.Model
	pin   int // id of labels.yaml; -1: none
}

// number gives every entry, which come in natural order, its Index: the pinned
// ones theirs, the others the free numbers from 0 on.
func (s *snapshot) number(entries []entry) {
	pinned := make(map[int]*yolo.Model)
	for _, e := range entries {
		if e.pin < 0 {
			continue
		}
		if first, taken := pinned[e.pin]; taken {
			s.problems = append(s.problems, Problem{Folder: e.model.ID, Field: "id",
				Msg:    fmt.Sprintf("pins %d, which %s pins too", e.pin, first.ID),
				Remedy: fmt.Sprintf("give %s or %s another id", first.ID, e.model.ID)})
			continue
		}
		pinned[e.pin] = e.model
		e.model.Index = e.pin
		s.models = append(s.models, e.model)
	}
	next := 0
	for _, e := range entries {
		if e.pin >= 0 {
			continue
		}
		for pinned[next] != nil {
			next++
		}
		e.model.Index = next
		s.models = append(s.models, e.model)
		next++
	}
	s.sort()
}

// sort puts models and problems in their orders.
func (s *snapshot) sort() {
	slices.SortFunc(s.models, func(a, b *yolo.Model) int { return cmp.Compare(a.Index, b.Index) })
	slices.SortStableFunc(s.problems, func(a, b Problem) int { return natural(a.Folder, b.Folder) })
}

// natural compares names with their runs of digits as numbers, and bytes where
// that leaves no difference, so that equal means identical.
func natural(a, b string) int {
	x, y := a, b
	for x != "" && y != "" {
		dx, dy := digits(x), digits(y)
		if dx > 0 && dy > 0 {
			// Without leading zeros the longer number is the larger one,
			// however long it is.
			nx, ny := strings.TrimLeft(x[:dx], "0"), strings.TrimLeft(y[:dy], "0")
			if c := cmp.Or(cmp.Compare(len(nx), len(ny)), cmp.Compare(nx, ny)); c != 0 {
				return c
			}
			x, y = x[dx:], y[dy:]
			continue
		}
		if x[0] != y[0] {
			return cmp.Compare(x[0], y[0])
		}
		x, y = x[1:], y[1:]
	}
	return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(a, b))
}

// digits returns the length of the run of ASCII digits that s starts with.
func digits(s string) int {
	n := 0
	for n < len(s) && '0' <= s[n] && s[n] <= '9' {
		n++
	}
	return n
}
