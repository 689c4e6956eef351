package live

import (
	"testing"
	"time"
)

func TestTheBackoffGrowsAndIsBounded(t *testing.T) {
	var b backoff
	now := time.Now()
	last := time.Duration(0)
	for range 100 {
		b.failed(now)
		pause := b.until.Sub(now)
		if pause < last || pause > backoffMost || pause < backoffFirst {
			t.Fatalf("%v after %v", pause, last)
		}
		last = pause
	}
	if last != backoffMost {
		t.Errorf("it ends at %v", last)
	}
}
