// Package cost is the wall and processor time of what is measured. It imports nothing of
// this module; only bench and its parts may import it.
package cost

import "time"

// Cost is what something took; Processor is below zero if that is not known.
type Cost struct{ Wall, Processor time.Duration }

// WallOnly is the cost of what other work ran beside.
func WallOnly(d time.Duration) Cost { return Cost{d, -1} }

// Plus is the cost of both.
func (c Cost) Plus(d Cost) Cost {
	if c.Processor < 0 || d.Processor < 0 {
		return WallOnly(c.Wall + d.Wall)
	}
	return Cost{c.Wall + d.Wall, c.Processor + d.Processor}
}

// Part is the share of one of n.
func (c Cost) Part(n int) Cost {
	if c.Processor < 0 {
		return WallOnly(c.Wall / time.Duration(n))
	}
	return Cost{c.Wall / time.Duration(n), c.Processor / time.Duration(n)}
}

// Clock returns the processor time used since some moment, or why it cannot be read.
type Clock func() (time.Duration, error)

// Mark is a moment, from which Since counts.
type Mark struct {
	at        time.Time
	processor time.Duration // below zero if it cannot be read
}

// Now is this moment.
func (c Clock) Now() Mark {
	processor := time.Duration(-1)
	if used, err := c(); err == nil {
		processor = used
	}
	return Mark{time.Now(), processor}
}

// Since is what passed from a moment of the same clock until now.
func (c Clock) Since(begin Mark) Cost {
	wall := time.Since(begin.at)
	if end := c.Now(); begin.processor >= 0 && end.processor >= begin.processor {
		return Cost{wall, end.processor - begin.processor}
	}
	return WallOnly(wall)
}
