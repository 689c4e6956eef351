package runtime

import (
	"context"
	"errors"
	"testing"
	"time"
)

// A start that is broken off, as by Ctrl-C, knows nothing of what it did not look
// at, and writes nothing about it.
func TestUserDataOutlivesAStartThatIsBrokenOff(t *testing.T) {
	f := newFixture(t)
	var paused []string
	for range 3 {
		sb := f.create(long)
		f.pause(sb.ID)
		paused = append(paused, sb.ID)
	}
	runs := f.create(long)
	f.rt.Close()
	ctx, cancel := context.WithCancel(context.Background())
	f.lookDuring("inspect", cancel)
	if rt, err := Open(ctx, f.cfg); !errors.Is(err, context.Canceled) {
		t.Errorf("a start that was broken off: %v", err)
		if err == nil {
			rt.Close()
		}
	}
	f.lookDuring("inspect", nil)
	for _, id := range paused {
		if row := f.row(id); row.State != string(StatePaused) || !row.QuarantinedAt.IsZero() {
			t.Errorf("%s is %s, quarantined at %s: %s", id, row.State, row.QuarantinedAt, row.Reason)
		}
	}
	f.open()
	defer f.rt.Close()
	for _, id := range append(paused, runs.ID) {
		if _, _, err := f.rt.Connect(context.Background(), id, time.Hour); err != nil {
			t.Error(err)
		}
	}
}
