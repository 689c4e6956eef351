package report

import (
	_ "embed"
	"encoding/json"
	"html/template"
	"io"
	"time"
)

//go:embed page.html
var pageText string

// The template escapes by context whatever comes from a machine or a server.
var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"number":  number,
	"figures": Group.figures,
	"stage":   ofStage,
	"sure":    Series.sure,
	"verdict": func(r Row) []string { ratio, limit, verdict := r.verdict(); return []string{ratio, limit, verdict} },
	"seconds": func(d time.Duration) string { return d.Round(time.Second).String() },
	"stamp":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") },
	"frame": func() map[string]float64 {
		return map[string]float64{"W": plotWidth, "H": plotHeight, "L": frameLeft, "R": frameRight, "T": frameTop, "B": frameBottom, "Base": legendBaseline}
	},
	"plus": func(a, b float64) float64 { return a + b },
}).Parse(pageText))

// WriteHTML writes the report as one page that needs nothing else.
func (r Report) WriteHTML(out io.Writer) error { return page.Execute(out, r) }

// WriteJSON writes the report for programs, with every sample.
func (r Report) WriteJSON(out io.Writer) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}
