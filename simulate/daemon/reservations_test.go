package daemon

import (
	"testing"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/simulate/world"
)

// TestTheBudgetOfAMachineIsWhatTheLedgerHolds follows one through every reservation
// that it can have.
func TestTheBudgetOfAMachineIsWhatTheLedgerHolds(t *testing.T) {
	r := &reservations{ledger: capacity.NewLedger(Default().Capacity()), release: Default().Release}
	q := capacity.NewQueue(r.ledger, capacity.QueueConfig{MaxPending: 1})
	m := &world.Machine{ID: "m"}
	ask := func(b capacity.Budget) {
		var err error
		if m.Ticket, err = q.Ask("a", b); err != nil {
			t.Fatal(err)
		}
		r.admit(m)
	}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		name  string
		do    func()
		warm  bool
		want  capacity.Budget
		freed bool
	}{
		{"a launch for the pool", func() { must(r.warm(m)) }, true, PerLaunch, false},
		{"in the pool", func() { r.launched(m) }, true, PerSandbox, true},
		{"handed out", func() { must(r.promote(m)) }, false, PerSandbox, false},
		{"its start", func() { m.State = world.Creating; ask(perStart) }, false, PerLaunch, false},
		{"started", func() { r.launched(m) }, false, PerSandbox, true},
		{"paused", func() { r.free(m) }, false, capacity.Budget{}, true},
		{"freed again", func() { r.free(m) }, false, capacity.Budget{}, false},
		{"resumed", func() { m.State = world.Asking; ask(PerLaunch) }, false, PerLaunch, false},
		{"ended while it is launched", func() { r.free(m) }, false, capacity.Budget{}, true},
		{"found after a crash", func() { r.adopt(m) }, false, PerSandbox, false},
	} {
		t.Run(step.name, func(t *testing.T) {
			r.freed = false
			step.do()
			u := r.ledger.Usage()
			held := u.Active
			if step.warm {
				held = u.Warm
			}
			if held != step.want || u.Active.Plus(u.Warm) != step.want || m.Budget != step.want || m.Warm != step.warm {
				t.Errorf("the ledger has %+v, the machine %+v (warm: %v), want %+v", u, m.Budget, m.Warm, step.want)
			}
			if r.freed != step.freed {
				t.Errorf("freed is %v", r.freed)
			}
		})
	}
}
