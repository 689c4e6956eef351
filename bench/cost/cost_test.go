package cost

import (
	"errors"
	"testing"
	"time"
)

func TestProcessorTimeIsKnownOrMissing(t *testing.T) {
	const ms = time.Millisecond
	used := time.Duration(0)
	var missing error
	clock := Clock(func() (time.Duration, error) { used += 3 * ms; return used, missing })
	known := clock.Since(clock.Now())
	if known.Processor != 3*ms || known.Wall < 0 {
		t.Errorf("%+v", known)
	}
	if both := known.Plus(known); both.Processor != 6*ms || both.Part(2).Processor != 3*ms {
		t.Errorf("%+v", both)
	}
	begin := clock.Now()
	used = 0 // It began again.
	again := clock.Since(begin)
	missing = errors.New("no groups")
	for _, c := range []Cost{again, clock.Since(begin), clock.Since(clock.Now()), known.Plus(again), again.Plus(known), again.Part(2)} {
		if c.Processor >= 0 {
			t.Errorf("%+v", c)
		}
	}
	if c := WallOnly(4 * ms).Plus(known).Part(2); c.Wall < 2*ms || c.Processor >= 0 {
		t.Errorf("%+v", c)
	}
}
