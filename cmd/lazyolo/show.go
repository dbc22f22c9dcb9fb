package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"lazyolo/internal/engine"
	"lazyolo/yolo"
)

// printDetails prints everything of one model, a line for each value; lists below it.
func printDetails(w io.Writer, r row) error {
	var b strings.Builder
	for _, c := range r {
		switch v := c.value.(type) {
		case []string:
			fmt.Fprintf(&b, "%-12s %s\n", c.name, plain(strings.Join(v, "\n"+strings.Repeat(" ", 13))))
		case yolo.Labels:
			fmt.Fprintf(&b, "%-12s %d\n", c.name, len(v))
			for _, class := range slices.Sorted(maps.Keys(v)) {
				fmt.Fprintf(&b, "%12d %s\n", class, plain(v[class]))
			}
		default:
			fmt.Fprintf(&b, "%-12s %s\n", c.name, c.text())
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// folderDetails is what is known of a model beside its row. e may be nil.
func folderDetails(m *yolo.Model, e *engine.Engine) row {
	r := row{{"path", m.Weights, false}}
	for _, c := range []cell{{"family", m.Family, false}, {"description", m.Description, false}} {
		if c.value != "" {
			r = append(r, c)
		}
	}
	if m.InputSize > 0 {
		r = append(r, cell{"input_size", m.InputSize, false})
	}
	if m.KeepAlive != nil {
		r = append(r, cell{"keep_alive", m.KeepAlive.String(), false})
	}
	if e != nil {
		if info, ok := e.Cache().Known(m); ok {
			r = append(r, cell{"inputs", shapes(info.Inputs), false}, cell{"outputs", shapes(info.Outputs), false})
			if err := cannotServe(m, info); err != nil {
				r = append(r, cell{"cannot_serve", err.Error(), false})
			}
		}
	}
	return append(r, cell{"classes", m.Labels, false})
}

// shapes are inputs or outputs in words.
func shapes(infos []yolo.TensorInfo) []string {
	out := []string{}
	for _, t := range infos {
		out = append(out, fmt.Sprintf("%s %s %v", t.Name, t.DType, t.Shape))
	}
	return out
}

// serverDetails asks a server for more of a model than its row has. What it does not
// tell, or not to everybody, is left out.
func serverDetails(ctx context.Context, f listFlags, id string, m servedModel) row {
	var r row
	if m.About != "" {
		r = append(r, cell{"description", m.About, false})
	}
	var plan struct {
		Prepared bool
		Need     float64  `json:"need_mb"`
		Keep     *float64 `json:"keep_mb"`
		Fits     bool
		Error    string
	}
	if askServer(ctx, f, http.MethodPost, "/api/v2/models/"+id+"/load?dry_run=1", &plan) != nil {
		return r
	}
	r = append(r, cell{"prepared", plan.Prepared, false}, cell{"load_mb", plan.Need, true})
	if plan.Keep != nil {
		r = append(r, cell{"loaded_mb", *plan.Keep, true})
	}
	if !plan.Fits {
		r = append(r, cell{"no_room", plan.Error, false})
	}
	if !plan.Prepared { // telling its inputs would prepare it
		return r
	}
	type tensor struct {
		Name  string
		DType yolo.DType `json:"datatype"`
		Shape []int64
	}
	var about struct {
		Inputs, Outputs []tensor
		Properties      struct{ Classes string }
	}
	if askServer(ctx, f, http.MethodGet, "/v2/models/"+url.PathEscape(m.Folder), &about) != nil {
		return r
	}
	infos := func(ts []tensor) []string {
		var out []yolo.TensorInfo
		for _, t := range ts {
			out = append(out, yolo.TensorInfo{Name: t.Name, DType: t.DType, Shape: t.Shape})
		}
		return shapes(out)
	}
	r = append(r, cell{"inputs", infos(about.Inputs), false}, cell{"outputs", infos(about.Outputs), false})
	var labels yolo.Labels
	if json.Unmarshal([]byte(about.Properties.Classes), &labels) == nil && len(labels) > 0 {
		r = append(r, cell{"classes", labels, false})
	}
	return r
}
