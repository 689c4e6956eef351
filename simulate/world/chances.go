package world

import (
	"math"
	"math/rand/v2"
	"time"
)

// Chances is all that is random in a run. The same seed gives the same draws, as
// long as they are made in the same order.
type Chances struct{ *rand.Rand }

func newChances(seed uint64) Chances {
	return Chances{rand.New(rand.NewPCG(seed, 0x72756e646c6574))}
}

// Happens reports whether something happens that does in a share of all cases.
func (c Chances) Happens(share float64) bool { return c.Float64() < share }

// Spread draws from a lognormal distribution with a median.
func (c Chances) Spread(median time.Duration, sigma float64) time.Duration {
	return time.Duration(float64(median) * math.Exp(c.NormFloat64()*sigma))
}

// Gap draws the time to the next of independent things that are mean apart.
func (c Chances) Gap(mean time.Duration) time.Duration {
	return time.Duration(c.ExpFloat64() * float64(mean))
}

// Pick draws one of few, the first most often.
func (c Chances) Pick(of int) int {
	return int(float64(of) * math.Pow(c.Float64(), 2))
}
