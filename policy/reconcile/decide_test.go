package reconcile

import (
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
	row := func(s State, snapshot bool) Row { return Row{State: s, Snapshot: snapshot} }
	late := func(s State, pause bool) Row { return Row{State: s, Expired: true, PauseOnTimeout: pause} }
	for name, tc := range map[string]struct {
		row     Row
		machine Machine
		noNet   bool
		want    Action
		next    State
		reason  string
	}{
		"it runs":                    {row(Running, cut), alive, false, Keep, Running, ""},
		"nobody asked its agent":     {row(Running, cut), unasked, false, Keep, Running, ""},
		"an old snapshot is not it":  {row(Running, saved), gone, false, Kill, Killed, "lost: its machine is gone"},
		"silent":                     {row(Running, cut), silent, false, Kill, Killed, "lost: its agent"},
		"frozen by a snapshot":       {row(Running, cut), frozen, false, UndoPause, Running, ""},
		"its network is gone":        {row(Running, cut), silent, true, Pause, Paused, "network"},
		"out of memory":              {row(Running, cut), exited, false, Kill, Killed, "lost: oom"},
		"host restarted":             {row(Running, cut), lost, true, Kill, Killed, "lost: the host was restarted"},
		"running, but never started": {row(Running, cut), unstarted, false, Kill, Killed, "lost: its machine never ran"},
		"time is over":               {late(Running, false), alive, false, Kill, Killed, "timeout"},
		"time is over, pause":        {late(Running, true), alive, false, Pause, Paused, "timeout"},
		"time is over, pause, dead":  {late(Running, true), exited, false, Kill, Killed, "lost: oom"},
		"time is over, no network":   {late(Running, false), unasked, true, Kill, Killed, "timeout"},

		"pause complete":              {row(Pausing, saved), frozen, false, FinishPause, Paused, ""},
		"pause complete, no machine":  {row(Pausing, saved), gone, true, FinishPause, Paused, ""},
		"pause complete, lost":        {row(Pausing, saved), lost, true, FinishPause, Paused, ""},
		"pause cut short":             {row(Pausing, cut), frozen, false, UndoPause, Running, ""},
		"pause not begun":             {row(Pausing, cut), alive, false, UndoPause, Running, ""},
		"pause cut short, time over":  {late(Pausing, false), frozen, false, Pause, Paused, "once more"},
		"pause cut short, no network": {row(Pausing, cut), frozen, true, Pause, Paused, "once more"},
		"pause cut short, lost":       {row(Pausing, cut), lost, false, Kill, Killed, "lost: the host was restarted"},
		"pause not begun, silent":     {row(Pausing, cut), silent, false, Kill, Killed, "lost: its agent"},

		"pause, snapshot unreadable, lost":   {Row{State: Pausing, Unread: "too many open files"}, lost, false, Quarantine, Pausing, "too many open files"},
		"paused, snapshot unreadable":        {Row{State: Paused, Unread: "too many open files"}, gone, false, KeepPaused, Paused, "too many open files"},
		"paused, unreadable, a machine":      {Row{State: Paused, Unread: "too many open files"}, frozen, false, Quarantine, Paused, "missing"},
		"resuming, snapshot unreadable":      {Row{State: Resuming, Unread: "too many open files"}, gone, false, BackToPaused, Paused, "not finished"},
		"resuming, unreadable, a machine":    {Row{State: Resuming, Unread: "too many open files"}, alive, false, Quarantine, Paused, "missing"},
		"pause, snapshot unreadable, frozen": {Row{State: Pausing, Unread: "too many open files"}, frozen, false, Quarantine, Pausing, "could not be read"},
		"paused":                             {row(Paused, saved), gone, true, KeepPaused, Paused, ""},
		"paused, machine left over":          {row(Paused, saved), frozen, false, BackToPaused, Paused, ""},
		"paused, snapshot gone":              {row(Paused, cut), gone, false, Quarantine, Paused, "snapshot"},
		"paused, only a machine":             {row(Paused, cut), alive, false, Quarantine, Paused, "snapshot"},
		"paused, time over":                  {Row{State: Paused, Snapshot: true, Expired: true}, gone, false, KeepPaused, Paused, ""},
		"resume half-made":                   {row(Resuming, saved), alive, false, BackToPaused, Paused, ""},
		"resume not begun":                   {row(Resuming, saved), gone, true, BackToPaused, Paused, ""},
		"resuming, snapshot gone":            {row(Resuming, cut), alive, false, Quarantine, Paused, "snapshot"},
		"creating":                           {row(Creating, cut), alive, false, Kill, Killed, "lost: its creation"},
		"killing":                            {Row{State: Killing, Reason: "oom"}, frozen, false, Kill, Killed, "oom"},
		"killing, nobody says why":           {row(Killing, cut), gone, false, Kill, Killed, "lost"},
		"killed, with a machine":             {Row{State: Killed, Reason: "timeout"}, alive, false, Kill, Killed, "timeout"},
		"state of a later version":           {row("migrating", saved), alive, false, Quarantine, "migrating", "migrating"},
		"no state":                           {Row{}, alive, false, Quarantine, "", "unknown"},
		"killing, though it could run":       {Row{State: Killing, Reason: "killed by request", Snapshot: true}, alive, false, Kill, Killed, "killed by request"},
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
	for _, state := range []State{Creating, Running, Pausing, Paused, Resuming, Killing, Killed, "migrating", ""} {
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
		case row.State == Running && answers && !row.Expired && d.Action == Kill:
			fail("killed what answers")
		case (row.State == Running || row.State == Pausing) && alive && !row.Expired && d.Action == Kill:
			fail("lost a sandbox that could be kept: its machine lives")
		case (row.State == Pausing || row.State == Paused || row.State == Resuming) && row.Snapshot && d.Next != Paused:
			fail("lost a sandbox that could be kept: its snapshot is complete")
		case (row.State == Paused || row.State == Resuming) && d.Action == Kill:
			fail("killed what was paused")
		case row.State == Killing && d.Action != Kill:
			fail("an end that was begun was not finished")
		case row.State == Killing && row.Reason != "" && d.Reason != row.Reason:
			fail("the reason of an end was lost")
		case d.Next == Running && (!m.Present || m.Lost != "" || !network || d.Action != Keep && d.Action != UndoPause):
			fail("goes on without a machine or a network")
		case d.Next == Running && m.Status == vm.StatusStopped && d.Action == Keep:
			fail("exposed while it is frozen")
		case d.Action == Pause && (!m.Present || m.Lost != ""):
			fail("saves what is not there")
		case d.Action == Kill && d.Next != Killed, d.Action != Kill && d.Next == Killed && row.State != Killed:
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
