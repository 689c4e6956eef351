package runtime

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// faulty is a driver that cannot make machines from some snapshots.
type faulty struct {
	recordingDriver
	fails *atomic.Pointer[func(from *vm.SnapshotRef) error]
}

func (d faulty) Create(ctx context.Context, id string, spec vm.Spec) error {
	if fails := d.fails.Load(); fails != nil {
		if err := (*fails)(spec.RestoreFrom); err != nil {
			return err
		}
	}
	return d.recordingDriver.Create(ctx, id, spec)
}

// faultyWorkshop has a template with five layers, which are returned, the newest first.
func faultyWorkshop(t *testing.T) (w *workshop, fails *atomic.Pointer[func(*vm.SnapshotRef) error], recipe sandbox.Recipe, layers []string) {
	t.Helper()
	w, fails = newWorkshop(t), &atomic.Pointer[func(*vm.SnapshotRef) error]{}
	w.drive(func(d recordingDriver) vm.Runtime { return faulty{d, fails} })
	recipe = fromBase(step1("RUN", "one"), step1("RUN", "two"), step1("RUN", "three"), step1("RUN", "four"), step1("RUN", "five"))
	w.build("mine", recipe)
	w.commands()
	return w, fails, recipe, w.layers()
}

// layers returns the ids of the layers, the one that was used last first.
func (w *workshop) layers() (ids []string) {
	w.t.Helper()
	rows, err := w.db.Snapshots.Page(w.t.Context(), store.Page{Kind: "layer"})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, row := range rows {
		ids = append(ids, row.ID)
	}
	return ids
}

// A driver that fails to restore a layer, for whatever reason, fails no build.
func TestALayerThatCannotBeRestoredIsMadeAnew(t *testing.T) {
	for name, c := range map[string]struct {
		broken int
		err    error
		ran    string
	}{
		"the last": {1, errInjected, "five"},
		"two":      {2, errInjected, "four,five"},
		"all":      {5, errInjected, "one,two,three,four,five"}, // Three of them are tried.
		"damaged":  {4, &vm.Error{Op: "create", Kind: vm.ErrIncompatible}, "two,three,four,five"},
	} {
		t.Run(name, func(t *testing.T) {
			w, fails, recipe, layers := faultyWorkshop(t)
			broken := map[string]bool{}
			for _, id := range layers[:c.broken] {
				row, err := w.db.Snapshots.Get(t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				broken[row.VMID+"/"+row.Snapshot] = true
			}
			tries := 0
			fail := func(from *vm.SnapshotRef) error {
				if from != nil && broken[from.VMID+"/"+from.SnapshotID] {
					tries++
					return c.err
				}
				return nil
			}
			fails.Store(&fail)
			b, log := w.await(w.begin("other", recipe))
			if got := strings.Join(w.commands(), ","); b.State != sandbox.BuildReady || got != c.ran {
				t.Fatalf("it ran %q, want %q; %+v\n%s", got, c.ran, b.Failure, log)
			}
			if n := strings.Count(log, "cannot be restored, and is made anew"); n != tries {
				t.Errorf("the log speaks of %d layers, and %d were tried:\n%s", n, tries, log)
			}
			if n := strings.Count(log, "CACHED"); n != 5-strings.Count(c.ran, ",")-1 {
				t.Errorf("%d steps are cached:\n%s", n, log)
			}
			left := w.layers()
			for _, id := range layers[:min(tries, c.broken)] {
				if slices.Contains(left, id) {
					t.Errorf("layer %s is left", id)
				}
			}
			if len(left) != 5 {
				t.Errorf("%d layers are left", len(left))
			}
			w.build("third", recipe)
			if got := w.commands(); len(got) != 0 {
				t.Errorf("the next build ran %q", got)
			}
		})
	}
}

// What the host lacks is not the fault of a layer, and a host that restores nothing says nothing about layers.
func TestLayersOutliveAHostThatCannotRestore(t *testing.T) {
	for name, cause := range map[string]error{
		"disk": &vm.Error{Op: "create", Kind: vm.ErrIncompatible, Err: syscall.ENOSPC}, "descriptors": &vm.Error{Op: "create", Kind: vm.ErrIncompatible, Err: syscall.EMFILE},
		"memory": &vm.Error{Op: "create", Kind: vm.ErrOutOfMemory}, "all": errInjected,
	} {
		t.Run(name, func(t *testing.T) {
			w, fails, recipe, layers := faultyWorkshop(t)
			fail := func(*vm.SnapshotRef) error { return cause }
			fails.Store(&fail)
			if b, log := w.await(w.begin("other", recipe)); b.Failure == nil || b.Failure.Step != sandbox.StepBase {
				t.Errorf("%+v\n%s", b, log)
			}
			fails.Store(nil)
			if left := w.layers(); !slices.Equal(left, layers) {
				t.Errorf("left are %q of %q", left, layers)
			}
			w.build("other", recipe)
			if got := w.commands(); len(got) != 0 {
				t.Errorf("the next build ran %q", got)
			}
		})
	}
}

// A layer that builds begin with stays before one that none does.
func TestLayersAreKeptByTheirUse(t *testing.T) {
	w := newWorkshop(t)
	recipe := func(command string) sandbox.Recipe { return fromBase(step1("RUN", command)) }
	var made []string
	for _, command := range []string{"a", "b", "c"} {
		w.build("t"+command, recipe(command))
		made = append(made, w.layers()[0])
	}
	w.build("again", recipe("a"))
	if got, want := fmt.Sprint(w.layers()), fmt.Sprint([]string{made[0], made[2], made[1]}); got != want {
		t.Errorf("the order is %s, want %s", got, want)
	}
	w.restart()
	if got := w.layers(); len(got) != 3 || got[0] != made[0] {
		t.Errorf("after a restart: %q", got)
	}
}
