package compare

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"
)

// WriteJSON writes the report for programs.
func (r Report) WriteJSON(out io.Writer) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteText writes the report for people.
func (r Report) WriteText(out io.Writer) error {
	fmt.Fprintf(out, "%s, then %s, in %d rounds of alternating order, %s; milliseconds\n", r.Base, r.New, r.Rounds, r.Took.Round(time.Second))
	fmt.Fprintf(out, "processor: of the daemon and all processes of its sandboxes; ratio: %s to %s, and in brackets where it is with %g %% confidence\n",
		r.New, r.Base, 100*r.Confidence)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\twall min, p25, p50\t\tratio\t\tprocessor min, p25, p50\t\tratio\t\t\n")
	fmt.Fprintf(w, "\t%[1]s\t%[2]s\t\t\t%[1]s\t%[2]s\t\t\t\n", r.Base, r.New)
	for _, row := range r.Rows {
		fmt.Fprintf(w, "%s\t%s%s\n", row.Name, row.Wall, row.Processor)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, fact := range r.Facts {
		if _, err := fmt.Fprintln(out, fact); err != nil {
			return err
		}
	}
	return nil
}

// String is a pair as four columns.
func (p Pair) String() string {
	ratio, verdict := "-", ""
	if r := p.Ratio; r != nil {
		ratio = fmt.Sprintf("%.2f", r.Value)
		if r.High > 0 {
			ratio += fmt.Sprintf(" [%.2f %.2f]", r.Low, r.High)
		}
		switch {
		case r.Sure() && r.Value < 1:
			verdict = "LESS"
		case r.Sure():
			verdict = "MORE"
		}
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s\t", p.Base, p.New, ratio, verdict)
}

// String is the figures as one column.
func (f *Figures) String() string {
	if f == nil {
		return "-"
	}
	return number(f.Min) + " " + number(f.P25) + " " + number(f.P50)
}

func number(v float64) string {
	if v >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'f', 1, 64)
}
