package machines

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/vm"
)

// guest is a driver's type of a machine.
type guest struct {
	Machine
	data int // Of the holder of its turn.
}

func none(string) []string { return nil }

// show adds a machine that runs.
func show(t *testing.T, table *Table[*guest], id string, snapshots ...string) *guest {
	t.Helper()
	m := &guest{}
	m.Init(id, "")
	if err := table.Reserve(m); err != nil {
		t.Fatal(err)
	}
	table.Show(m, vm.StatusRunning, func(of string) []string {
		if of != id {
			t.Errorf("the snapshots of %q are listed", of)
		}
		return snapshots
	})
	return m
}

func TestAMachineIsShownOnceItIsThere(t *testing.T) {
	var table Table[*guest]
	m := &guest{}
	m.Init("a", "")
	if err := table.Reserve(m); err != nil {
		t.Fatal(err)
	}
	hidden := func(when string) {
		t.Helper()
		if _, err := table.Find("pause", "a"); !errors.Is(err, vm.ErrNotFound) {
			t.Errorf("%s: %v", when, err)
		}
		if _, ok := table.View("a"); ok || len(table.Views()) > 0 {
			t.Errorf("%s: queries show it", when)
		}
		if _, err := table.Wait(t.Context(), "a"); !errors.Is(err, vm.ErrNotFound) {
			t.Errorf("%s: wait: %v", when, err)
		}
	}
	hidden("reserved")
	if all := table.All(); len(all) != 1 || all[0] != m {
		t.Errorf("all are %v", all)
	}
	other := &guest{}
	other.Init("a", "")
	if err := table.Reserve(other); !errors.Is(err, vm.ErrAlreadyExists) {
		t.Errorf("an id that is used: %v", err)
	}
	table.Release(m)
	hidden("released")
	if m.Key == other.Key || len(m.Key) != 16 {
		t.Errorf("keys %q and %q", m.Key, other.Key)
	}
	if err := table.Reserve(other); err != nil {
		t.Errorf("an id that was released: %v", err)
	}
	table.Show(other, vm.StatusRunning, none)
	found, err := table.Find("pause", "a")
	if err != nil || found != other {
		t.Errorf("found %p: %v", found, err)
	}
	again := &guest{}
	if again.Init("b", "of an earlier process"); again.Key != "of an earlier process" {
		t.Errorf("key %q", again.Key)
	}
}

func TestViews(t *testing.T) {
	var table Table[*guest]
	for _, id := range []string{"c", "a", "b"} {
		show(t, &table, id, id+"1")
	}
	a, _ := table.Find("save", "a")
	table.Saved(a, "a2")
	views := table.Views()
	if ids := []string{views[0].ID, views[1].ID, views[2].ID}; !slices.Equal(ids, []string{"a", "b", "c"}) {
		t.Errorf("ids %v", ids)
	}
	if !slices.Equal(views[0].Snapshots, []string{"a1", "a2"}) || views[0].Status != vm.StatusRunning {
		t.Errorf("view %+v", views[0])
	}
	views[0].Snapshots[0] = "changed"
	table.Deleted("a", "a2")
	table.Deleted("b", "a1")
	table.Deleted("unknown", "a1")
	if view, _ := table.View("a"); !slices.Equal(view.Snapshots, []string{"a1"}) {
		t.Errorf("snapshots %v", view.Snapshots)
	}
	if view, _ := table.View("b"); !slices.Equal(view.Snapshots, []string{"b1"}) {
		t.Errorf("snapshots of another machine %v", view.Snapshots)
	}
}

func TestRename(t *testing.T) {
	var table Table[*guest]
	a, b := show(t, &table, "a", "s"), show(t, &table, "b")
	if err := table.reserveID("b", a); !errors.Is(err, vm.ErrAlreadyExists) {
		t.Errorf("an id that is used: %v", err)
	}
	if err := table.reserveID("c", a); err != nil {
		t.Fatal(err)
	}
	if err := table.reserveID("c", b); !errors.Is(err, vm.ErrAlreadyExists) {
		t.Errorf("an id that is reserved: %v", err)
	}
	// Until the rename nothing is seen of the new id.
	is := func(when, id, other string) {
		t.Helper()
		if m, err := table.Find("stop", id); err != nil || m != a {
			t.Errorf("%s: %s is %p: %v", when, id, m, err)
		}
		if _, err := table.Find("stop", other); !errors.Is(err, vm.ErrNotFound) {
			t.Errorf("%s: %s: %v", when, other, err)
		}
		if _, ok := table.View(other); ok {
			t.Errorf("%s: %s is shown", when, other)
		}
		if view, ok := table.View(id); !ok || view.ID != id || !slices.Equal(view.Snapshots, []string{"s"}) {
			t.Errorf("%s: view %+v %v", when, view, ok)
		}
		if views, all := table.Views(), table.All(); len(views) != 2 || len(all) != 2 {
			t.Errorf("%s: %d views, %d machines", when, len(views), len(all))
		}
	}
	is("reserved", "a", "c")
	table.Deleted("c", "s") // Of an earlier machine with that id.
	is("a snapshot of the new id is deleted", "a", "c")
	if err := table.Forget("c"); err != nil {
		t.Errorf("forget an id that is reserved: %v", err)
	}
	is("the new id is forgotten", "a", "c")
	table.releaseID("c")
	is("released", "a", "c")
	if err := table.reserveID("c", a); err != nil {
		t.Fatal(err)
	}
	table.move(a, "c")
	is("renamed", "c", "a")
	if id, _, _ := table.State(a); id != "c" {
		t.Errorf("id %q", id)
	}
	show(t, &table, "a") // The old id is free.
}

func TestACallWaitsForItsMachine(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile func(*Table[*guest], *guest)
		want      error
	}{
		"nothing":   {func(*Table[*guest], *guest) {}, nil},
		"destroyed": {func(table *Table[*guest], m *guest) { table.Destroyed(m) }, nil}, // The caller looks at its status.
		"forgotten": {func(table *Table[*guest], m *guest) {
			table.Destroyed(m)
			_ = table.Forget("a")
		}, vm.ErrNotFound},
		"renamed": {func(table *Table[*guest], m *guest) {
			_ = table.reserveID("b", m)
			table.move(m, "b")
		}, vm.ErrNotFound},
		"closed": {func(table *Table[*guest], _ *guest) { table.Close() }, vm.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var table Table[*guest]
				m := show(t, &table, "a")
				if err := m.Turn.Lock(t.Context(), "save"); err != nil {
					t.Fatal(err)
				}
				waits := make(chan error, 1)
				go func() {
					got, err := table.Acquire(t.Context(), "stop", "a")
					if err == nil {
						if got != m {
							t.Errorf("got %p", got)
						}
						got.Turn.Unlock()
					}
					waits <- err
				}()
				synctest.Wait()
				select {
				case err := <-waits:
					t.Fatalf("it did not wait: %v", err)
				default:
				}
				c.meanwhile(&table, m)
				m.Turn.Unlock()
				if err := <-waits; !errors.Is(err, c.want) {
					t.Errorf("got %v, want %v", err, c.want)
				}
				// The turn was given back.
				if err := m.Turn.Lock(t.Context(), "destroy"); err != nil {
					t.Error(err)
				}
				m.Turn.Unlock()
			})
		})
	}
}

func TestACallWaitsNoLongerThanItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var table Table[*guest]
		m := show(t, &table, "a")
		if err := m.Turn.Lock(t.Context(), "save"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := table.Acquire(ctx, "stop", "a")
		var e *vm.Error
		if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &e) || e.Op != "stop" || e.ID != "a" {
			t.Error(err)
		}
	})
}

func TestAClosedTableRefusesCalls(t *testing.T) {
	var table Table[*guest]
	a := show(t, &table, "a")
	if err := table.reserveID("b", a); err != nil {
		t.Fatal(err)
	}
	all, first := table.Close()
	if len(all) != 1 || all[0] != a || !first {
		t.Errorf("closed %v %v", all, first)
	}
	if all, first := table.Close(); len(all) != 0 || first {
		t.Errorf("closed again: %v %v", all, first)
	}
	m := &guest{}
	m.Init("c", "")
	_, find := table.Find("stop", "a")
	_, acquire := table.Acquire(t.Context(), "stop", "a")
	_, wait := table.Wait(t.Context(), "a")
	for name, err := range map[string]error{
		"find": find, "acquire": acquire, "wait": wait, "reserve": table.Reserve(m), "reserve an id": table.reserveID("d", a),
	} {
		if !errors.Is(err, vm.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// All methods at once, each on machines that others rename, save, destroy and forget. The race detector judges it.
func TestTogether(t *testing.T) {
	var table Table[*guest]
	var all sync.WaitGroup
	const ids, rounds = 4, 200
	for worker := range 4 {
		all.Go(func() {
			for i := range rounds {
				id := fmt.Sprint("m", (worker+i)%ids)
				m := &guest{}
				m.Init(id, "")
				if table.Reserve(m) == nil {
					table.Show(m, vm.StatusRunning, none)
				}
				m, err := table.Acquire(t.Context(), "use", id)
				if err != nil {
					continue
				}
				m.data++
				table.SetStatus(m, vm.StatusStopped)
				table.Saved(m, "s")
				table.Deleted(id, "s")
				to := fmt.Sprint("r", worker)
				if i%3 == 0 && table.reserveID(to, m) == nil {
					table.move(m, to)
				}
				if table.BeginDestroy(m) {
					table.Ended(m, "exited")
					table.Destroyed(m)
					now, _, _ := table.State(m)
					if err := table.Forget(now); err != nil {
						t.Error(err)
					}
				}
				m.Turn.Unlock()
			}
		})
		all.Go(func() {
			for range rounds {
				for _, view := range table.Views() {
					_, _ = table.View(view.ID)
					ctx, cancel := context.WithCancel(t.Context())
					cancel()
					_, _ = table.Wait(ctx, view.ID)
				}
				_ = table.All()
			}
		})
	}
	all.Wait()
	if left := table.All(); len(left) > 0 {
		t.Errorf("%d machines are left", len(left))
	}
}
