package simulate

import (
	"math"
	"math/rand/v2"
	"time"
)

// chances is all that is random in a run. The same seed gives the same draws, as
// long as they are made in the same order.
type chances struct{ *rand.Rand }

func newChances(seed uint64) chances {
	return chances{rand.New(rand.NewPCG(seed, 0x72756e646c6574))}
}

// happens reports whether something happens that does in a share of all cases.
func (c chances) happens(share float64) bool { return c.Float64() < share }

// spread draws from a lognormal distribution with a median.
func (c chances) spread(median time.Duration, sigma float64) time.Duration {
	return time.Duration(float64(median) * math.Exp(c.NormFloat64()*sigma))
}

// gap draws the time to the next of independent things that are mean apart.
func (c chances) gap(mean time.Duration) time.Duration {
	return time.Duration(c.ExpFloat64() * float64(mean))
}

// pick draws one of few, the first most often.
func (c chances) pick(of int) int {
	return int(float64(of) * math.Pow(c.Float64(), 2))
}
