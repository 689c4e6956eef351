package runtime

import (
	"context"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/sandbox"
)

// wantNothingLeft checks that no machine, slot or reservation is left.
func (f *fixture) wantNothingLeft() {
	f.t.Helper()
	for _, o := range f.host.Objects() {
		if o != "" && !isSnapshot(o) {
			f.t.Errorf("machine object left: %s", o)
		}
	}
	if views, err := f.cfg.Driver.List(context.Background()); err != nil || len(views) != 0 {
		f.t.Errorf("the driver remembers %+v, %v", views, err)
	}
	if n := f.network.count(); n != 0 {
		f.t.Errorf("%d network slots left", n)
	}
	if got := f.rt.admission.Ledger.Active(); got != (capacity.Budget{}) {
		f.t.Errorf("capacity left: %+v", got)
	}
	f.wantRoster()
	if all, running := f.rt.admission.Places.Counts(); all != 0 || running != 0 {
		f.t.Errorf("%d sandboxes are counted, %d running", all, running)
	}
	if list, _ := f.rt.List(context.Background(), sandbox.ListFilter{States: []sandbox.State{sandbox.StateCreating, sandbox.StateRunning, sandbox.StatePaused, sandbox.StateKilling}}); len(list) != 0 {
		f.t.Errorf("sandboxes left: %+v", list)
	}
	f.wantJournal()
}

func isSnapshot(object string) bool { return len(object) > 9 && object[:9] == "snapshot " }
