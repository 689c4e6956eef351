package background

import (
	"context"
	"time"
)

// Every runs tick at an interval until the group is stopped; never if the interval is 0
// or less. Ticks report their failures themselves, so that none ends the loop; one that
// takes longer than the interval delays the next.
func (g *Group) Every(interval time.Duration, tick func(context.Context)) {
	if interval <= 0 {
		return
	}
	g.Go(func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-g.Context().Done():
				return
			case <-ticker.C:
				tick(g.Context())
			}
		}
	})
}
