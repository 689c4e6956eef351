package orphan

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// machines is a driver's view on the machines that there are.
type machines map[string]bool

func (m machines) Get(_ context.Context, id string) (vm.View, bool, error) {
	return vm.View{ID: id}, m[id], nil
}

func (m machines) List(context.Context) ([]vm.View, error) { return nil, nil }

func (m machines) ListSnapshots(context.Context, string) ([]string, bool, error) {
	return nil, false, nil
}

func (m machines) Info() vm.Info { return vm.Info{} }

func TestADiscardedMachineIsEndedAndForgotten(t *testing.T) {
	ctx := t.Context()
	db, err := store.Open(ctx, filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	there := machines{"i1": true}
	freed := 0
	broken := errors.New("the driver is broken")
	var fail error
	k := &Keeper{
		Store: Store{Orphans: db.Orphans, Sandboxes: db.Sandboxes}, Driver: there, Log: slog.New(slog.DiscardHandler), Freed: func(string) { freed++ },
		Destroy: func(_ context.Context, id string) error { delete(there, id); return fail },
	}
	if err := k.SetAsideMachine(ctx, "i1"); err != nil || !k.Aside("i1") || !there["i1"] {
		t.Fatalf("a machine without a row is not set aside: %v", err)
	}
	all, err := db.Orphans.All(ctx)
	if err != nil || len(all) != 1 {
		t.Fatalf("orphans %v, %v", all, err)
	}
	if err := db.Orphans.Discard(ctx, all[0].Name); err != nil {
		t.Fatal(err)
	}
	fail = broken
	if err := k.Review(ctx, nil, 0); !errors.Is(err, broken) || freed != 0 {
		t.Errorf("a failure to end it: %v, %d freed", err, freed)
	}
	fail, there["i1"] = nil, true
	if err := k.Review(ctx, nil, 0); err != nil || there["i1"] || freed != 1 {
		t.Errorf("%v; it is there: %v; %d freed", err, there["i1"], freed)
	}
	if counts, err := k.Count(ctx); err != nil || counts[store.OrphanMachine] != 0 {
		t.Errorf("counts %v, %v", counts, err)
	}
}

func TestAnIDIsInUseUntilItsLastHolderReleasesIt(t *testing.T) {
	var u InUse
	held := func(id string) bool {
		set := map[string]bool{}
		u.Add(set)
		return set[id]
	}
	first, second := u.Hold("a", "b"), u.Hold("a")
	first()
	first() // The second time it does nothing.
	if !held("a") || held("b") {
		t.Errorf("a is held: %v, b: %v", held("a"), held("b"))
	}
	second()
	if held("a") {
		t.Error("a is not held")
	}
}
