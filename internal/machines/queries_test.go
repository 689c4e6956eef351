package machines

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/rundlet/rundlet/vm"
)

func TestQueries(t *testing.T) {
	var table Table[*guest]
	m := show(t, &table, "a", "s1", "s2")
	show(t, &table, "b")
	q := table.Queries()
	views, err := q.List(t.Context())
	if err != nil || len(views) != 2 || views[0].ID != "a" || views[1].ID != "b" {
		t.Errorf("list: %+v %v", views, err)
	}
	if view, ok, err := q.Get(t.Context(), "a"); err != nil || !ok || view.ID != "a" || view.Status != vm.StatusRunning {
		t.Errorf("get: %+v %v %v", view, ok, err)
	}
	if snapshots, ok, err := q.ListSnapshots(t.Context(), "a"); err != nil || !ok || !slices.Equal(snapshots, []string{"s1", "s2"}) {
		t.Errorf("snapshots: %v %v %v", snapshots, ok, err)
	}
	_, got, errGet := q.Get(t.Context(), "none")
	_, listed, errList := q.ListSnapshots(t.Context(), "none")
	if got || listed || errGet != nil || errList != nil {
		t.Errorf("of no machine: %v %v, %v %v", got, listed, errGet, errList)
	}
	if _, err := q.Wait(t.Context(), "none"); !errors.Is(err, vm.ErrNotFound) {
		t.Errorf("wait for no machine: %v", err)
	}
	table.BeginDestroy(m)
	table.Ended(m, "signal: killed")
	table.Destroyed(m)
	if reason, err := q.Wait(t.Context(), "a"); reason != "destroyed" || err != nil {
		t.Errorf("wait: %q %v", reason, err)
	}
	// A call whose context has ended answers nothing and changes nothing.
	ended, end := context.WithCancel(t.Context())
	end()
	_, list := q.List(ended)
	_, _, get := q.Get(ended, "a")
	_, _, snapshots := q.ListSnapshots(ended, "a")
	_, wait := q.Wait(ended, "b")
	for op, err := range map[string]error{"list": list, "get": get, "snapshots": snapshots, "wait": wait, "forget": q.Forget(ended, "a")} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s after the end of its context: %v", op, err)
		}
	}
	state(t, &table, "not forgotten", "a", vm.StatusDestroyed, "")
	if err := q.Forget(t.Context(), "b"); !errors.Is(err, vm.ErrInvalidTransition) {
		t.Errorf("forget a machine that runs: %v", err)
	}
	if err := q.Forget(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	if _, ok, _ := q.Get(t.Context(), "a"); ok {
		t.Error("it is shown after it was forgotten")
	}
}
