package runtime

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

func countOf(f *fixture, event string) int {
	n := 0
	for _, e := range f.history() {
		if e == event {
			n++
		}
	}
	return n
}

func TestTheBaseIsPreparedOnceAndKeptOverARestart(t *testing.T) {
	f := newFixture(t)
	var lines []string
	f.cfg.Progress = func(line string) { lines = append(lines, line) }
	f.restart()
	f.create()
	f.create()
	f.restart()
	f.create()
	if n := countOf(f, "snapshot"); n != 1 {
		t.Errorf("saved %d times", n)
	}
	if len(lines) != 2 || !strings.Contains(lines[0], "building") {
		t.Errorf("progress %q", lines)
	}
}

func TestTheBaseIsMadeAnewWhenTheHostChanged(t *testing.T) {
	f := newFixture(t)
	f.create()
	before, _ := f.rt.Template(context.Background(), "base")
	f.setStamp("v2")
	f.restart()
	f.create()
	after, _ := f.rt.Template(context.Background(), "base")
	if n := countOf(f, "snapshot"); n != 2 {
		t.Errorf("saved %d times", n)
	}
	if before.ID != after.ID || before.BuildID == after.BuildID {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if n := strings.Count(strings.Join(f.host.Objects(), "\n"), "snapshot "); n != 1 {
		t.Errorf("%d snapshots are kept: %v", n, f.host.Objects())
	}
}

// upgraded is a driver whose snapshots run on the program that made them.
type upgraded struct{ recordingDriver }

func (d upgraded) Info() vm.Info {
	info := d.recordingDriver.Info()
	info.Build = "2"
	return info
}

func TestTheBaseIsMadeAnewByAnotherBuildOfTheDriver(t *testing.T) {
	f := newFixture(t)
	f.create()
	f.drive(func(d recordingDriver) vm.Runtime { return upgraded{d} })
	f.create()
	f.restart()
	f.create()
	if n := countOf(f, "snapshot"); n != 2 {
		t.Errorf("saved %d times in three processes, of which two have another build", n)
	}
}

func TestAFailedPreparationLeavesNothingAndIsTriedAgain(t *testing.T) {
	for _, step := range []string{"lock", "base", "acquire", "create", "snapshot"} {
		t.Run(step, func(t *testing.T) {
			f := newFixture(t)
			f.failNext(step, 1)
			if _, err := f.rt.Create(context.Background(), request()); !errors.Is(err, errInjected) {
				t.Fatalf("got %v", err)
			}
			f.wantNothingLeft()
			if n := samples(f, latency.ColdTemplateBuild); n != 0 {
				t.Errorf("%d samples of a failed build", n)
			}
			f.create()
			if n := samples(f, latency.ColdTemplateBuild); n != 1 {
				t.Errorf("%d samples", n)
			}
		})
	}
}

func TestASnapshotThatIsGoneIsMadeAnewWithinTheSameCreate(t *testing.T) {
	f := newFixture(t)
	f.create()
	rows, err := f.db.Templates.All(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if err := f.cfg.Driver.(vm.SnapshotDeleter).DeleteSnapshot(context.Background(), rows[0].VMID, rows[0].Snapshot); err != nil {
		t.Fatal(err)
	}
	f.create()
}

func TestTemplateNames(t *testing.T) {
	f := newFixture(t)
	ctx := context.Background()
	if t1, err := f.rt.Template(ctx, "base"); err != nil || t1.MemoryMiB != sandbox.DefaultSize.MemoryMiB {
		t.Errorf("before the first use: %+v, %v", t1, err)
	}
	f.create()
	base, err := f.rt.Template(ctx, "base:default")
	if err != nil {
		t.Fatal(err)
	}
	if byID, err := f.rt.Template(ctx, base.ID); err != nil || byID.BuildID != base.BuildID {
		t.Errorf("by id: %+v, %v", byID, err)
	}
	if sb := f.create(func(r *sandbox.CreateRequest) { r.Template = base.ID }); sb.TemplateID != base.ID || sb.Alias != "base" {
		t.Errorf("created %+v", sb)
	}
}

func TestFormerImagesGoWhenNoSandboxCanUseThem(t *testing.T) {
	f := newFixture(t)
	var kept []string
	f.cfg.Prune = func(_ context.Context, keep func() ([]string, error)) error {
		rootfs, err := keep()
		kept = append(kept, rootfs...)
		return err
	}
	f.restart() // nothing was prepared yet
	sb := f.create()
	f.restart() // a sandbox runs
	if len(kept) != 0 {
		t.Errorf("pruned to %q", kept)
	}
	if err := f.rt.Kill(context.Background(), sb.ID); err != nil {
		t.Fatal(err)
	}
	f.restart()
	if len(kept) != 1 || kept[0] != "/base" {
		t.Errorf("pruned to %q", kept)
	}
}

// A snapshot without a row needs its image, and which there are is not known before they are listed.
func TestImagesStayWhileSnapshotsAreNotKnown(t *testing.T) {
	f, ctx := newFixture(t), t.Context()
	pruned := 0
	f.cfg.Prune = func(context.Context, func() ([]string, error)) error { pruned++; return nil }
	sb := f.create()
	snap, err := f.rt.Snapshot(ctx, sb.ID, "kept", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.rt.Kill(ctx, sb.ID); err != nil {
		t.Fatal(err)
	}
	f.change(f.dbPath, `DELETE FROM snapshots WHERE id = '`+snap.ID+`'`)
	f.failNext("snapshots", 1)
	f.restart()
	if pruned != 0 {
		t.Error("images were pruned although the driver's snapshots could not be listed")
	}
	f.restart() // The snapshot is set aside.
	if orphans, err := f.db.Orphans.All(ctx); err != nil || len(orphans) != 1 || pruned != 0 {
		t.Errorf("orphans %+v, %v; pruned %d times", orphans, err, pruned)
	}
	f.change(f.dbPath, `UPDATE orphans SET discard = 1`)
	f.restart()
	if pruned != 1 {
		t.Errorf("pruned %d times when nothing needs the images", pruned)
	}
}

// The machine that a template is built in counts as any other, and waits as any
// other for what is in use.
func TestATemplateIsBuiltWithinTheCapacity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.cfg.Capacity.Sandboxes, f.cfg.MaxWait = 1, 5*time.Second
		f.restart()
		defer f.rt.Close()
		ctx := context.Background()
		all := f.rt.admission.Ledger.Adopt(capacity.Budget{Sandboxes: 1})
		if err := f.rt.Prepare(ctx); !errors.Is(err, sandbox.ErrCapacity) {
			t.Errorf("on a full machine: %v", err)
		}
		var during capacity.Budget
		f.lookDuring("snapshot", func() { during = f.rt.admission.Ledger.Active() })
		done := make(chan error)
		go func() { done <- f.rt.Prepare(ctx) }()
		synctest.Wait()
		all.Release()
		if err := <-done; err != nil {
			t.Fatalf("with room: %v", err)
		}
		if during.Sandboxes != 1 || during.MemoryBytes != int64(sandbox.DefaultSize.MemoryMiB)<<20 || during.Launches != 1 {
			t.Errorf("while it was built %+v was counted", during)
		}
		f.wantNothingLeft()
		f.setStamp("v2")
		f.restart() // Its first use checks the host again.
		f.failNext("snapshot", 1)
		if err := f.rt.Prepare(ctx); !errors.Is(err, errInjected) {
			t.Errorf("a build that fails: %v", err)
		}
		f.wantNothingLeft()
	})
}
