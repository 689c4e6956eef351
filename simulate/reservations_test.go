package simulate

import (
	"testing"

	"github.com/rundlet/rundlet/policy/capacity"
)

// TestTheBudgetOfAMachineIsWhatTheLedgerHolds follows one through every reservation
// that it can have.
func TestTheBudgetOfAMachineIsWhatTheLedgerHolds(t *testing.T) {
	r := &reservations{ledger: capacity.NewLedger(policies().capacity()), release: policies().release}
	q := capacity.NewQueue(r.ledger, capacity.QueueConfig{MaxPending: 1})
	m := &machine{id: "m"}
	ask := func(b capacity.Budget) {
		var err error
		if m.ticket, err = q.Ask("a", b); err != nil {
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
		{"a launch for the pool", func() { must(r.warm(m)) }, true, perLaunch, false},
		{"in the pool", func() { r.launched(m) }, true, perSandbox, true},
		{"handed out", func() { must(r.promote(m)) }, false, perSandbox, false},
		{"its start", func() { m.state = creating; ask(perStart) }, false, perLaunch, false},
		{"started", func() { r.launched(m) }, false, perSandbox, true},
		{"paused", func() { r.free(m) }, false, capacity.Budget{}, true},
		{"freed again", func() { r.free(m) }, false, capacity.Budget{}, false},
		{"resumed", func() { m.state = asking; ask(perLaunch) }, false, perLaunch, false},
		{"ended while it is launched", func() { r.free(m) }, false, capacity.Budget{}, true},
		{"found after a crash", func() { r.adopt(m) }, false, perSandbox, false},
	} {
		t.Run(step.name, func(t *testing.T) {
			r.freed = false
			step.do()
			u := r.ledger.Usage()
			held := u.Active
			if step.warm {
				held = u.Warm
			}
			if held != step.want || u.Active.Plus(u.Warm) != step.want || m.budget != step.want || m.warm != step.warm {
				t.Errorf("the ledger has %+v, the machine %+v (warm: %v), want %+v", u, m.budget, m.warm, step.want)
			}
			if r.freed != step.freed {
				t.Errorf("freed is %v", r.freed)
			}
		})
	}
}
