package report

import (
	"bytes"
	"encoding/json"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/policy/latency"
)

func repeat(v float64, n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = v
	}
	return out
}

func TestSeriesKeepTheRulesOfSummaries(t *testing.T) {
	var samples []float64
	for i := range 100 {
		samples = append(samples, float64(100-i)+0.25)
	}
	s := SeriesOf(samples)
	if s.Count != 100 || s.Min != 1.25 || s.P50 != 50.25 || s.P95 != 95.25 || s.P99 != 99.25 || s.Max != 100.25 || s.Mean != 50.75 {
		t.Errorf("%+v", s)
	}
	if s.Tier != latency.P95DecisionGrade || s.Decisive() != 95 || samples[0] != 100.25 {
		t.Errorf("tier %s, decisive %d, first %g", s.Tier, s.Decisive(), samples[0])
	}
	if s := SeriesOf(nil); s.Count != 0 || s.Decisive() != 0 {
		t.Errorf("of nothing: %+v", s)
	}
}

func TestARatioNeedsBothSides(t *testing.T) {
	for name, tc := range map[string]struct {
		ours, bare []float64
		limit      float64
		ratio      float64
		met        bool
	}{
		"within":         {repeat(6, 3), repeat(10, 3), 0.6, 0.6, true},
		"above":          {repeat(7, 3), repeat(10, 3), 0.6, 0.7, false},
		"without limit":  {repeat(20, 3), repeat(10, 3), 0, 2, true},
		"nothing bare":   {repeat(1, 3), nil, 1, 0, false},
		"nothing ours":   {nil, repeat(1, 3), 1, 0, false},
		"bare takes 0":   {repeat(1, 3), repeat(0, 3), 1, 0, false},
		"nothing at all": {nil, nil, 0, 0, true},
	} {
		r := Row{Ours: SeriesOf(tc.ours), Bare: SeriesOf(tc.bare), Limit: tc.limit}
		if r.Ratio() != tc.ratio || r.Met() != tc.met {
			t.Errorf("%s: ratio %g, met %t", name, r.Ratio(), r.Met())
		}
	}
}

// hostile is what a host's name of a processor, or an error with a guest's
// output in it, could be.
const hostile = `</title><script>alert(1)</script>"'><img src=x onerror=alert(1)>`

func sample() Report {
	row := func(name string, ours, bare float64) Row {
		return Row{Name: name, Unit: latency.Milliseconds, Ours: SeriesOf(repeat(ours, 40)), BareName: "bare " + hostile, Bare: SeriesOf(repeat(bare, 40)), Limit: 1}
	}
	x := func(r Row, x float64) Row { r.X, r.XUnit = x, "MiB"; return r }
	return Report{
		Host: Host{Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), CPU: hostile, Driver: "gvisor", CPUs: 2, LoadBefore: "1.00", LoadAfter: "2.00"},
		Groups: []Group{
			{Name: "warm", Title: "t", Plot: PlotCDF, Rows: []Row{row("good", 1, 2), row("bad "+hostile, 3, 2)}, Facts: []string{"fact " + hostile},
				Stages: []latency.Summary{latency.Summarise([]time.Duration{time.Millisecond})}},
			{Name: "pause", Title: "t", Plot: PlotLines, Rows: []Row{x(row("pause", 1, 2), 0), x(row("pause", 5, 6), 100)}},
			{Name: "burst", Title: "t", Plot: PlotBars, Rows: []Row{x(row("all", 1, 2), 10), row("other", 1, 1)}, Error: hostile},
		},
		Verdicts: []Verdict{{"first", "p50 < 1 ms", Missed, hostile}, {"second", "", NotApplicable, "none here"}},
	}
}

func TestTextNamesWhatWasMissed(t *testing.T) {
	var b bytes.Buffer
	if err := sample().WriteText(&b); err != nil {
		t.Fatal(err)
	}
	lines := map[string]string{"good": " met", "bad": " MISSED", "first": "MISSED ", "second": "not applicable ", "pause, 100 MiB": " MISSED"}
	if strings.Contains(b.String(), "pause, 100 MiB") {
		lines["pause, 100 MiB"] = " met" // 5 beside 6
	}
	for line := range strings.Lines(b.String()) {
		for what, mark := range lines {
			if strings.HasPrefix(strings.TrimSpace(line), what+" ") && !strings.Contains(line, mark) {
				t.Errorf("no %q in %q", mark, line)
			}
		}
	}
	for _, want := range []string{"NOT MEASURED: " + hostile, "load 1.00 before and 2.00 after", "fact ", "0.83", "p90"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestThePageNeedsNothingElseAndEscapesWhatIsHostile(t *testing.T) {
	var b bytes.Buffer
	if err := sample().WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, never := range []string{"<script", "<img", "<link", "url(", "@import", "http:", "https:", "<no value>", "ZgotmplZ", "NaN"} {
		if strings.Contains(page, never) {
			t.Errorf("the page has %q", never)
		}
	}
	for _, want := range []string{`lang="en"`, "prefers-color-scheme: dark", "color-scheme: light dark", "name=\"viewport\"", "&lt;script&gt;", "MISSED", "not applicable", `scope="row"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	svgs := regexp.MustCompile(`<svg [^>]*>`).FindAllString(page, -1)
	if len(svgs) != 2+1+2 {
		t.Errorf("%d plots: want one for each row of a CDF, one for lines, one for each unit and name of bars", len(svgs))
	}
	for _, svg := range svgs {
		if !strings.Contains(svg, `role="img"`) || !strings.Contains(svg, "aria-label=") {
			t.Errorf("a plot that cannot be read aloud: %s", svg)
		}
	}
	if n := strings.Count(page, "<polyline"); n != 2*2+2 {
		t.Errorf("%d lines: ours and the bare one of each", n)
	}
}

func TestAnEmptyReportIsStillAPage(t *testing.T) {
	for _, write := range []func(Report, io.Writer) error{Report.WriteHTML, Report.WriteText, Report.WriteJSON} {
		var b bytes.Buffer
		if err := write(Report{Groups: []Group{{Name: "x", Plot: PlotLines, Rows: []Row{{Name: "nothing"}}}}}, &b); err != nil || b.Len() == 0 {
			t.Errorf("%v, %d bytes", err, b.Len())
		}
	}
}

func TestJSONHasEverySample(t *testing.T) {
	var b bytes.Buffer
	if err := sample().WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(b.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	row, ok := back.Find("pause", "pause")
	if !ok || len(row.Ours.Samples) != 40 || row.Ours.Tier != latency.P50P90DecisionGrade {
		t.Errorf("%t %+v", ok, row)
	}
}

func TestPlotsStayInTheirFrame(t *testing.T) {
	for _, g := range sample().Groups {
		for _, f := range g.figures() {
			for _, l := range f.Lines {
				for point := range strings.FieldsSeq(l.Points) {
					if !regexp.MustCompile(`^\d+\.\d,\d+\.\d$`).MatchString(point) {
						t.Errorf("%s: point %q", f.Title, point)
					}
				}
			}
			for _, b := range f.Bars {
				if b.Y < frameTop || b.H < 0 || b.Y+b.H > frameBottom || b.X < frameLeft || b.X+b.W > frameRight {
					t.Errorf("%s: bar %+v", f.Title, b)
				}
			}
		}
	}
	for v, want := range map[float64]float64{0: 1, -1: 1, 0.013: 0.015, 1: 1, 7: 8, 9: 10, 123: 150, 950: 1000} {
		if got := round(v); got < want*0.999 || got > want*1.001 {
			t.Errorf("round(%g) = %g, want %g", v, got, want)
		}
	}
}
