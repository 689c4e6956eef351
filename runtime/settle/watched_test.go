package settle

import (
	"errors"
	"testing"

	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

func TestSupervisionSeesOursOnlyAndWhatTheyAreDoing(t *testing.T) {
	set := live.NewSet()
	ours := live.New(store.Sandbox{ID: "ours", State: sandbox.StateRunning, SlotID: "s-1"})
	theirs := live.New(store.Sandbox{ID: "theirs", State: sandbox.StateRunning})
	theirs.Elsewhere = errors.New("another node")
	set.Know(ours, nil)
	set.Know(theirs, nil)
	w := (&Settler{cfg: Config{Live: set}}).Watched()
	ours.NextRun()
	release, ok := w.Hold(t.Context(), "ours", 1)
	views := w.Views()
	if !ok || len(views) != 1 || views[0].ID != "ours" || views[0].Run != 1 || !views[0].Busy || views[0].Slot != "s-1" {
		t.Fatalf("held %v, views %+v", ok, views)
	}
	release()
	ours.Condemn("test")
	if v, ok := w.View("ours"); !ok || v.Busy || !v.Condemned {
		t.Errorf("%+v, %v", v, ok)
	}
	if _, ok := w.Hold(t.Context(), "unknown", 1); ok {
		t.Error("a sandbox that is not known is held")
	}
}
