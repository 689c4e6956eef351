package runtime

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rundlet/rundlet/sandbox"
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
		if row := f.row(id); row.State != sandbox.StatePaused || !row.QuarantinedAt.IsZero() {
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

// A daemon that dies between the row and the mark of a warm machine that it hands
// out leaves both. The mark must not be what is left when the row is lost.
func TestUserDataOutlivesTheMarkOfAWarmMachine(t *testing.T) {
	f := newFixture(t)
	sb := f.create(long)
	if err := f.rt.machines.Mark(sb.ID); err != nil {
		t.Fatal(err)
	}
	f.restart()
	if marks := f.rt.machines.Marks(); len(marks) != 0 {
		t.Errorf("marks %v", marks)
	}
	f.startWith(f.change(f.copyDatabase(), "DELETE FROM sandboxes"))
	if _, there, err := f.cfg.Driver.Get(context.Background(), sb.ID); err != nil || !there || !f.rt.orphans.Aside(sb.ID) {
		t.Errorf("its machine is there: %t; set aside: %t; %v", there, f.rt.orphans.Aside(sb.ID), err)
	}
}
