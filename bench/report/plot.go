package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// The size of a plot, and the frame that its axes leave.
const (
	plotWidth, plotHeight    = 420.0, 200.0
	frameLeft, frameRight    = 52.0, 412.0
	frameTop, frameBottom    = 10.0, 164.0
	barWidth, legendBaseline = 26.0, 194.0
)

// figure is a plot in numbers; the page's template draws it.
type figure struct {
	Title, XLabel string
	Lines         []line
	Bars          []bar
	Marks         []mark
	XTicks        []tick
	YTicks        []tick
}

// line is a series; Class is "ours" or "bare".
type line struct{ Class, Points string }

type bar struct {
	Class      string
	X, Y, W, H float64
	Label      string
}

// mark is a short stroke above a bar.
type mark struct {
	Class     string
	X1, X2, Y float64
	Label     string
}

type tick struct {
	At    float64
	Label string
}

// figures are the plots of a group.
func (g Group) figures() []figure {
	var out []figure
	if g.Plot == PlotCDF {
		for _, row := range g.Rows {
			if row.Ours.Count > 1 {
				out = append(out, cdf(row))
			}
		}
		return out
	}
	for _, rows := range comparable(g.Rows) {
		if g.Plot == PlotLines && len(rows) > 1 {
			out = append(out, overX(rows))
		} else {
			out = append(out, bars(rows))
		}
	}
	return out
}

// comparable shares rows out over plots: those of one name and unit that differ
// by X, and those of one unit that do not.
func comparable(rows []Row) (out [][]Row) {
	at := map[string]int{}
	for _, row := range rows {
		if row.Ours.Count == 0 {
			continue
		}
		key := string(row.Unit)
		if row.XUnit != "" {
			key += "\x00" + row.Name
		}
		i, ok := at[key]
		if !ok {
			i = len(out)
			at[key] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], row)
	}
	return out
}

func axis(v, most, from, to float64) float64 {
	if most <= 0 {
		return from
	}
	return from + (to-from)*math.Min(v/most, 1)
}

// round is the next number above v that reads well.
func round(v float64) float64 {
	if v <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, step := range []float64{1, 1.5, 2, 3, 4, 5, 6, 8} {
		if v <= step*unit {
			return step * unit
		}
	}
	return 10 * unit
}

func ticks(most, from, to float64) (out []tick) {
	for i := range 5 {
		v := most * float64(i) / 4
		out = append(out, tick{axis(v, most, from, to), number(v)})
	}
	return out
}

// cdf is the share of samples at or below a value. It ends where 99 of 100
// samples are: the few above would press the others together.
func cdf(row Row) figure {
	f := figure{Title: row.Name, XLabel: string(row.Unit)}
	most := round(math.Max(row.Ours.P99, row.Bare.P99))
	for _, s := range []struct {
		class string
		Series
	}{{"ours", row.Ours}, {"bare", row.Bare}} {
		if s.Count == 0 {
			continue
		}
		var points strings.Builder
		for i, v := range slices.Sorted(slices.Values(s.Samples)) {
			x := axis(v, most, frameLeft, frameRight)
			for _, share := range []float64{float64(i), float64(i + 1)} {
				fmt.Fprintf(&points, "%.1f,%.1f ", x, axis(share, float64(len(s.Samples)), frameBottom, frameTop))
			}
		}
		f.Lines = append(f.Lines, line{s.class, strings.TrimSpace(points.String())})
	}
	f.XTicks = ticks(most, frameLeft, frameRight)
	for _, percent := range []float64{0, 50, 90, 100} {
		f.YTicks = append(f.YTicks, tick{axis(percent, 100, frameBottom, frameTop), number(percent) + " %"})
	}
	return f
}

// overX is the medians of rows that differ by X, which are put at even
// distances.
func overX(rows []Row) figure {
	f := figure{Title: rows[0].Name + ", median", XLabel: rows[0].XUnit}
	most := 0.0
	for _, row := range rows {
		most = math.Max(most, math.Max(row.Ours.P50, row.Bare.P50))
	}
	most = round(most)
	var ours, bare strings.Builder
	for i, row := range rows {
		x := frameLeft + (frameRight-frameLeft)*(float64(i)+0.5)/float64(len(rows))
		f.XTicks = append(f.XTicks, tick{x, fmt.Sprint(row.X)})
		fmt.Fprintf(&ours, "%.1f,%.1f ", x, axis(row.Ours.P50, most, frameBottom, frameTop))
		if row.Bare.Count > 0 {
			fmt.Fprintf(&bare, "%.1f,%.1f ", x, axis(row.Bare.P50, most, frameBottom, frameTop))
		}
	}
	f.Lines = []line{{"ours", strings.TrimSpace(ours.String())}, {"bare", strings.TrimSpace(bare.String())}}
	f.YTicks = unitTicks(rows[0], most)
	return f
}

// bars has a bar to the median of each row, and marks at the 95th percentile
// and the largest.
func bars(rows []Row) figure {
	f := figure{Title: rows[0].Name, XLabel: rows[0].XUnit}
	most := 0.0
	for _, row := range rows {
		most = math.Max(most, math.Max(row.Ours.Max, row.Bare.Max))
	}
	most = round(most)
	if rows[0].XUnit == "" {
		f.Title = string(rows[0].Unit)
	}
	for i, row := range rows {
		x := frameLeft + (frameRight-frameLeft)*(float64(i)+0.5)/float64(len(rows))
		label := fmt.Sprint(row.X)
		if row.XUnit == "" {
			label = fmt.Sprint(i + 1)
			f.XLabel += fmt.Sprintf("%d %s; ", i+1, row.Name)
		}
		f.XTicks = append(f.XTicks, tick{x, label})
		f.bar("ours", row.Label(), x-barWidth, row.Ours, most)
		f.bar("bare", row.BareName, x, row.Bare, most)
	}
	f.YTicks = unitTicks(rows[0], most)
	return f
}

func (f *figure) bar(class, label string, x float64, s Series, most float64) {
	if s.Count == 0 {
		return
	}
	y := axis(s.P50, most, frameBottom, frameTop)
	f.Bars = append(f.Bars, bar{class, x, y, barWidth - 2, frameBottom - y, label + ": p50 " + number(s.P50)})
	for _, m := range []struct {
		name  string
		value float64
	}{{"p95", s.P95}, {"max", s.Max}} {
		f.Marks = append(f.Marks, mark{class, x, x + barWidth - 2, axis(m.value, most, frameBottom, frameTop), m.name + " " + number(m.value)})
	}
}

func unitTicks(row Row, most float64) []tick {
	out := ticks(most, frameBottom, frameTop)
	out[len(out)-1].Label += " " + string(row.Unit)
	return out
}
