package machine

import (
	"maps"
	"testing"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/memvm"
)

func TestMarksAreOfMachinesThatAreNoSandboxesYet(t *testing.T) {
	driver := memvm.New(memvm.Options{})
	m := &Machines{cfg: Config{ScratchDir: t.TempDir(), Driver: driver}}
	if err := driver.Create(t.Context(), "i3", vm.Spec{Rootfs: "/", Args: []string{"/agent"}, VCPUs: 1, MemoryMiB: 64, DiskMiB: 64}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"i1", "i2", "i3", "gone"} {
		if err := m.Mark(id); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // The second time there is nothing to remove.
		if err := m.Unmark("i1"); err != nil {
			t.Fatal(err)
		}
	}
	if m.Marked("i1") || !m.Marked("i2") {
		t.Errorf("i1 %v, i2 %v", m.Marked("i1"), m.Marked("i2"))
	}
	m.Sweep(t.Context(), map[string]vm.View{"i3": {}, "gone": {}})
	if got := m.Marks(); !maps.Equal(got, map[string]bool{"i3": true}) {
		t.Errorf("marks %v, want that of the machine without a row", got)
	}
}
