package simulate

import (
	"testing"
	"time"

	"github.com/rundlet/rundlet/simulate/daemon"
	"github.com/rundlet/rundlet/simulate/world"
)

// crashed runs a busy node up to a crash of the daemon in the middle of work.
func crashed(t *testing.T) *node {
	t.Helper()
	n := newNode(Config{Scenario: Scenario{Rate: 0.5, Life: time.Minute, Pauses: 0.5, Crash: 24 * time.Hour}, Duration: 20 * time.Minute, Seed: 4}, daemon.Default())
	n.start()
	for n.next() {
		n.check()
		states := map[world.State]int{}
		for _, m := range n.Host.Machines {
			states[m.State]++
		}
		if states[world.Running] > 5 && states[world.Ready] > 0 && states[world.Suspended] > 3 && states[world.Pausing] > 0 && states[world.Resuming]+states[world.Creating]+states[world.Launching] > 0 {
			n.crash()
			return n
		}
	}
	t.Fatal("nothing was under way at any time")
	return nil
}

func TestAfterACrashEachMachineBecomesWhatTheRecoveryDecides(t *testing.T) {
	n := crashed(t)
	type was struct {
		state world.State
		harm  world.Harm
		saved bool
		row   bool
		ends  time.Duration
	}
	before := map[string]was{}
	for i, m := range n.Host.Machines { // Of each kind there are some.
		switch {
		case m.State == world.Running && m.Row:
			m.Harm = world.Harm(i % 4)
		case m.State == world.Suspended:
			m.Harm = []world.Harm{world.Unharmed, world.SnapshotGone}[i%2]
		default:
			m.Harm = world.Unharmed
		}
		before[m.ID] = was{m.State, m.Harm, m.Saved, m.Row, m.Ends}
	}
	for n.Down {
		n.next()
		n.check()
	}
	seen := map[world.Harm]int{}
	after := map[string]*world.Machine{}
	for _, m := range n.Host.Machines {
		after[m.ID] = m
	}
	for id, was := range before {
		want := world.Killing // Without a row, not handed out, or ending.
		switch was.state {
		case world.Running:
			seen[was.harm]++
			switch {
			case was.harm == world.MachineGone, was.harm == world.AgentSilent, n.Clock.Now() >= was.ends:
			case was.harm == world.NetworkGone:
				want = world.Pausing
			default:
				want = world.Running
			}
		case world.Pausing:
			want = world.Running
			if was.saved {
				want = world.Pausing // Its machine is ended, and it is paused then.
			}
		case world.Resuming:
			want = world.Pausing
		case world.Suspended:
			seen[was.harm]++
			want = world.Suspended
		}
		if !was.row {
			want = world.Killing
		}
		if got := after[id]; got == nil || got.State != want {
			t.Errorf("%s was %+v and is %+v, want state %d", id, was, got, want)
		}
	}
	for h := world.Unharmed; h <= world.SnapshotGone; h++ {
		if seen[h] == 0 {
			t.Errorf("no sandbox had harm %d", h)
		}
	}
	if n.Record.Quarantined == 0 || n.Record.Lost == 0 || n.Record.Recovered == 0 || n.Record.CleanedUp == 0 {
		t.Errorf("got %+v", n.Record.Counts)
	}
	for n.next() {
		n.check()
	}
	n.checkLeftover()
	if len(n.Record.Broken) > 0 {
		t.Error(n.Record.Broken)
	}
}
