package compare

import (
	"cmp"
	"math"
	"slices"
)

// confidence is that of the interval of a ratio. A report has some twenty intervals: of
// those at 95 % one would leave out the truth by chance.
const confidence = 0.99

// Ratio is the new build to the base; below 1 the new one uses less.
type Ratio struct {
	Value float64 `json:"value"`
	// Low and High bound it with 99 % confidence; 0 if there are too few rounds.
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// Sure reports whether the builds differ: 1 is not in the interval.
func (r Ratio) Sure() bool { return r.Low > 1 || r.High > 0 && r.High < 1 }

// ratioOf compares pairs of samples, each of one round. It is nil if there is none.
//
// Both samples of a round were taken one after the other, so what else the machine did
// slows both, and the ratio of a round has less noise than the samples. The estimate is
// that of Hodges and Lehmann: the median of the means of all pairs of logarithms of ratios.
// The interval inverts Wilcoxon's signed-rank test. It assumes that the logarithms are
// symmetric about the truth, which the changing order of the builds gives, and nothing of
// their distribution: single wild rounds have little effect. No random numbers are used, so
// that the same samples give the same interval. Less than eight rounds give none.
func ratioOf(base, now []float64) *Ratio {
	n := min(len(base), len(now))
	if n == 0 || len(base) != len(now) {
		return nil
	}
	logs := make([]float64, n)
	for i := range n {
		if base[i] <= 0 || now[i] <= 0 {
			return nil
		}
		logs[i] = math.Log(now[i] / base[i])
	}
	means := make([]float64, 0, n*(n+1)/2)
	for i := range n {
		for j := i; j < n; j++ {
			means = append(means, (logs[i]+logs[j])/2)
		}
	}
	slices.Sort(means)
	r := &Ratio{Value: math.Exp(median(means))}
	if k := outside(n, (1-confidence)/2); k > 0 {
		r.Low, r.High = math.Exp(means[k-1]), math.Exp(means[len(means)-k])
	}
	return r
}

// median of sorted values.
func median(v []float64) float64 {
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// exact is up to how many rounds the distribution of the signed-rank statistic is
// computed. It is as good as normal then.
const exact = 60

// outside is how many of the sorted means on either side have at most the probability
// tail together; 0 if even the outermost has more.
func outside(n int, tail float64) int {
	total := n * (n + 1) / 2
	if n > exact {
		z := math.Sqrt2 * math.Erfinv(1-2*tail)
		return max(0, int(float64(total)/2-z*math.Sqrt(float64(total)*float64(2*n+1)/12)))
	}
	// p[w] is the probability that the ranks of the positive ones have the sum w: each
	// rank is in the sum or not, as likely.
	p := make([]float64, total+1)
	p[0] = 1
	for rank := 1; rank <= n; rank++ {
		for w := rank * (rank + 1) / 2; w >= 0; w-- {
			p[w] /= 2
			if w >= rank {
				p[w] += p[w-rank] / 2
			}
		}
	}
	sum := 0.0
	for k := range p {
		if sum += p[k]; sum > tail {
			return k
		}
	}
	return 0
}

// Figures summarise the samples of a build, in milliseconds.
type Figures struct {
	N   int     `json:"n"`
	Min float64 `json:"min"`
	P25 float64 `json:"p25"`
	P50 float64 `json:"p50"`
}

// figuresOf uses nearest ranks; nil if there are no samples.
func figuresOf(samples []float64) *Figures {
	if len(samples) == 0 {
		return nil
	}
	s := slices.SortedFunc(slices.Values(samples), cmp.Compare)
	rank := func(part float64) float64 { return s[int(math.Ceil(part*float64(len(s))))-1] }
	return &Figures{N: len(s), Min: s[0], P25: rank(0.25), P50: rank(0.5)}
}
