package bench

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/rundlet/rundlet/substrate/latency"
)

// Host is the stamp of the machine that the figures are from.
type Host struct {
	Time       time.Time `json:"time"`
	Version    string    `json:"version"`
	Driver     string    `json:"driver"`
	Mechanism  string    `json:"mechanism"`
	Kernel     string    `json:"kernel"`
	CPU        string    `json:"cpu"`
	CPUs       int       `json:"cpus"`
	MemoryMiB  int64     `json:"memory_mib"`
	LoadBefore string    `json:"load_before"`
	LoadAfter  string    `json:"load_after"`
}

// Report is a run.
type Report struct {
	Host Host  `json:"host"`
	Rows []Row `json:"rows"`
	// Stages are the samples that the server itself took meanwhile: where the
	// time of a create, a command and a kill goes.
	Stages []latency.Summary `json:"stages"`
}

// WriteText writes the report for people.
func (r Report) WriteText(out io.Writer) error {
	h := r.Host
	fmt.Fprintf(out, "%s  rundlet %s  driver %s (%s)\n", h.Time.Format(time.RFC3339), h.Version, h.Driver, h.Mechanism)
	fmt.Fprintf(out, "%s, %d CPUs, %d MiB, Linux %s, load %s before and %s after\n\n",
		h.CPU, h.CPUs, h.MemoryMiB, h.Kernel, h.LoadBefore, h.LoadAfter)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "milliseconds\tn\tp50\tp95\tp99\t|\tbare\tn\tp50\tp95\tp99\t|\tratio\tlimit\t\t")
	for _, row := range r.Rows {
		limit, verdict := "-", ""
		if row.Limit > 0 {
			limit, verdict = fmt.Sprintf("%.2f", row.Limit), "met"
			if !row.Met {
				verdict = "MISSED"
			}
		}
		o, b := row.Ours, row.Bare
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t|\t%s\t%d\t%s\t%s\t%s\t|\t%.2f\t%s\t%s\t\n", row.Name, o.Count, ms(o.P50), ms(o.P95), ms(o.P99),
			row.BareName, b.Count, ms(b.P50), ms(b.P95), ms(b.P99), row.Ratio, limit, verdict)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out, "\nof which, as the server sampled it, warm-up rounds included")
	w = tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "milliseconds\tn\tp50\tp95\tp99\t")
	for _, s := range r.Stages {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t\n", s.Name, s.Count, ms(s.P50), ms(s.P95), ms(s.P99))
	}
	return w.Flush()
}

func ms(d time.Duration) string {
	return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond))
}
