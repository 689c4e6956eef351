package machines

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/rundlet/rundlet/vm"
)

// state checks what queries show of a machine.
func state(t *testing.T, table *Table[*guest], when, id string, status vm.Status, exit string) {
	t.Helper()
	if view, ok := table.View(id); !ok || view.Status != status || view.ExitReason != exit {
		t.Errorf("%s: view %+v %v", when, view, ok)
	}
}

func TestAMachineEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var table Table[*guest]
		m := show(t, &table, "a")
		type end struct {
			reason string
			err    error
		}
		waits := make(chan end, 2)
		wait := func(ctx context.Context) {
			reason, err := table.Wait(ctx, "a")
			waits <- end{reason, err}
		}
		ctx, cancel := context.WithCancel(t.Context())
		go wait(ctx)
		synctest.Wait()
		cancel()
		if got := <-waits; !errors.Is(got.err, context.Canceled) {
			t.Errorf("a wait that is given up: %+v", got)
		}
		go wait(t.Context())
		synctest.Wait()
		table.Ended(m, "exited: 7")
		if got := <-waits; got != (end{"exited: 7", nil}) {
			t.Errorf("waited: %+v", got)
		}
		go wait(ctx) // The end is known, whatever the context says.
		if got := <-waits; got != (end{"exited: 7", nil}) {
			t.Errorf("waited once more: %+v", got)
		}
		state(t, &table, "ended", "a", vm.StatusStopped, "exited: 7")
		table.SetStatus(m, vm.StatusRunning)
		state(t, &table, "ended, then started", "a", vm.StatusStopped, "exited: 7")
		if err := table.Forget("a"); !errors.Is(err, vm.ErrInvalidTransition) {
			t.Errorf("forget what is not destroyed: %v", err)
		}
		state(t, &table, "not forgotten", "a", vm.StatusStopped, "exited: 7")
	})
}

// A machine can end before its creation has succeeded.
func TestAMachineEndsBeforeItIsShown(t *testing.T) {
	var table Table[*guest]
	m := &guest{}
	m.Init("a", "")
	if err := table.Reserve(m); err != nil {
		t.Fatal(err)
	}
	table.Ended(m, "oom")
	if _, ok := table.View("a"); ok {
		t.Error("its end shows it")
	}
	table.Show(m, vm.StatusRunning, none)
	state(t, &table, "shown", "a", vm.StatusStopped, "oom")
	if reason, err := table.Wait(t.Context(), "a"); reason != "oom" || err != nil {
		t.Errorf("waited: %q %v", reason, err)
	}
}

func TestOneCallDestroysAMachine(t *testing.T) {
	var table Table[*guest]
	m := show(t, &table, "a")
	var all sync.WaitGroup
	begun := make(chan bool, 50)
	for range cap(begun) {
		all.Go(func() { begun <- table.BeginDestroy(m) })
	}
	all.Wait()
	close(begun)
	first := 0
	for is := range begun {
		if is {
			first++
		}
	}
	if first != 1 {
		t.Errorf("%d calls destroy it", first)
	}
	table.CancelDestroy(m)
	state(t, &table, "canceled", "a", vm.StatusRunning, "")
	if !table.BeginDestroy(m) || table.BeginDestroy(m) {
		t.Error("it cannot be destroyed after a call that did nothing, or twice")
	}
	table.Ended(m, "signal: killed")
	if reason, err := table.Wait(t.Context(), "a"); reason != "destroyed" || err != nil {
		t.Errorf("waited: %q %v", reason, err)
	}
	// What is left of it is freed by another call.
	table.NotDestroyed(m)
	state(t, &table, "not all is freed", "a", vm.StatusStopped, "destroyed")
	if !table.BeginDestroy(m) {
		t.Error("it cannot be destroyed again")
	}
	table.Destroyed(m)
	state(t, &table, "destroyed", "a", vm.StatusDestroyed, "destroyed")
	if table.BeginDestroy(m) {
		t.Error("it is destroyed once more")
	}
	if err := errors.Join(table.Forget("a"), table.Forget("a")); err != nil {
		t.Errorf("forget: %v", err)
	}
	if _, err := table.Find("stop", "a"); !errors.Is(err, vm.ErrNotFound) {
		t.Errorf("forgotten: %v", err)
	}
	show(t, &table, "a")
}

// A call that comes back late changes nothing of a machine that is destroyed.
func TestADestroyedMachineStaysDestroyed(t *testing.T) {
	var table Table[*guest]
	m := show(t, &table, "a")
	table.BeginDestroy(m)
	table.Ended(m, "signal: killed")
	table.Destroyed(m)
	table.SetStatus(m, vm.StatusRunning)
	state(t, &table, "destroyed, then started", "a", vm.StatusDestroyed, "")
	if err := table.Forget("a"); err != nil {
		t.Error(err)
	}
}

// The reason of an earlier end stays.
func TestAMachineThatHasEndedIsDestroyed(t *testing.T) {
	var table Table[*guest]
	m := show(t, &table, "a")
	table.Ended(m, "oom")
	table.BeginDestroy(m)
	table.NotDestroyed(m)
	state(t, &table, "not all is freed", "a", vm.StatusStopped, "oom")
	if reason, err := table.Wait(t.Context(), "a"); reason != "oom" || err != nil {
		t.Errorf("waited: %q %v", reason, err)
	}
}

func TestFailure(t *testing.T) {
	cause := errors.New("cause")
	already := &vm.Error{Op: "read", ID: "b", Kind: vm.ErrNotFound}
	for name, c := range map[string]struct {
		kind, err, want error
		op              string
	}{
		"kind":             {vm.ErrUnavailable, nil, vm.ErrUnavailable, "stop"},
		"cause":            {nil, cause, cause, "stop"},
		"kind and cause":   {vm.ErrUnavailable, cause, cause, "stop"},
		"an error of vm":   {nil, already, vm.ErrNotFound, "read"},
		"one that wraps":   {nil, fmt.Errorf("x: %w", already), vm.ErrNotFound, "read"},
		"not of its class": {vm.ErrUnavailable, already, vm.ErrNotFound, "read"},
	} {
		var e *vm.Error
		if err := Failure("stop", "a", c.kind, c.err); !errors.Is(err, c.want) || !errors.As(err, &e) || e.Op != c.op {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Failure("stop", "a", nil, nil); err != nil {
		t.Errorf("no failure: %v", err)
	}
}
