package files

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/rundlet/rundlet/internal/durable"
	"github.com/rundlet/rundlet/internal/process"
)

func made(t *testing.T) Dirs {
	t.Helper()
	dir := t.TempDir()
	d := Dirs{State: filepath.Join(dir, "state"), Run: filepath.Join(dir, "run"), Instance: "one"}
	if err := d.Make(); err != nil {
		t.Fatal(err)
	}
	return d
}

func makeDirs(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

func check(t *testing.T, want map[string]bool) {
	t.Helper()
	for path, there := range want {
		if _, err := os.Stat(path); (err == nil) != there {
			t.Errorf("%s: %v, want it to be there: %v", path, err, there)
		}
	}
}

func TestOnlyWhatIsUnclaimedIsRemoved(t *testing.T) {
	d := made(t)
	other := filepath.Join(d.AllPending(), process.BootID(), "two", "snapshot-1")
	earlier := filepath.Join(d.AllPending(), "another-boot", "one", "snapshot-1")
	staged := filepath.Join(d.Pending(), "snapshot-1")
	makeDirs(t, other, earlier, staged, d.Images("claimed"), d.Images("dead"), d.Snapshot("a", "s"), filepath.Join(d.Snapshots(), "empty"))
	d.RemoveUnclaimed(func() map[string]bool {
		makeDirs(t, d.Images("late")) // Of a machine that is made meanwhile.
		return map[string]bool{"claimed": true}
	})
	check(t, map[string]bool{other: true, earlier: false, staged: false, d.Images("claimed"): true, d.Images("dead"): false, d.Images("late"): true,
		d.Snapshot("a", "s"): true, filepath.Join(d.Snapshots(), "empty"): false})
}

func TestTheRecordStaysUntilItIsRemoved(t *testing.T) {
	d := made(t)
	if err := errors.Join(d.MakeMachine("a"), d.MakeMachine("b"), os.WriteFile(filepath.Join(d.Images("a"), "runsc-filestore-1"), nil, 0o600),
		durable.WriteJSON(d.Record("a"), 1), durable.WriteJSON(d.ContainerState("a"), 1), os.WriteFile(d.Socket("a"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	check(t, map[string]bool{d.Record("a"): true, d.Record("a") + ".tmp": false, d.ContainerState("a"): true})
	d.RemoveMachine("a")
	check(t, map[string]bool{d.Record("a"): true, d.ContainerState("a"): false, d.Socket("a"): false, d.Bundle("a"): false, d.Images("a"): false, d.Bundle("b"): true, d.Images("b"): true})
	d.RemoveRecord("a")
	check(t, map[string]bool{d.Record("a"): false})
}
