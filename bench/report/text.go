package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/rundlet/rundlet/policy/latency"
)

// WriteText writes the report for people.
func (r Report) WriteText(out io.Writer) error {
	h := r.Host
	fmt.Fprintf(out, "%s  rundlet %s  driver %s (%s)\n", h.Time.Format(time.RFC3339), h.Version, h.Driver, h.Mechanism)
	fmt.Fprintf(out, "%s, %d CPUs, %d MiB, Linux %s, load %s before and %s after, took %s\n",
		h.CPU, h.CPUs, h.MemoryMiB, h.Kernel, h.LoadBefore, h.LoadAfter, h.Took.Round(time.Second))
	fmt.Fprintln(out, "cpu: processor time in ms of server, client and all processes of sandboxes")
	fmt.Fprintln(out, "sure: the highest percentile that there are samples enough to decide by")
	for _, g := range r.Groups {
		fmt.Fprintf(out, "\n%s: %s (%s, load %s to %s)\n", g.Name, g.Title, g.Took.Round(time.Second), g.LoadBefore, g.LoadAfter)
		if len(g.Rows) > 0 {
			if err := writeRows(out, g.Rows); err != nil {
				return err
			}
		}
		for _, fact := range g.Facts {
			fmt.Fprintf(out, "  %s\n", fact)
		}
		if g.Error != "" {
			fmt.Fprintf(out, "  NOT MEASURED: %s\n", g.Error)
		}
		if err := writeStages(out, g.Stages); err != nil {
			return err
		}
	}
	return writeVerdicts(out, r.Verdicts)
}

func newTable(out io.Writer) *tabwriter.Writer {
	return tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
}

func writeRows(out io.Writer, rows []Row) error {
	w := newTable(out)
	fmt.Fprintln(w, "\tunit\tn\tsure\tp50\tp95\tp99\tmax\tcpu min\tcpu p50\t|\tbare\tn\tp50\tp95\t|\tratio\tlimit\t\t")
	for _, row := range rows {
		o, b := row.Ours, row.Bare
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t|\t", row.Label(), row.Unit, o.Count, o.sure(), number(o.P50), number(o.P95), number(o.P99), number(o.Max), row.Processor.cpu())
		if b.Count > 0 {
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\t|\t", row.BareName, b.Count, number(b.P50), number(b.P95))
		} else {
			fmt.Fprintf(w, "%s\t\t\t\t|\t", row.BareName)
		}
		ratio, limit, verdict := row.verdict()
		fmt.Fprintf(w, "%s\t%s\t%s\t\n", ratio, limit, verdict)
	}
	return w.Flush()
}

// verdict is the last columns of a row.
func (r Row) verdict() (ratio, limit, verdict string) {
	if v := r.Ratio(); v > 0 {
		ratio = fmt.Sprintf("%.2f", v)
	}
	if r.Limit > 0 {
		limit, verdict = fmt.Sprintf("%.2f", r.Limit), "met"
		if !r.Met() {
			verdict = "MISSED"
		}
	}
	return ratio, limit, verdict
}

// cpu is a series of processor times as two columns.
func (s Series) cpu() string {
	if s.Count == 0 {
		return "\t"
	}
	return number(s.Min) + "\t" + number(s.P50)
}

// sure is the percentile that can be decided by, as it is shown.
func (s Series) sure() string {
	if p := s.Decisive(); p > 0 {
		return fmt.Sprintf("p%d", p)
	}
	return "-"
}

func writeStages(out io.Writer, stages []latency.Summary) error {
	if len(stages) == 0 {
		return nil
	}
	fmt.Fprintln(out, "  as the server sampled it, first rounds included, in ms")
	w := newTable(out)
	fmt.Fprintln(w, "\tn\tsure\tp50\tp95\tp99\tmax\t")
	for _, stage := range stages {
		s := ofStage(stage)
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t\n", stage.Name, s.Count, s.sure(), number(s.P50), number(s.P95), number(s.P99), number(s.Max))
	}
	return w.Flush()
}

func writeVerdicts(out io.Writer, verdicts []Verdict) error {
	if len(verdicts) == 0 {
		return nil
	}
	fmt.Fprintln(out, "\nobjectives")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, v := range verdicts {
		result := string(v.Result)
		if v.Result.Fails() {
			result = strings.ToUpper(result)
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", result, v.Objective, v.Limit, v.Detail)
	}
	return w.Flush()
}

// number has the digits that matter.
func number(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 1:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'g', 2, 64)
}
