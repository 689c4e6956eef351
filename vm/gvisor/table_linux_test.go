package gvisor

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/vm"
)

func shown(t *testing.T, machines *table, id string, status vm.Status, snapshots ...string) *machine {
	t.Helper()
	m, err := machines.reserve(id)
	if err != nil {
		t.Fatal(err)
	}
	if got := machines.show(m, status, func() []string { return snapshots }); got != status {
		t.Fatalf("%s is %s, want %s", id, got, status)
	}
	return m
}

func TestAMachineIsShownWhenItIsMade(t *testing.T) {
	machines := newTable()
	m, err := machines.reserve("a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := machines.reserve("a"); !errors.Is(err, vm.ErrAlreadyExists) {
		t.Errorf("reserved twice: %v", err)
	}
	if _, err := machines.find("test", "a"); !errors.Is(err, vm.ErrNotFound) || len(machines.views()) > 0 {
		t.Errorf("a machine is shown before it is made: %v", err)
	}
	if !machines.keys()[m.key] {
		t.Error("its files are unclaimed")
	}
	machines.show(m, vm.StatusCreated, func() []string { return []string{"s"} })
	if view, ok := machines.viewOf("a"); !ok || view.Status != vm.StatusCreated || !slices.Equal(view.Snapshots, []string{"s"}) {
		t.Errorf("%+v, %v", view, ok)
	}
	machines.release("a")
	if _, err := machines.reserve("a"); err != nil {
		t.Error(err)
	}
}

func TestAMachineThatEndedIsShownAsStopped(t *testing.T) {
	machines := newTable()
	m, err := machines.reserve("a")
	if err != nil {
		t.Fatal(err)
	}
	machines.ended(m, "oom")
	if status := machines.show(m, vm.StatusRunning, func() []string { return nil }); status != vm.StatusStopped {
		t.Errorf("it is %s", status)
	}
	machines.setStatus(m, vm.StatusRunning) // A call that came back late.
	if status, reason := machines.state(m); status != vm.StatusStopped || reason != "oom" {
		t.Errorf("it is %s, %q", status, reason)
	}
	<-m.ended
}

func TestOneCallDestroysAMachine(t *testing.T) {
	machines := newTable()
	m := shown(t, machines, "a", vm.StatusRunning)
	if !machines.beginDestroy(m) || machines.beginDestroy(m) {
		t.Fatal("not exactly one call destroys it")
	}
	machines.cancelDestroy(m)
	if status, reason := machines.state(m); status != vm.StatusRunning || reason != "" || !machines.beginDestroy(m) {
		t.Fatalf("after a call that did nothing it is %s, %q", status, reason)
	}
	machines.ended(m, "signal: killed")
	if m.reason != "destroyed" {
		t.Errorf("it ended for %q", m.reason)
	}
	machines.notDestroyed(m)
	if status, reason := machines.state(m); status != vm.StatusStopped || reason != "destroyed" {
		t.Errorf("after a call that failed it is %s, %q", status, reason)
	}
	if err := machines.forget("a"); !errors.Is(err, vm.ErrInvalidTransition) {
		t.Errorf("forgotten before it was destroyed: %v", err)
	}
	if !machines.beginDestroy(m) {
		t.Fatal("it cannot be destroyed again")
	}
	machines.destroyed(m)
	if err := errors.Join(machines.forget("a"), machines.forget("a")); err != nil {
		t.Error(err)
	}
	if _, ok := machines.viewOf("a"); ok {
		t.Error("it is not forgotten")
	}
}

func TestARenamedMachineHasItsNewIDOnly(t *testing.T) {
	machines := newTable()
	m := shown(t, machines, "a", vm.StatusRunning, "one", "two")
	if _, err := machines.reserve("b"); err != nil {
		t.Fatal(err)
	}
	machines.rename(m, "a", "b")
	if found, err := machines.find("test", "b"); found != m || err != nil {
		t.Errorf("%v, %v", found, err)
	}
	if _, err := machines.find("test", "a"); !errors.Is(err, vm.ErrNotFound) {
		t.Error(err)
	}
	machines.deleted("a", "one") // Of the old id there are none.
	machines.deleted("b", "two")
	machines.saved(m, "three")
	if view := machines.view(m); view.ID != "b" || !slices.Equal(view.Snapshots, []string{"one", "three"}) {
		t.Errorf("%+v", view)
	}
}

func TestAClosedTableTakesNoCalls(t *testing.T) {
	machines := newTable()
	shown(t, machines, "a", vm.StatusRunning)
	if all, first := machines.close(); len(all) != 1 || !first {
		t.Errorf("%v, %v", all, first)
	}
	if all, first := machines.close(); len(all) > 0 || first {
		t.Errorf("the second time: %v, %v", all, first)
	}
	_, found := machines.find("test", "a")
	_, reserved := machines.reserve("b")
	_, acquired := machines.acquire(t.Context(), "test", "a")
	for _, err := range []error{found, reserved, acquired} {
		if !errors.Is(err, vm.ErrUnavailable) || !errors.Is(err, errClosed) {
			t.Errorf("%v", err)
		}
	}
}

// Machines that answer late are waited for while others answer, and no longer.
func TestAnAdoptionWaitsForThoseThatAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := map[string]time.Duration{"quick": time.Millisecond, "slow": 90 * time.Millisecond, "late": 400 * time.Millisecond, "never": time.Hour}
		var found []*adoption
		for id := range answers {
			found = append(found, &adoption{r: record{ID: id}})
		}
		began := time.Now()
		adoptAll(t.Context(), found, func(ctx context.Context, r record) (*machine, error) {
			select {
			case <-time.After(answers[r.ID]):
				return newMachine(r.ID, "key"), nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		// The longest time between two answers is then that of a quiet one.
		if took := time.Since(began); took != answers["late"]+quietFactor*mostGap {
			t.Errorf("it took %v", took)
		}
		for _, a := range found {
			if (a.m != nil) != (a.r.ID != "never") || (a.err != nil) != (a.r.ID == "never") {
				t.Errorf("%s: %v, %v", a.r.ID, a.m, a.err)
			}
		}
	})
}
