package runtime

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

func TestASnapshotIsWhatTheSandboxWasAndTheSandboxGoesOn(t *testing.T) {
	f, ctx := newFixture(t), context.Background()
	sb := f.create()
	f.inside(sb.ID).Set("mark", "then")
	snap, err := f.rt.Snapshot(ctx, sb.ID, "tools/v1", "k")
	if err != nil || snap.Name != "tools/v1" || snap.SandboxID != sb.ID || snap.Bytes == 0 {
		t.Fatalf("%+v, %v", snap, err)
	}
	f.inside(sb.ID).Set("mark", "now")
	if row := f.row(sb.ID); row.State != "running" {
		t.Errorf("row %+v", row)
	}
	for _, name := range []string{snap.ID, "tools/v1"} {
		child := f.create(func(r *sandbox.CreateRequest) { r.Template = name; r.Env = map[string]string{"A": "1"} })
		if got := f.inside(child.ID).Get("mark"); got != "then" {
			t.Errorf("%s: made with %q", name, got)
		}
		init := f.initOf(child.ID)
		if !init.Restored || init.BootID == "" || init.Env["A"] != "1" {
			t.Errorf("init %+v", init)
		}
		if row := f.row(child.ID); row.OriginID != snap.ID || row.TemplateID != "tools/v1" || row.Alias != "tools/v1" {
			t.Errorf("lineage: %+v", row)
		}
	}
	// It outlives its sandbox and the daemon.
	if err := f.rt.Kill(ctx, sb.ID); err != nil {
		t.Fatal(err)
	}
	f.restart()
	f.create(func(r *sandbox.CreateRequest) { r.Template = snap.ID })
	if err := f.rt.DeleteSnapshot(ctx, "tools/v1"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{snap.ID, "tools/v1"} {
		if err := f.rt.DeleteSnapshot(ctx, name); !errors.Is(err, sandbox.ErrSnapshotNotFound) {
			t.Errorf("deleted again: %v", err)
		}
		req := request()
		req.Template = name
		if _, err := f.rt.Create(ctx, req); !errors.Is(err, sandbox.ErrTemplateNotFound) {
			t.Errorf("create from what is deleted: %v", err)
		}
	}
	if n := countSnapshots(f); n != 1 {
		t.Errorf("%d snapshots, want the base's", n)
	}
}

func TestSnapshotsAreListedNewestFirstInPages(t *testing.T) {
	f, ctx := newFixture(t), context.Background()
	a, b := f.create(), f.create()
	var all []sandbox.Snapshot
	for i, id := range []string{a.ID, b.ID, a.ID, a.ID} {
		name := []string{"", "x", "", "ns/y:v1"}[i]
		snap, err := f.rt.Snapshot(ctx, id, name, "")
		if err != nil {
			t.Fatal(err)
		}
		all = append([]sandbox.Snapshot{snap}, all...)
	}
	f.pause(a.ID) // what it resumes from is not a snapshot of anybody's
	ids := func(filter sandbox.SnapshotFilter) (out []string) {
		list, err := f.rt.Snapshots(ctx, filter)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range list {
			out = append(out, s.ID)
		}
		return out
	}
	equal := func(name string, got []string, want ...sandbox.Snapshot) {
		t.Helper()
		ok := len(got) == len(want)
		for i := 0; ok && i < len(got); i++ {
			ok = got[i] == want[i].ID
		}
		if !ok {
			t.Errorf("%s: got %v", name, got)
		}
	}
	equal("all", ids(sandbox.SnapshotFilter{}), all...)
	equal("of a sandbox", ids(sandbox.SnapshotFilter{SandboxID: b.ID}), all[2])
	equal("by name", ids(sandbox.SnapshotFilter{Name: "ns/y:v1"}), all[0])
	equal("by a name of none", ids(sandbox.SnapshotFilter{Name: "z"}))
	equal("by id", ids(sandbox.SnapshotFilter{Name: all[1].ID}), all[1])
	page := ids(sandbox.SnapshotFilter{Limit: 3})
	equal("first page", page, all[:3]...)
	equal("second page", ids(sandbox.SnapshotFilter{Limit: 3, After: &sandbox.Cursor{StartedAt: all[2].CreatedAt, ID: all[2].ID}}), all[3])
}

// TestASnapshotIsATemplateOfItsSandboxes: all tags of a name are one, and what has no
// name is a separate one. Pauses and forks keep it.
func TestASnapshotIsATemplateOfItsSandboxes(t *testing.T) {
	f, ctx := newFixture(t), context.Background()
	base := f.create()
	take := func(id, name string) sandbox.Snapshot {
		snap, err := f.rt.Snapshot(ctx, id, name, "")
		if err != nil {
			t.Fatal(err)
		}
		return snap
	}
	of := func(template string) sandbox.Sandbox {
		return f.create(func(r *sandbox.CreateRequest) { r.Template = template })
	}
	first, unnamed := take(base.ID, "s"), take(base.ID, "")
	take(base.ID, "s:v1")
	f.inside(base.ID).Set("mark", "second")
	take(base.ID, "s")
	for name, c := range map[string]struct{ id, alias, mark string }{
		"s": {"s", "s", "second"}, "s:v1": {"s", "s", ""}, unnamed.ID: {unnamed.ID, "", ""},
		first.ID: {first.ID, "", ""}, // Its name moved, and it is still there.
	} {
		sb := of(name)
		if sb.TemplateID != c.id || sb.Alias != c.alias || f.inside(sb.ID).Get("mark") != c.mark {
			t.Errorf("%s: template %q, alias %q, mark %q", name, sb.TemplateID, sb.Alias, f.inside(sb.ID).Get("mark"))
		}
		if got := f.initOf(sb.ID).TemplateID; got != c.id {
			t.Errorf("%s: its guest knows template %q", name, got)
		}
		if err := f.rt.Kill(ctx, sb.ID); err != nil {
			t.Fatal(err)
		}
	}
	sb := of("s:v1")
	forks, err := f.rt.Fork(ctx, sb.ID, sandbox.ForkRequest{Count: 1, Timeout: time.Minute})
	if err != nil || forks[0].Err != nil || forks[0].Sandbox.TemplateID != "s" {
		t.Errorf("fork: %+v, %v", forks, err)
	}
	f.pause(sb.ID)
	f.restart()
	f.resume(sb.ID)
	list, err := f.rt.List(ctx, sandbox.ListFilter{Template: "s"})
	if err != nil || len(list) != 2 {
		t.Errorf("sandboxes of the template: %+v, %v", list, err)
	}
	tags, err := f.rt.Snapshots(ctx, sandbox.SnapshotFilter{Name: "s", AllTags: true})
	if err != nil || len(tags) != 2 {
		t.Errorf("tags %+v, %v", tags, err)
	}
	for _, name := range []string{first.ID, first.ID + ":v2"} {
		if _, err := f.rt.Snapshot(ctx, sb.ID, name, ""); !errors.Is(err, sandbox.ErrInvalid) {
			t.Errorf("the id of another as a name: %v", err)
		}
	}
}

func TestASnapshotThatFailsLeavesNothing(t *testing.T) {
	f, ctx := newFixture(t), context.Background()
	sb := f.create()
	if _, err := f.rt.Snapshot(ctx, sb.ID, "kept", ""); err != nil {
		t.Fatal(err)
	}
	f.failNext("snapshot", 1)
	if _, err := f.rt.Snapshot(ctx, sb.ID, "kept", ""); !errors.Is(err, errInjected) {
		t.Fatalf("got %v", err)
	}
	list, err := f.rt.Snapshots(ctx, sandbox.SnapshotFilter{Name: "kept"})
	if err != nil || len(list) != 1 {
		t.Errorf("the name left the snapshot that has it: %+v, %v", list, err)
	}
	if rows, _ := f.db.Snapshots.Claims(ctx); len(rows) != 1 {
		t.Errorf("%d claims", len(rows))
	}
	for _, name := range []string{"UPPER", "a b", "../x", "", "-x", string(make([]byte, 200))} {
		if _, err := f.rt.Snapshot(ctx, sb.ID, name, ""); name != "" && !errors.Is(err, sandbox.ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestAContinuationIsFollowedUpOnManyTimesAndKeepsItsReason(t *testing.T) {
	f, ctx := newFixture(t), context.Background()
	sb := f.create()
	f.inside(sb.ID).Set("mark", "session")
	idle, err := f.rt.Capture(ctx, sb.ID, sandbox.ReasonIdle, "")
	if err != nil || idle.Reason != sandbox.ReasonIdle || idle.SandboxID != sb.ID {
		t.Fatalf("%+v, %v", idle, err)
	}
	if _, err := f.rt.Capture(ctx, sb.ID, sandbox.ReasonStopped, ""); !errors.Is(err, sandbox.ErrConflict) {
		t.Errorf("a running session was captured as stopped: %v", err)
	}
	f.pause(sb.ID)
	if _, err := f.rt.Capture(ctx, sb.ID, sandbox.ReasonExited, ""); !errors.Is(err, sandbox.ErrConflict) {
		t.Errorf("a paused session was captured as exited: %v", err)
	}
	stopped, err := f.rt.Capture(ctx, sb.ID, sandbox.ReasonStopped, "")
	if err != nil {
		t.Fatal(err)
	}
	// Its files are those that the sandbox resumes from, and stay when that does.
	f.resume(sb.ID)
	if err := f.rt.Kill(ctx, sb.ID); err != nil {
		t.Fatal(err)
	}
	f.restart()
	for _, c := range []sandbox.Continuation{idle, stopped, stopped} {
		got, err := f.rt.FollowUp(ctx, c.ID, request())
		if err != nil {
			t.Fatal(err)
		}
		if got.ID == sb.ID || got.FollowsUp == nil || got.FollowsUp.Reason != c.Reason || got.FollowsUp.ID != c.ID || got.State != sandbox.StateRunning {
			t.Errorf("follow-up %+v", got)
		}
		if f.inside(got.ID).Get("mark") != "session" {
			t.Error("it is not the session")
		}
	}
	if list, _ := f.rt.Snapshots(ctx, sandbox.SnapshotFilter{}); len(list) != 0 {
		t.Errorf("continuations are listed as snapshots: %+v", list)
	}
	for _, c := range []sandbox.Continuation{idle, stopped} {
		if err := f.rt.DeleteSnapshot(ctx, c.ID); err != nil {
			t.Error(err)
		}
		if _, err := f.rt.FollowUp(ctx, c.ID, request()); !errors.Is(err, sandbox.ErrSnapshotNotFound) {
			t.Errorf("followed up on what is deleted: %v", err)
		}
	}
	if n := countSnapshots(f); n != 1 {
		t.Errorf("%d snapshots, want the base's", n)
	}
	if _, err := f.rt.Capture(ctx, "inobody", sandbox.ReasonIdle, ""); !errors.Is(err, sandbox.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestASnapshotThatIsDeletedWhileItIsRestoredIsNotFound(t *testing.T) {
	f, ctx := newFixture(t), context.Background()
	defer f.rt.Close()
	snap, err := f.rt.Snapshot(ctx, f.create().ID, "", "")
	if err != nil {
		t.Fatal(err)
	}
	req := request()
	req.Template = snap.ID
	f.lookDuring("acquire", func() {
		if err := f.rt.DeleteSnapshot(ctx, snap.ID); err != nil {
			t.Error(err)
		}
	})
	if _, err := f.rt.Create(ctx, req); !errors.Is(err, sandbox.ErrSnapshotNotFound) {
		t.Errorf("got %v", err)
	}
	f.lookDuring("acquire", nil)
	if live, err := f.db.Sandboxes.Live(ctx, "test"); err != nil || len(live) != 1 {
		t.Errorf("live are %v, %v", live, err)
	}
}

func TestWhatCannotBeRestoredIsRefusedBeforeAnythingStarts(t *testing.T) {
	for name, damage := range map[string]func(f *fixture, row *store.Snapshot, file string){
		"a byte changed": func(f *fixture, _ *store.Snapshot, file string) { os.WriteFile(file, []byte("memorY"), 0o600) },
		"cut short":      func(f *fixture, _ *store.Snapshot, file string) { os.WriteFile(file, []byte("mem"), 0o600) },
		"another driver": func(f *fixture, row *store.Snapshot, _ string) {
			row.Manifest = strings.Replace(row.Manifest, `"driver":"mem"`, `"driver":"firecracker"`, 1)
		},
		"manifest is empty": func(f *fixture, row *store.Snapshot, _ string) { row.Manifest = "{" },
	} {
		synctest.Test(t, func(t *testing.T) {
			f, ctx := newFixture(t), context.Background()
			sb := f.create()
			snap, err := f.rt.Snapshot(ctx, sb.ID, "", "")
			if err != nil {
				t.Fatal(err)
			}
			f.pause(sb.ID)
			paused := f.row(sb.ID).SnapshotID
			synctest.Wait() // for the digests
			f.rt.Close()    // the next process did not save it itself
			for _, id := range []string{snap.ID, paused} {
				row, err := f.db.Snapshots.Get(ctx, id)
				if err != nil {
					t.Fatal(err)
				}
				if row.Manifest == "" {
					t.Fatalf("%s has no manifest", id)
				}
				damage(f, &row, filepath.Join(f.files, row.VMID+"-"+row.Snapshot))
				if err := f.db.Snapshots.Put(ctx, &row); err != nil {
					t.Fatal(err)
				}
			}
			f.open()
			defer f.rt.Close()
			f.forgetHistory()
			req := request()
			req.Template = snap.ID
			if _, err := f.rt.Create(ctx, req); !errors.Is(err, vm.ErrIncompatible) {
				t.Errorf("%s: create: %v", name, err)
			}
			if _, _, err := f.rt.Connect(ctx, sb.ID, time.Minute); !errors.Is(err, vm.ErrIncompatible) {
				t.Errorf("%s: resume: %v", name, err)
			}
			if h := f.history(); len(h) != 0 {
				t.Errorf("it did %v", h)
			}
			if row := f.row(sb.ID); row.State != "paused" {
				t.Errorf("row %+v", row)
			}
		})
	}
}
