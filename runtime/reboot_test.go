package runtime

import (
	"context"
	"testing"
	"time"

	"github.com/rundlet/rundlet/sandbox"
)

func (f *fixture) reboot(id string) (sandbox.Sandbox, error) {
	sb, _, err := f.rt.Reboot(context.Background(), id, time.Minute)
	return sb, err
}

func TestRebootBootsFromTheFilesOfASavedMemory(t *testing.T) {
	f := newFixture(t)
	sb := f.create()
	f.inside(sb.ID).Set("mark", "in memory")
	f.pause(sb.ID)
	got, err := f.reboot(sb.ID)
	if err != nil || got.State != sandbox.StateRunning {
		t.Fatalf("%+v, %v", got, err)
	}
	if mark := f.inside(sb.ID).Get("mark"); mark != "" {
		t.Errorf("memory that was not wanted is there: %q", mark)
	}
	if snapshots, err := f.cfg.Store.Snapshots.Claims(context.Background()); err != nil || len(snapshots) != 0 {
		t.Errorf("snapshots are left: %+v, %v", snapshots, err)
	}
	if n := f.network.count(); n != 1 {
		t.Errorf("%d network slots, want 1", n)
	}
	// The next pause and resume are ordinary ones.
	f.inside(sb.ID).Set("mark", "again")
	f.pause(sb.ID)
	f.resume(sb.ID)
	if mark := f.inside(sb.ID).Get("mark"); mark != "again" {
		t.Errorf("after another pause the mark is %q", mark)
	}
}

// The memory is given up only when the sandbox runs without it.
func TestRebootThatFailsKeepsTheMemory(t *testing.T) {
	for _, step := range []string{"acquire", "create", "stop", "snapshot files", "destroy", "init"} {
		t.Run(step, func(t *testing.T) {
			f := newFixture(t)
			sb := f.create()
			f.inside(sb.ID).Set("mark", "here")
			f.pause(sb.ID)
			before := f.row(sb.ID).SnapshotID
			f.failNext(step, 1)
			if _, err := f.reboot(sb.ID); err == nil {
				t.Fatal("it was rebooted")
			}
			if row := f.row(sb.ID); row.State != "paused" || row.SnapshotID != before || row.FilesystemOnly {
				t.Errorf("row %+v, want paused with %s", row, before)
			}
			if snapshots, err := f.cfg.Store.Snapshots.Claims(context.Background()); err != nil || len(snapshots) != 1 {
				t.Errorf("snapshots are %+v, %v; want the memory alone", snapshots, err)
			}
			if f.network.count() != 0 || f.rt.admission.Ledger.Active().Sandboxes != 0 {
				t.Errorf("%d slots, %+v", f.network.count(), f.rt.admission.Ledger.Active())
			}
			f.resume(sb.ID)
			if f.inside(sb.ID).Get("mark") != "here" {
				t.Error("the mark is lost")
			}
		})
	}
}
