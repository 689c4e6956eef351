// Package rows collects the samples of the rows of a report. It may import bench/cost, bench/report and policy/latency; only
// bench may import it.
package rows

import (
	"fmt"
	"time"

	"github.com/rundlet/rundlet/bench/cost"
	"github.com/rundlet/rundlet/bench/report"
	"github.com/rundlet/rundlet/policy/latency"
)

// Table has the rows of a group in the order in which they were made. The zero value has none. It is for one goroutine.
type Table struct {
	// Silent: what is measured now does not count.
	Silent bool
	// Facts are results without a duration.
	Facts []string

	rows  map[string]*Row
	order []string
}

// Row collects the samples of a report.Row: of ours, of the bare mechanism, and of our processor time.
type Row struct {
	report.Row
	Mine, Other, CPU []float64
}

// Row returns the row of a name and an X, and makes it if it is new.
func (t *Table) Row(name string, x float64, xUnit string) *Row {
	key := fmt.Sprint(name, x, xUnit)
	r := t.rows[key]
	if r == nil {
		r = &Row{Row: report.Row{Name: name, Unit: latency.Milliseconds, X: x, XUnit: xUnit}}
		if t.rows == nil {
			t.rows = map[string]*Row{}
		}
		t.rows[key] = r
		t.order = append(t.order, key)
	}
	return r
}

// Compare names a row of a CDF group, what it is compared with, and the most
// that it may be of it.
func (t *Table) Compare(name, bareName string, limit float64) *Row {
	r := t.Row(name, 0, "")
	r.BareName, r.Limit = bareName, limit
	return r
}

// Ours adds a sample of what this product took.
func (t *Table) Ours(r *Row, c cost.Cost) {
	if t.Silent {
		return
	}
	r.Mine = append(r.Mine, milliseconds(c.Wall))
	if c.Processor >= 0 {
		r.CPU = append(r.CPU, milliseconds(c.Processor))
	}
}

// Bare adds a sample of what the bare mechanism took.
func (t *Table) Bare(r *Row, d time.Duration) {
	if !t.Silent {
		r.Other = append(r.Other, milliseconds(d))
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Fact adds a result without a duration.
func (t *Table) Fact(format string, args ...any) {
	t.Facts = append(t.Facts, fmt.Sprintf(format, args...))
}

// Result returns what the rows came to.
func (t *Table) Result() []report.Row {
	out := make([]report.Row, len(t.order))
	for i, key := range t.order {
		r := t.rows[key]
		r.Row.Ours, r.Row.Bare = report.SeriesOf(r.Mine), report.SeriesOf(r.Other)
		r.Processor = report.SeriesOf(r.CPU)
		out[i] = r.Row
	}
	return out
}
