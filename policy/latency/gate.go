package latency

import (
	"fmt"
	"math"
)

// Unit is what a figure counts.
type Unit string

// The units of objectives.
const (
	Milliseconds Unit = "ms"
	Percent      Unit = "percent"
	MiB          Unit = "MiB"
	Bytes        Unit = "bytes"
	Hertz        Unit = "Hz"
)

// SLO is an objective: the most that two percentiles of a metric may be, in its
// unit. Equal passes; 0 leaves the percentile free.
type SLO struct {
	Metric string
	Unit   Unit
	Family Family
	P50Max float64
	P95Max float64
}

// Figure is what a gate needs to know about a metric.
type Figure struct {
	Metric string  `json:"metric"`
	Unit   Unit    `json:"unit"`
	Count  int     `json:"count"`
	P50    float64 `json:"p50"`
	P95    float64 `json:"p95"`
}

// Kind is what is wrong with a metric.
type Kind string

// The kinds of findings.
const (
	MissingMetric       Kind = "missing_metric"
	WrongShape          Kind = "wrong_shape" // another unit, figures that cannot be, or twice there
	InsufficientSamples Kind = "insufficient_samples"
	P50Exceeded         Kind = "p50_exceeded"
	P95Exceeded         Kind = "p95_exceeded"
)

// Finding is an objective that is not met, or that cannot be judged.
type Finding struct {
	Metric string `json:"metric"`
	Kind   Kind   `json:"kind"`
	Detail string `json:"detail"`
}

// Gate judges figures by objectives. No finding means that every objective is
// shown to be met: a metric that was not measured, or not often enough for the
// percentile, is a finding too. The order is that of slos.
func Gate(slos []SLO, figures []Figure) []Finding {
	byName := map[string][]Figure{}
	for _, f := range figures {
		name := Canonical(f.Metric)
		byName[name] = append(byName[name], f)
	}
	var out []Finding
	for _, slo := range slos {
		out = append(out, slo.judge(byName[Canonical(slo.Metric)])...)
	}
	return out
}

func (o SLO) judge(measured []Figure) []Finding {
	finding := func(kind Kind, format string, args ...any) Finding {
		return Finding{Metric: o.Metric, Kind: kind, Detail: fmt.Sprintf(format, args...)}
	}
	if len(measured) == 0 || len(measured) == 1 && measured[0].Count == 0 {
		return []Finding{finding(MissingMetric, "no samples")}
	}
	f := measured[0]
	switch {
	case len(measured) > 1:
		return []Finding{finding(WrongShape, "measured %d times", len(measured))}
	case f.Unit != o.Unit:
		return []Finding{finding(WrongShape, "in %s, not %s", f.Unit, o.Unit)}
	case !f.possible():
		return []Finding{finding(WrongShape, "%d samples, p50 %g, p95 %g", f.Count, f.P50, f.P95)}
	}
	var out []Finding
	for _, p := range []struct {
		percentile int
		got, most  float64
		kind       Kind
	}{{50, f.P50, o.P50Max, P50Exceeded}, {95, f.P95, o.P95Max, P95Exceeded}} {
		need := o.Family.samplesFor(p.percentile)
		switch {
		case p.most == 0:
		case f.Count < need:
			out = append(out, finding(InsufficientSamples, "%d samples, p%d needs %d", f.Count, p.percentile, need))
		case p.got > p.most:
			out = append(out, finding(p.kind, "%g %s, more than %g", p.got, o.Unit, p.most))
		}
	}
	return out
}

// possible reports whether the figures can be those of a measurement.
func (f Figure) possible() bool {
	return f.Count > 0 && f.P50 >= 0 && f.P50 <= f.P95 && !math.IsInf(f.P95, 0)
}
