package reconcile

import (
	"github.com/rundlet/rundlet/sandbox"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/vm"
)

func TestDecisionTable(t *testing.T) {
	alive := Machine{Present: true, Status: vm.StatusRunning, Agent: Yes}
	silent := Machine{Present: true, Status: vm.StatusRunning, Agent: No}
	unasked := Machine{Present: true, Status: vm.StatusRunning}
	frozen := Machine{Present: true, Status: vm.StatusStopped}
	unstarted := Machine{Present: true, Status: vm.StatusCreated}
	exited := Machine{Present: true, Status: vm.StatusStopped, Lost: "oom"}
	lost := Machine{Lost: "the host was restarted"}
	gone := Machine{}
	const cut, saved = false, true // Is the pause snapshot complete?
	row := func(s sandbox.State, snapshot bool) Row { return Row{State: s, Snapshot: snapshot} }
	late := func(s sandbox.State, pause bool) Row { return Row{State: s, Expired: true, PauseOnTimeout: pause} }
	for name, tc := range map[string]struct {
		row     Row
		machine Machine
		noNet   bool
		want    Action
		next    sandbox.State
		reason  string
	}{
		"it runs":                    {row(sandbox.StateRunning, cut), alive, false, Keep, sandbox.StateRunning, ""},
		"agent was not asked":        {row(sandbox.StateRunning, cut), unasked, false, Keep, sandbox.StateRunning, ""},
		"an old snapshot is not it":  {row(sandbox.StateRunning, saved), gone, false, Kill, sandbox.StateKilled, "lost: its machine is gone"},
		"silent":                     {row(sandbox.StateRunning, cut), silent, false, Kill, sandbox.StateKilled, "lost: its agent"},
		"frozen by a snapshot":       {row(sandbox.StateRunning, cut), frozen, false, UndoPause, sandbox.StateRunning, ""},
		"its network is gone":        {row(sandbox.StateRunning, cut), silent, true, Pause, sandbox.StatePaused, "network"},
		"out of memory":              {row(sandbox.StateRunning, cut), exited, false, Kill, sandbox.StateKilled, "lost: oom"},
		"host restarted":             {row(sandbox.StateRunning, cut), lost, true, Kill, sandbox.StateKilled, "lost: the host was restarted"},
		"running, but never started": {row(sandbox.StateRunning, cut), unstarted, false, Kill, sandbox.StateKilled, "lost: its machine never ran"},
		"time is over":               {late(sandbox.StateRunning, false), alive, false, Kill, sandbox.StateKilled, "timeout"},
		"time is over, pause":        {late(sandbox.StateRunning, true), alive, false, Pause, sandbox.StatePaused, "timeout"},
		"time is over, pause, dead":  {late(sandbox.StateRunning, true), exited, false, Kill, sandbox.StateKilled, "lost: oom"},
		"time is over, no network":   {late(sandbox.StateRunning, false), unasked, true, Kill, sandbox.StateKilled, "timeout"},

		"pause complete":              {row(sandbox.StatePausing, saved), frozen, false, FinishPause, sandbox.StatePaused, ""},
		"pause complete, no machine":  {row(sandbox.StatePausing, saved), gone, true, FinishPause, sandbox.StatePaused, ""},
		"pause complete, lost":        {row(sandbox.StatePausing, saved), lost, true, FinishPause, sandbox.StatePaused, ""},
		"pause cut short":             {row(sandbox.StatePausing, cut), frozen, false, UndoPause, sandbox.StateRunning, ""},
		"pause not begun":             {row(sandbox.StatePausing, cut), alive, false, UndoPause, sandbox.StateRunning, ""},
		"pause cut short, time over":  {late(sandbox.StatePausing, false), frozen, false, Pause, sandbox.StatePaused, "once more"},
		"pause cut short, no network": {row(sandbox.StatePausing, cut), frozen, true, Pause, sandbox.StatePaused, "once more"},
		"pause cut short, lost":       {row(sandbox.StatePausing, cut), lost, false, Kill, sandbox.StateKilled, "lost: the host was restarted"},
		"pause not begun, silent":     {row(sandbox.StatePausing, cut), silent, false, Kill, sandbox.StateKilled, "lost: its agent"},

		"pause, snapshot unreadable, lost":   {Row{State: sandbox.StatePausing, Unread: "too many open files"}, lost, false, Quarantine, sandbox.StatePausing, "too many open files"},
		"paused, snapshot unreadable":        {Row{State: sandbox.StatePaused, Unread: "too many open files"}, gone, false, KeepPaused, sandbox.StatePaused, "too many open files"},
		"paused, unreadable, a machine":      {Row{State: sandbox.StatePaused, Unread: "too many open files"}, frozen, false, Quarantine, sandbox.StatePaused, "missing"},
		"resuming, snapshot unreadable":      {Row{State: sandbox.StateResuming, Unread: "too many open files"}, gone, false, BackToPaused, sandbox.StatePaused, "not finished"},
		"resuming, unreadable, a machine":    {Row{State: sandbox.StateResuming, Unread: "too many open files"}, alive, false, Quarantine, sandbox.StatePaused, "missing"},
		"pause, snapshot unreadable, frozen": {Row{State: sandbox.StatePausing, Unread: "too many open files"}, frozen, false, Quarantine, sandbox.StatePausing, "could not be read"},
		"paused":                             {row(sandbox.StatePaused, saved), gone, true, KeepPaused, sandbox.StatePaused, ""},
		"paused, machine left over":          {row(sandbox.StatePaused, saved), frozen, false, BackToPaused, sandbox.StatePaused, ""},
		"paused, snapshot gone":              {row(sandbox.StatePaused, cut), gone, false, Quarantine, sandbox.StatePaused, "snapshot"},
		"paused, only a machine":             {row(sandbox.StatePaused, cut), alive, false, Quarantine, sandbox.StatePaused, "snapshot"},
		"paused, time over":                  {Row{State: sandbox.StatePaused, Snapshot: true, Expired: true}, gone, false, KeepPaused, sandbox.StatePaused, ""},
		"resume half-made":                   {row(sandbox.StateResuming, saved), alive, false, BackToPaused, sandbox.StatePaused, ""},
		"resume not begun":                   {row(sandbox.StateResuming, saved), gone, true, BackToPaused, sandbox.StatePaused, ""},
		"resuming, snapshot gone":            {row(sandbox.StateResuming, cut), alive, false, Quarantine, sandbox.StatePaused, "snapshot"},
		"creating":                           {row(sandbox.StateCreating, cut), alive, false, Kill, sandbox.StateKilled, "lost: its creation"},
		"killing":                            {Row{State: sandbox.StateKilling, Reason: "oom"}, frozen, false, Kill, sandbox.StateKilled, "oom"},
		"killing, reason unknown":            {row(sandbox.StateKilling, cut), gone, false, Kill, sandbox.StateKilled, "lost"},
		"killed, with a machine":             {Row{State: sandbox.StateKilled, Reason: "timeout"}, alive, false, Kill, sandbox.StateKilled, "timeout"},
		"state of a later version":           {row("migrating", saved), alive, false, Quarantine, "migrating", "migrating"},
		"no state":                           {Row{}, alive, false, Quarantine, "", "unknown"},
		"killing, though it could run":       {Row{State: sandbox.StateKilling, Reason: "killed by request", Snapshot: true}, alive, false, Kill, sandbox.StateKilled, "killed by request"},
	} {
		t.Run(name, func(t *testing.T) {
			got := Decide(tc.row, tc.machine, !tc.noNet)
			if got.Action != tc.want || got.Next != tc.next || !strings.Contains(got.Reason, tc.reason) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// every calls f with every combination of the inputs.
func every(f func(Row, Machine, bool)) (n int) {
	truth := []bool{false, true}
	for _, state := range []sandbox.State{sandbox.StateCreating, sandbox.StateRunning, sandbox.StatePausing, sandbox.StatePaused, sandbox.StateResuming, sandbox.StateKilling, sandbox.StateKilled, "migrating", ""} {
		for _, reason := range []string{"", "killed by request"} {
			for _, bits := range [][3]bool{{}, {true}, {false, true}, {true, true}, {false, false, true}, {true, false, true}, {false, true, true}, {true, true, true}} {
				row := Row{State: state, Reason: reason, Snapshot: bits[0], Expired: bits[1], PauseOnTimeout: bits[2]}
				for _, present := range truth {
					for _, status := range []vm.Status{vm.StatusCreated, vm.StatusRunning, vm.StatusStopped, vm.StatusDestroyed, ""} {
						for _, lost := range []string{"", "oom"} {
							for _, agent := range []Answer{Unknown, Yes, No} {
								for _, network := range truth {
									f(row, Machine{present, status, lost, agent}, network)
									n++
								}
							}
						}
					}
				}
			}
		}
	}
	return n
}

func TestEveryCombinationIsDecided(t *testing.T) {
	known := map[Action]bool{Keep: true, Pause: true, FinishPause: true, UndoPause: true, BackToPaused: true, KeepPaused: true, Kill: true, Quarantine: true}
	used := map[Action]bool{}
	n := every(func(row Row, m Machine, network bool) {
		d := Decide(row, m, network)
		used[d.Action] = true
		fail := func(why string) { t.Errorf("%s: %+v %+v network %v: %+v", why, row, m, network, d) }
		answers := m.Present && m.Lost == "" && m.Status == vm.StatusRunning && m.Agent == Yes
		alive := m.Present && m.Lost == "" && m.Status == vm.StatusStopped || answers
		switch {
		case !known[d.Action]:
			fail("unknown action, or one that is not for what a row owns")
		case d.Reason == "" || len(d.Reason) > 200:
			fail("no reason")
		case d.Next.Transitional():
			fail("a transitional state that does not resolve")
		case row.State == sandbox.StateRunning && answers && !row.Expired && d.Action == Kill:
			fail("killed what answers")
		case (row.State == sandbox.StateRunning || row.State == sandbox.StatePausing) && alive && !row.Expired && d.Action == Kill:
			fail("lost a sandbox that could be kept: its machine lives")
		case (row.State == sandbox.StatePausing || row.State == sandbox.StatePaused || row.State == sandbox.StateResuming) && row.Snapshot && d.Next != sandbox.StatePaused:
			fail("lost a sandbox that could be kept: its snapshot is complete")
		case (row.State == sandbox.StatePaused || row.State == sandbox.StateResuming) && d.Action == Kill:
			fail("killed what was paused")
		case row.State == sandbox.StateKilling && d.Action != Kill:
			fail("an end that was begun was not finished")
		case row.State == sandbox.StateKilling && row.Reason != "" && d.Reason != row.Reason:
			fail("the reason of an end was lost")
		case d.Next == sandbox.StateRunning && (!m.Present || m.Lost != "" || !network || d.Action != Keep && d.Action != UndoPause):
			fail("goes on without a machine or a network")
		case d.Next == sandbox.StateRunning && m.Status == vm.StatusStopped && d.Action == Keep:
			fail("exposed while it is frozen")
		case d.Action == Pause && (!m.Present || m.Lost != ""):
			fail("saves what is not there")
		case d.Action == Kill && d.Next != sandbox.StateKilled, d.Action != Kill && d.Next == sandbox.StateKilled && row.State != sandbox.StateKilled:
			fail("killed and not killed")
		case (d.Action == FinishPause || d.Action == BackToPaused || d.Action == KeepPaused) && !row.Snapshot:
			fail("relies on a snapshot that is not there")
		}
	})
	for a := range known {
		if !used[a] {
			t.Errorf("%s is never decided", a)
		}
	}
	t.Logf("%d combinations", n)
}
