package runtime

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/rundlet/rundlet/policy/egress"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/supervise"
	"github.com/rundlet/rundlet/runtime/template"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// belongings are a sandbox that runs, one that is paused, and a snapshot; with
// what they hold.
type belongings struct{ running, paused, snapshot string }

func (f *fixture) belongings() belongings {
	f.t.Helper()
	b := belongings{running: f.create(long).ID, paused: f.create(long).ID}
	f.inside(b.running).Set("mark", "runs")
	f.inside(b.paused).Set("mark", "saved")
	f.pause(b.paused)
	snap, err := f.rt.Snapshot(context.Background(), b.running, "precious", "")
	if err != nil {
		f.t.Fatal(err)
	}
	b.snapshot = snap.ID
	return b
}

// copyDatabase makes a copy of the database as it is, and returns its file.
func (f *fixture) copyDatabase() string {
	f.t.Helper()
	path := f.t.TempDir() + "/copy"
	if _, err := store.Backup(context.Background(), f.dbPath, path, false); err != nil {
		f.t.Fatal(err)
	}
	return path
}

// startWith starts the next process over another database.
func (f *fixture) startWith(path string) {
	f.t.Helper()
	db, err := store.Open(context.Background(), path)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { db.Close() })
	f.rt.Close()
	f.db, f.cfg.Store, f.dbPath = db, db, path
	f.open()
}

// change changes a database behind the back of the program.
func (f *fixture) change(path, statement string) string {
	f.t.Helper()
	db := rawDatabase(f.t, path)
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		f.t.Fatal(err)
	}
	return path
}

// wantAll checks that machines, sandboxes and files are there for their owners.
func (f *fixture) wantAll(b belongings) {
	f.t.Helper()
	ctx := context.Background()
	for id, mark := range map[string]string{b.running: "runs", b.paused: "saved"} {
		if _, _, err := f.rt.Connect(ctx, id, time.Hour); err != nil {
			f.t.Errorf("lost: %v", err)
		} else if got := f.inside(id).Get("mark"); got != mark {
			f.t.Errorf("its memory says %q, want %q", got, mark)
		}
	}
	req := request()
	req.Template = "precious"
	if _, err := f.rt.Create(ctx, req); err != nil {
		f.t.Errorf("create from the snapshot: %v", err)
	}
}

// A start with a database that lost rows deletes nothing, whatever it lost, and
// the next start with the right one has everything.
func TestUserDataOutlivesAStartWithADatabaseThatLostRows(t *testing.T) {
	for name, other := range map[string]func(f *fixture, before string) string{
		"empty":             func(f *fixture, _ string) string { return f.t.TempDir() + "/new" },
		"of before all":     func(_ *fixture, before string) string { return before },
		"without a claim":   func(f *fixture, _ string) string { return f.change(f.copyDatabase(), "DELETE FROM snapshots") },
		"without sandboxes": func(f *fixture, _ string) string { return f.change(f.copyDatabase(), "DELETE FROM sandboxes") },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.create() // The base is there.
			before := f.copyDatabase()
			b := f.belongings()
			right := f.dbPath
			saved := countSnapshots(f)
			f.startWith(other(f, before))
			f.rt.cleaner.Clean(context.Background())
			f.restart()
			if n := countSnapshots(f); n != saved {
				t.Errorf("%d snapshots of %d are left", n, saved)
			}
			if view, ok, err := f.cfg.Driver.Get(context.Background(), b.running); err != nil || !ok || view.Status != vm.StatusRunning {
				t.Errorf("the machine: %+v, %v", view, err)
			}
			counts, err := f.rt.Orphans(context.Background())
			if err != nil || counts["snapshot"]+counts["machine"]+counts["sandbox"] == 0 {
				t.Errorf("not reported: %v, %v", counts, err)
			}
			f.startWith(right)
			// If its network went it is being paused, and served when it is.
			if sb, ok := f.rt.live.Find(b.running); ok && recoveringFor(sb) != "" {
				_, recovered := sb.Recovery()
				<-recovered
			}
			if row := f.row(b.running); row.State != "running" && row.State != "paused" {
				t.Errorf("it is %s: %s", row.State, row.Reason) // Paused: its network went.
			}
			f.wantAll(b)
			f.rt.cleaner.Clean(context.Background())
			if counts, err := f.rt.Orphans(context.Background()); err != nil || counts["snapshot"]+counts["machine"]+counts["sandbox"] != 0 {
				t.Errorf("with the right database there are orphans: %v, %v", counts, err)
			}
		})
	}
}

// A row in a state of a newer program keeps all that it names and is not written.
func TestUserDataOutlivesAnUnknownState(t *testing.T) {
	ctx := context.Background()
	for name, prepare := range map[string]func(f *fixture, id string){
		"with a machine": func(*fixture, string) {},
		"saved":          func(f *fixture, id string) { f.pause(id) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			sb := f.create(long)
			f.inside(sb.ID).Set("mark", "kept")
			prepare(f, sb.ID)
			known := f.row(sb.ID).State
			setState(f, sb.ID, "hibernating")
			strange := f.row(sb.ID)
			slots := f.network.count()
			f.restart()
			f.rt.cleaner.Clean(ctx)
			for _, now := range []time.Time{time.Now(), time.Now().Add(2 * supervise.OrphanAge)} {
				if err := f.rt.cleaner.FreeOrphans(ctx, now); err != nil {
					t.Fatal(err)
				}
			}
			f.restart()
			if row := f.row(sb.ID); row.State != strange.State || row.Reason != strange.Reason || !row.QuarantinedAt.IsZero() {
				t.Errorf("its row was written: %+v", row)
			}
			if n := f.network.count(); n != slots {
				t.Errorf("%d network slots of %d", n, slots)
			}
			if counts, err := f.rt.Orphans(ctx); err != nil || counts["sandbox"] != 1 {
				t.Errorf("%v, %v", counts, err)
			}
			f.rt.Close()
			setState(f, sb.ID, known) // The newer program is back.
			f.open()
			if _, _, err := f.rt.Connect(ctx, sb.ID, time.Hour); err != nil {
				t.Fatalf("lost: %v", err)
			}
			if got := f.inside(sb.ID).Get("mark"); got != "kept" {
				t.Errorf("its memory says %q", got)
			}
		})
	}
}

// A row that cannot be read keeps no other from being served. All that it names is kept, and it is not written.
func TestUserDataOutlivesAnUnreadableRow(t *testing.T) {
	ctx := context.Background()
	for _, column := range []string{"metadata", "egress", "ingress"} {
		for name, prepare := range map[string]func(f *fixture, id string){
			"with a machine": func(*fixture, string) {},
			"saved":          func(f *fixture, id string) { f.pause(id) },
		} {
			t.Run(column+", "+name, func(t *testing.T) {
				f := newFixture(t)
				sb, other := f.create(long), f.create(long)
				f.inside(sb.ID).Set("mark", "kept")
				prepare(f, sb.ID)
				before := f.row(sb.ID)
				slots := f.network.count()
				f.rt.Close()
				f.change(f.dbPath, "UPDATE sandboxes SET "+column+" = '{\"half' WHERE id = '"+sb.ID+"'")
				f.open()
				f.rt.cleaner.Clean(ctx)
				if err := f.rt.cleaner.FreeOrphans(ctx, time.Now().Add(2*supervise.OrphanAge)); err != nil {
					t.Fatal(err)
				}
				if _, err := f.rt.Get(ctx, other.ID); err != nil {
					t.Errorf("the other: %v", err)
				}
				if row := f.row(sb.ID); row.State != store.StateUnreadable || row.Version != before.Version {
					t.Errorf("its row is %+v", row)
				}
				if n := f.network.count(); n != slots {
					t.Errorf("%d network slots of %d", n, slots)
				}
				f.rt.Close()
				f.change(f.dbPath, "UPDATE sandboxes SET "+column+" = '{}' WHERE id = '"+sb.ID+"'")
				f.open()
				if _, _, err := f.rt.Connect(ctx, sb.ID, time.Hour); err != nil {
					t.Fatalf("lost: %v", err)
				}
				if got := f.inside(sb.ID).Get("mark"); got != "kept" {
					t.Errorf("its memory says %q", got)
				}
			})
		}
	}
}

// The row of a sandbox that was resumed since says that it is paused. Its machine
// has gone on, and is kept.
func TestUserDataOutlivesARowThatIsOlderThanItsMachine(t *testing.T) {
	f, ctx := newFixture(t), context.Background()
	sb := f.create(long)
	f.pause(sb.ID)
	if _, err := f.rt.Snapshot(ctx, sb.ID, "precious", ""); err != nil { // It keeps the files.
		t.Fatal(err)
	}
	before := f.copyDatabase()
	f.resume(sb.ID)
	f.inside(sb.ID).Set("mark", "after")
	f.startWith(before)
	f.rt.cleaner.Clean(ctx)
	if _, _, err := f.rt.Connect(ctx, sb.ID, time.Hour); err == nil {
		t.Error("it is resumed over a machine that runs")
	}
	if view, ok, err := f.cfg.Driver.Get(ctx, sb.ID); err != nil || !ok || view.Status != vm.StatusRunning || f.inside(sb.ID).Get("mark") != "after" {
		t.Errorf("its machine: %+v, %v", view, err)
	}
	if row := f.row(sb.ID); row.QuarantinedAt.IsZero() || row.State != "paused" {
		t.Errorf("%+v", row)
	}
}

func TestQuarantineOfWhatIsPausedIsWrittenAndEnds(t *testing.T) {
	f := newFixture(t)
	sb := f.create(long)
	f.pause(sb.ID)
	row := f.row(sb.ID)
	snap, err := f.db.Snapshots.Get(context.Background(), row.SnapshotID)
	if err != nil {
		t.Fatal(err)
	}
	// As on a disk that is not mounted.
	f.changeSnapshot(snap.ID, func(n *store.Snapshot) { n.Snapshot = "elsewhere" })
	f.restart()
	first := f.row(sb.ID)
	f.restart()
	if again := f.row(sb.ID); first.QuarantinedAt.IsZero() || first.Reason == "" || !again.QuarantinedAt.Equal(first.QuarantinedAt) {
		t.Errorf("first %+v, then %+v", first, again)
	}
	f.changeSnapshot(snap.ID, func(n *store.Snapshot) { n.Snapshot = snap.Snapshot })
	f.restart()
	if row := f.row(sb.ID); !row.QuarantinedAt.IsZero() || row.Reason != "" || row.State != "paused" {
		t.Errorf("%+v", row)
	}
	f.resume(sb.ID)
}

// A pause that was saved, and of which the outcome is not written, is finished if
// there is no machine any more that could be saved again.
func TestUserDataOutlivesThePowerCutBehindASave(t *testing.T) {
	f := newFixture(t)
	sb := f.create(long)
	f.inside(sb.ID).Set("mark", "saved")
	f.pause(sb.ID)
	row := f.row(sb.ID)
	snap, err := f.db.Snapshots.Get(context.Background(), row.SnapshotID)
	if err != nil {
		t.Fatal(err)
	}
	f.changeSnapshot(snap.ID, func(n *store.Snapshot) { n.State = store.SnapshotSaving })
	setState(f, sb.ID, "pausing")
	f.restart()
	if row := f.row(sb.ID); row.State != "paused" {
		t.Fatalf("it is %s: %s", row.State, row.Reason)
	}
	f.resume(sb.ID)
	if got := f.inside(sb.ID).Get("mark"); got != "saved" {
		t.Errorf("its memory says %q", got)
	}
}

// "rundlet run" works beside a daemon in its state directory: it removes what is
// known to be garbage, and nothing else that is not its own.
func TestUserDataOutlivesAnEphemeralInstance(t *testing.T) {
	f, ctx := newFixture(t), context.Background()
	b := f.belongings()
	f.change(f.dbPath, `DELETE FROM snapshots WHERE id = '`+b.snapshot+`'`)
	saved := countSnapshots(f)
	var pruned []string
	own := f.cfg
	own.Instance, own.Ephemeral, own.ScratchDir = "x", true, t.TempDir()
	own.Prune = func(_ context.Context, keep func() ([]string, error)) (err error) { pruned, err = keep(); return err }
	other := recordingDriver{f.driver.Driver, f}
	own.Driver = withoutAdoption{other}
	own.Network = &fakeNetwork{f: f, leased: map[string]egress.Policy{}, refusals: make(chan struct{}, 1)}
	set := f.db.Warm.Set(ctx, template.BaseAlias, 2)
	rt, err := Open(ctx, own)
	if err != nil || set != nil {
		t.Fatal(err, set)
	}
	if list, err := rt.WarmTemplates(ctx); err != nil || len(list) != 1 || list[0].Ready != own.Warm.Ready {
		t.Errorf("it keeps what the daemon shall keep: %+v, %v", list, err)
	}
	if err := rt.KillAll(ctx, "end"); err != nil {
		t.Error(err)
	}
	rt.Close()
	if n := countSnapshots(f); n != saved {
		t.Errorf("%d snapshots of %d", n, saved)
	}
	if orphans, err := f.db.Orphans.All(ctx); err != nil || len(orphans) != 0 || pruned != nil {
		t.Errorf("orphans %+v, %v; images pruned to %v", orphans, err, pruned)
	}
	if states := []sandbox.State{f.row(b.running).State, f.row(b.paused).State}; !slices.Equal(states, []sandbox.State{"running", "paused"}) {
		t.Errorf("%v", states)
	}
}

// withoutAdoption is a driver of another run directory: it finds no machines.
type withoutAdoption struct{ recordingDriver }

func (withoutAdoption) Adopt(context.Context) ([]vm.View, map[string]string, error) {
	return nil, nil, nil
}

func (withoutAdoption) List(context.Context) ([]vm.View, error) { return nil, nil }

func recoveringFor(sb *live.Sandbox) string {
	why, _ := sb.Recovery()
	return why
}
