package recovery

import (
	"errors"
	"sync/atomic"
	"testing"
)

func TestANoteStaysUntilWhatItIsAboutRecovers(t *testing.T) {
	var n Notes
	n.Note("i1", errors.New("slow"))
	n.Note("i2", errors.New("broken"))
	n.Note("i2", nil)
	if all := n.All(); len(all) != 1 || all["i1"] != "slow" {
		t.Errorf("notes %v", all)
	}
	var finished atomic.Bool
	n.noteUnless(&finished, "i3", errSlow)
	finished.Store(true)
	n.noteUnless(&finished, "i4", errSlow)
	all := n.All()
	if all["i3"] == "" || all["i4"] != "" {
		t.Errorf("notes %v, want one of what is not finished", all)
	}
	delete(all, "i1")
	if n.All()["i1"] == "" {
		t.Error("a caller's change of its copy is seen")
	}
}
