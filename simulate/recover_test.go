package simulate

import (
	"testing"
	"time"
)

// crashed runs a busy node up to a crash of the daemon in the middle of work.
func crashed(t *testing.T) *node {
	t.Helper()
	n := newNode(Config{Scenario: Scenario{Rate: 0.5, Life: time.Minute, Pauses: 0.5, Crash: 24 * time.Hour}, Duration: 20 * time.Minute, Seed: 4}, policies())
	n.start()
	for n.next() {
		n.check()
		states := map[state]int{}
		for _, m := range n.host.machines {
			states[m.state]++
		}
		if states[running] > 5 && states[ready] > 0 && states[suspended] > 3 && states[pausing] > 0 && states[resuming]+states[creating]+states[launching] > 0 {
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
		state state
		harm  harm
		saved bool
		row   bool
		ends  time.Duration
	}
	before := map[string]was{}
	for i, m := range n.host.machines { // Of each kind there are some.
		switch {
		case m.state == running && m.row:
			m.harm = harm(i % 4)
		case m.state == suspended:
			m.harm = []harm{unharmed, snapshotGone}[i%2]
		default:
			m.harm = unharmed
		}
		before[m.id] = was{m.state, m.harm, m.saved, m.row, m.ends}
	}
	for n.down {
		n.next()
		n.check()
	}
	seen := map[harm]int{}
	after := map[string]*machine{}
	for _, m := range n.host.machines {
		after[m.id] = m
	}
	for id, was := range before {
		want := killing // Without a row, not handed out, or ending.
		switch was.state {
		case running:
			seen[was.harm]++
			switch {
			case was.harm == machineGone, was.harm == agentSilent, n.clock.Now() >= was.ends:
			case was.harm == networkGone:
				want = pausing
			default:
				want = running
			}
		case pausing:
			want = running
			if was.saved {
				want = pausing // Its machine is ended, and it is paused then.
			}
		case resuming:
			want = pausing
		case suspended:
			seen[was.harm]++
			want = suspended
		}
		if !was.row {
			want = killing
		}
		if got := after[id]; got == nil || got.state != want {
			t.Errorf("%s was %+v and is %+v, want state %d", id, was, got, want)
		}
	}
	for h := unharmed; h <= snapshotGone; h++ {
		if seen[h] == 0 {
			t.Errorf("no sandbox had harm %d", h)
		}
	}
	if n.record.Quarantined == 0 || n.record.Lost == 0 || n.record.Recovered == 0 || n.record.CleanedUp == 0 {
		t.Errorf("got %+v", n.record.Counts)
	}
	for n.next() {
		n.check()
	}
	n.checkLeftover()
	if len(n.record.Broken) > 0 {
		t.Error(n.record.Broken)
	}
}
