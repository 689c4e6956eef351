package runtime

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/pool"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
)

// TestACrashAtAnyStepLosesNothingAndLeaksNothing stops the process at every
// step: the goroutine that passes it never goes on, its runtime is not used any
// more, and the next one opens over what is there.
func TestACrashAtAnyStepLosesNothingAndLeaksNothing(t *testing.T) {
	for _, at := range step.All() {
		t.Run(string(at), func(t *testing.T) { crashAt(t, at, pool.Target{}) })
	}
	for _, at := range []step.Step{step.CreateMachine, step.CreateDelivered, step.CreateOutcome} {
		t.Run("warm "+string(at), func(t *testing.T) { crashAt(t, at, pool.Target{Ready: 1, Prepared: 1}) })
	}
}

// operationOf is the operation that passes a step.
func operationOf(at step.Step) string {
	operation, _, _ := strings.Cut(string(at), ".")
	return operation
}

// before makes a sandbox what the operation that passes a step needs, and passing does the operation. snap is a snapshot that
// the step may delete.
func (f *fixture) before(at step.Step, id string) {
	f.t.Helper()
	if operationOf(at) == "resume" || at == step.KillDropped {
		f.pause(id)
	}
}

func (f *fixture) passing(ctx context.Context, at step.Step, id, snap string) {
	switch operationOf(at) {
	case "create":
		_, _ = f.rt.Create(ctx, request())
	case "pause":
		_ = f.rt.Pause(ctx, id, true)
	case "resume":
		_, _, _ = f.rt.Connect(ctx, id, time.Hour)
	case "snapshot":
		if at == step.SnapshotDropped || at == step.SnapshotDeleted {
			_ = f.rt.DeleteSnapshot(ctx, snap)
		} else {
			_, _ = f.rt.Snapshot(ctx, id, "other", "")
		}
	case "fork":
		_, _ = f.rt.Fork(ctx, id, sandbox.ForkRequest{Count: 2, Timeout: time.Hour})
	case "kill":
		_ = f.rt.Kill(ctx, id)
	}
}

// wantOnlyTheBase ends all sandboxes and deletes the snapshots that operations make: the base is left.
func (f *fixture) wantOnlyTheBase(snapshots ...string) {
	f.t.Helper()
	if err := f.rt.KillAll(context.Background(), "end"); err != nil {
		f.t.Error(err)
	}
	for _, name := range snapshots {
		if err := f.rt.DeleteSnapshot(context.Background(), name); err != nil && !errors.Is(err, sandbox.ErrSnapshotNotFound) {
			f.t.Error(err)
		}
	}
	f.wantNothingLeft()
	if n := countSnapshots(f); n != 1 {
		f.t.Errorf("%d snapshots left, want the base's: %v", n, f.host.Objects())
	}
}

func crashAt(t *testing.T, death step.Step, warm pool.Target) {
	f, ctx := newFixture(t), context.Background()
	f.cfg.Warm = warm
	f.restart()
	f.cfg.Warm = pool.Target{} // of the next process
	paused := f.create(long)
	f.inside(paused.ID).Set("mark", "bystander")
	f.pause(paused.ID)
	running := f.create(long)
	f.inside(running.ID).Set("mark", "bystander")
	subject := f.create(long)
	f.inside(subject.ID).Set("mark", "subject")
	snap, err := f.rt.Snapshot(ctx, subject.ID, "snap", "")
	if err != nil {
		t.Fatal(err)
	}
	f.before(death, subject.ID)

	reached := make(chan struct{})
	f.failpoint(func(at step.Step) error {
		if at == death {
			close(reached)
			select {} // the process is dead
		}
		return nil
	})
	go func() {
		defer func() {
			select {
			case <-reached:
			default:
				t.Errorf("the operation ended without passing %s", death)
				close(reached)
			}
		}()
		f.passing(ctx, death, subject.ID, snap.ID)
	}()
	<-reached
	f.failpoint(nil)
	f.crashed = f.rt
	f.rt.background.Stop() // what watches in it sees no more
	f.open()

	f.wantConsistent()
	for id, mark := range map[string]string{paused.ID: "bystander", running.ID: "bystander", subject.ID: "subject"} {
		if id == subject.ID && operationOf(death) == "kill" {
			if row := f.row(id); row.State != "killed" || row.Reason != "killed by request" {
				t.Errorf("row %+v", row)
			}
			continue
		}
		if _, _, err := f.rt.Connect(ctx, id, time.Hour); err != nil {
			t.Errorf("lost: %v", err)
			continue
		}
		if got := f.inside(id).Get("mark"); got != mark {
			t.Errorf("its memory says %q, want %q", got, mark)
		}
	}
	f.wantConsistent()
	f.wantOnlyTheBase(snap.ID, "other")
}

func long(r *sandbox.CreateRequest) { r.Timeout = time.Hour }

// wantConsistent checks that rows, machines, slots, capacity and snapshots are
// those of each other, and that nothing is on its way.
func (f *fixture) wantConsistent() {
	f.t.Helper()
	ctx := context.Background()
	rows, err := f.db.Sandboxes.Live(ctx, "test")
	if err != nil {
		f.t.Fatal(err)
	}
	var runs, claimed []string
	for _, row := range rows {
		switch row.State {
		case sandbox.StateRunning:
			runs = append(runs, row.ID)
			if !f.network.has(row.SlotID) {
				f.t.Errorf("%s runs without its slot %q", row.ID, row.SlotID)
			}
		case sandbox.StatePaused:
			claimed = append(claimed, row.SnapshotID)
		default:
			f.t.Errorf("stuck: %s is %s", row.ID, row.State)
		}
	}
	views, err := f.cfg.Driver.List(ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	var machines []string
	for _, v := range views {
		machines = append(machines, v.ID)
	}
	if slices.Sort(runs); !slices.Equal(runs, machines) {
		f.t.Errorf("%v run, and there are machines %v", runs, machines)
	}
	if n := f.network.count(); n != len(runs) {
		f.t.Errorf("%d slots for %d sandboxes", n, len(runs))
	}
	if n := f.rt.admission.Ledger.Active().Sandboxes; n != int64(len(runs)) {
		f.t.Errorf("capacity for %d of %d sandboxes", n, len(runs))
	}
	f.wantRoster()
	if all, running := f.rt.admission.Places.Counts(); all != len(rows) || running != len(runs) {
		f.t.Errorf("%d sandboxes are counted, %d running; there are %d and %d", all, running, len(rows), len(runs))
	}
	if n := f.rt.admission.Ledger.Active().Launches; n != 0 {
		f.t.Errorf("%d launches are counted and none is under way", n)
	}
	claims, err := f.db.Snapshots.Claims(ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, c := range claims {
		if c.Kind == claim.KindPause && !slices.Contains(claimed, c.ID) || c.Kind == claim.KindFork || c.State != "ready" {
			f.t.Errorf("a claim without an owner: %+v", c)
		}
	}
	if n := countSnapshots(f); n != len(claims)+1 {
		f.t.Errorf("%d snapshots for %d claims and the base", n, len(claims))
	}
	f.wantJournal()
}
