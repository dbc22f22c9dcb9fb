package compare

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// Text writes the report as a table for people.
func (r *Report) Text(w io.Writer) error {
	head := []string{"", ""}
	for _, s := range r.Setups {
		head = append(head, s.Name)
	}
	rows := append([][]string{head}, r.rows()...)
	var b strings.Builder
	fmt.Fprintf(&b, "%d models with %.1f MB of weights. %s.\nEach is asked for %s. Memory is the %s.\n\n", r.Models, r.Weights, r.About, r.Picture, r.Memory)
	align(&b, rows)
	b.WriteString("\n")
	for _, s := range r.Setups {
		fmt.Fprintf(&b, "%s: %s.\n", s.Name, s.Does)
	}
	if r.LeftOut != "" {
		fmt.Fprintf(&b, "%s.\n", r.LeftOut)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// rows are the body of the table: what was done, which figure, and one cell a set-up.
// Behind memory stands what it is over the first set-up's.
func (r *Report) rows() [][]string {
	var rows [][]string
	if len(r.Setups) == 0 {
		return nil
	}
	for i, step := range r.Setups[0].Steps {
		what := step.What
		if step.Took > 0 {
			row := []string{what, "time"}
			for _, s := range r.Setups {
				row = append(row, seconds(s.Steps[i].Took))
			}
			rows = append(rows, row)
			what = ""
		}
		row := []string{what, "memory"}
		for _, s := range r.Setups {
			row = append(row, r.saved(s.Steps[i].MB, step.MB))
		}
		rows = append(rows, row)
	}
	row := []string{"highest", "memory"}
	for _, s := range r.Setups {
		row = append(row, r.saved(s.Peak, r.Setups[0].Peak))
	}
	return append(rows, row)
}

// saved is a figure with its distance to the first set-up's.
func (r *Report) saved(mb, first float64) string {
	share := 0.0
	if first > 0 {
		share = math.Round(100 * (mb - first) / first)
	}
	if share == 0 {
		return fmt.Sprintf("%.1f MB", mb)
	}
	return fmt.Sprintf("%.1f MB (%+.0f %%)", mb, share)
}

// seconds is a time as people read it.
func seconds(s float64) string {
	if s < 1 {
		return fmt.Sprintf("%.1f ms", 1000*s)
	}
	return fmt.Sprintf("%.2f s", s)
}

// align writes rows in columns: the first two to the left, figures to the right.
func align(b *strings.Builder, rows [][]string) {
	wide := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			wide[i] = max(wide[i], Columns(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", wide[i]-Columns(cell))
			if i < 2 {
				line.WriteString(cell + pad + "  ")
			} else {
				line.WriteString(pad + cell + "   ")
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}
