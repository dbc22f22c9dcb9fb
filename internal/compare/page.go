package compare

import (
	"bytes"
	"fmt"
	"html/template"
	"slices"
)

// page is a report as a file of its own: no script, nothing from elsewhere.
var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{{.Title}}</title>
<style>
:root{color-scheme:light dark}
body{font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
svg,img{max-width:100%;height:auto}table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .8rem;border-bottom:1px solid color-mix(in srgb,currentColor 20%,transparent);text-align:right}
th:nth-child(-n+2),td:nth-child(-n+2){text-align:left}.scroll{overflow-x:auto}
</style>
<h1>{{.Title}}</h1>
{{range .Text}}<p>{{.}}</p>
{{end}}{{.Chart}}
{{if .Rows}}<div class="scroll"><table><tr>{{range .Head}}<th>{{.}}</th>{{end}}</tr>
{{range .Rows}}<tr>{{range .}}<td>{{.}}</td>{{end}}</tr>
{{end}}</table></div>
{{end}}{{range .Notes}}<p>{{.}}</p>
{{end}}{{if .Picture}}<p><img src="{{.Picture}}" alt="The picture with what was found in it"></p>
{{end}}</html>
`))

// A pageData is what a page shows.
type pageData struct {
	Title   string
	Text    []string
	Chart   template.HTML // an SVG of ours, whose texts are escaped
	Head    []string
	Rows    [][]string
	Notes   []string
	Picture string // file beside the page; "": none
}

func (d pageData) html() ([]byte, error) {
	var b bytes.Buffer
	if err := page.Execute(&b, d); err != nil {
		return nil, fmt.Errorf("write page: %w", err)
	}
	return b.Bytes(), nil
}

// chartOf is an SVG of ours as a part of a page.
func chartOf(svg []byte) template.HTML { return template.HTML(svg) }

// HTML is the report as a page with its picture.
func (r *Report) HTML() ([]byte, error) {
	d := pageData{
		Title: "Memory of " + r.subject(), Text: []string{r.summary()},
		Chart: chartOf(r.SVG()),
		Head:  []string{"", ""}, Rows: r.rows(),
		Notes: []string{"Each model is asked for " + r.Picture + ". Memory is the " + r.Memory + "."},
	}
	for _, s := range r.Setups {
		d.Head = append(d.Head, s.Name)
		d.Notes = append(d.Notes, s.Name+": "+s.Does+".")
	}
	if r.LeftOut != "" {
		d.Notes = append(d.Notes, r.LeftOut+".")
	}
	return d.html()
}

func (r *Report) subject() string { return fmt.Sprintf("%d models", r.Models) }

// summary is what came out, in a paragraph.
func (r *Report) summary() string {
	s := fmt.Sprintf("%d models with %.1f MB of weights. %s.", r.Models, r.Weights, r.About)
	for _, m := range r.Setups {
		start := m.Steps[0]
		s += fmt.Sprintf(" %s: %.0f MB after a start of %s, %.0f MB at most.", m.Name, start.MB, seconds(start.Took), m.Peak)
	}
	return s
}

// SVG is a picture of the memory as models come into use.
func (r *Report) SVG() []byte {
	c := chart{
		title:    "Memory of a server for " + r.subject(),
		subtitle: fmt.Sprintf("Resident, after each model's first answer. %s; %.0f MB of weights.", r.About, r.Weights),
		xLabel:   "models that were asked for", yLabel: "MB", xMax: float64(r.Models),
	}
	for i, m := range r.Setups {
		classes := []string{"eager", "lazy", "budget"}
		l := line{class: classes[i%3]}
		if slices.Contains(classes, m.Name) { // its own colour, whoever is missing
			l.class = m.Name
		}
		for k, mb := range m.Walk {
			l.points = append(l.points, point{float64(k), mb})
		}
		l.name = fmt.Sprintf("%s: %.0f MB", m.Name, m.Walk[len(m.Walk)-1])
		c.lines = append(c.lines, l)
	}
	if r.Budget > 0 {
		c.levels = []level{{fmt.Sprintf("MAX_MEMORY_MB=%.0f", r.Budget), "limit", r.Budget}}
	}
	return c.svg()
}
