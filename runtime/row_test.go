package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// changeSandbox changes a row behind the back of the runtime.
func (f *fixture) changeSandbox(id string, change func(*store.Sandbox)) {
	f.t.Helper()
	f.insist(func() error {
		row, err := f.db.Sandboxes.Get(context.Background(), id)
		if err != nil {
			return err
		}
		change(&row)
		return f.db.Sandboxes.Put(context.Background(), &row)
	})
}

// changeSnapshot is the same of the row of a claim.
func (f *fixture) changeSnapshot(id string, change func(*store.Snapshot)) {
	f.t.Helper()
	f.insist(func() error {
		row, err := f.db.Snapshots.Get(context.Background(), id)
		if err != nil {
			return err
		}
		change(&row)
		return f.db.Snapshots.Put(context.Background(), &row)
	})
}

// insist repeats a change while the runtime changes the row, too: it may seal.
func (f *fixture) insist(change func() error) {
	f.t.Helper()
	for {
		err := change()
		if err == nil {
			return
		}
		if !errors.Is(err, store.ErrStale) {
			f.t.Fatal(err)
		}
	}
}

func TestARowSaysWhereAndForWhatItWasMade(t *testing.T) {
	f := newFixture(t)
	f.cfg.Node = "n1"
	f.restart()
	sb := f.create(long, func(r *sandbox.CreateRequest) { r.KeyID, r.Env = "k1", map[string]string{"TOKEN": "hunter2"} })
	snap, err := f.rt.Snapshot(t.Context(), sb.ID, "", "k2")
	if err != nil {
		t.Fatal(err)
	}
	driver := f.driver.Info().Driver
	row := f.row(sb.ID)
	if row.Node != "n1" || row.Driver != driver || row.KeyID != "k1" || row.Version < 2 {
		t.Errorf("sandbox: node %q, driver %q, owner %q, version %d", row.Node, row.Driver, row.KeyID, row.Version)
	}
	var asked struct {
		Template string   `json:"template"`
		Env      []string `json:"env_names"`
	}
	if err := json.Unmarshal([]byte(row.Request), &asked); err != nil || asked.Template != "base" || len(asked.Env) != 1 || strings.Contains(row.Request, "hunter2") {
		t.Errorf("request %s, %v", row.Request, err)
	}
	claimRow, err := f.db.Snapshots.Get(t.Context(), snap.ID)
	if err != nil || claimRow.Node != "n1" || claimRow.Driver != driver || claimRow.KeyID != "k2" {
		t.Errorf("snapshot: %+v, %v", claimRow, err)
	}
}

// What another driver made, or another node has, is kept and shown; every call that
// would need its machine or its files is refused, and says why. The driver that made it
// finds all of it again.
func TestUserDataOutlivesAStartWithAnotherDriver(t *testing.T) {
	for name, c := range map[string]struct {
		node, driver string // Of the rows.
		want         []string
	}{
		"driver": {"n1", "other", []string{`driver "other"`, "--driver other"}},
		"node":   {"n2", "", []string{`node "n2"`, `node "n1"`}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			f := newFixture(t)
			f.cfg.Node = "n1"
			f.restart()
			ours := f.driver.Info().Driver
			driver := c.driver
			if driver == "" {
				driver = ours
			} else {
				c.want = append(c.want, `driver "`+ours+`"`)
			}
			runs, paused := f.create(long), f.create(long)
			f.inside(paused.ID).Set("mark", "saved")
			snap, err := f.rt.Snapshot(ctx, paused.ID, "mine", "")
			if err != nil {
				t.Fatal(err)
			}
			f.pause(paused.ID)
			f.rt.Close()
			claimID := f.row(paused.ID).SnapshotID
			move := func(node, driver string) {
				for _, id := range []string{runs.ID, paused.ID} {
					f.changeSandbox(id, func(row *store.Sandbox) { row.Node, row.Driver = node, driver })
				}
				for _, id := range []string{snap.ID, claimID} {
					f.changeSnapshot(id, func(row *store.Snapshot) { row.Node, row.Driver = node, driver })
				}
			}
			move(c.node, driver)
			before := []store.Sandbox{f.row(runs.ID), f.row(paused.ID)}
			f.open()

			list, err := f.rt.List(ctx, sandbox.ListFilter{})
			if err != nil || len(list) != 2 {
				t.Errorf("listed: %+v, %v", list, err)
			}
			for _, want := range before {
				if got, err := f.rt.Get(ctx, want.ID); err != nil || got.State != want.State {
					t.Errorf("%s: shown as %s, %v", want.State, got.State, err)
				}
			}
			refused := map[string]func() error{
				"create":          func() error { req := request(); req.Template = "mine"; _, err := f.rt.Create(ctx, req); return err },
				"delete snapshot": func() error { return f.rt.DeleteSnapshot(ctx, snap.ID) },
			}
			for _, id := range []string{runs.ID, paused.ID} {
				refused["kill "+id] = func() error { return f.rt.Kill(ctx, id) }
				refused["connect "+id] = func() error { _, _, err := f.rt.Connect(ctx, id, time.Hour); return err }
				refused["pause "+id] = func() error { return f.rt.Pause(ctx, id, true) }
				refused["snapshot "+id] = func() error { _, err := f.rt.Snapshot(ctx, id, "", ""); return err }
				refused["dial "+id] = func() error { _, err := f.rt.Dial(ctx, id, 80); return err }
				refused["timeout "+id] = func() error { return f.rt.SetTimeout(ctx, id, 0) }
				refused["fork "+id] = func() error {
					_, err := f.rt.Fork(ctx, id, sandbox.ForkRequest{Count: 1, Timeout: time.Hour})
					return err
				}
			}
			for call, do := range refused {
				err := do()
				var elsewhere *sandbox.ElsewhereError
				if !errors.As(err, &elsewhere) || !errors.Is(err, sandbox.ErrNotRestorable) {
					t.Errorf("%s: %v", call, err)
					continue
				}
				for _, text := range c.want {
					if !strings.Contains(err.Error(), text) {
						t.Errorf("%s: %v; want %s", call, err, text)
					}
				}
			}
			if all, running := f.rt.admission.Places.Counts(); all != 2 || running != 0 {
				t.Errorf("%d places are taken, %d of them by machines", all, running)
			}
			if len(f.rt.notes.All()) != 2 {
				t.Errorf("the report has %v", f.rt.notes.All())
			}
			collect(ctx, f.rt)
			f.rt.cleaner.Clean(ctx)
			if err := f.rt.EndRunning(ctx, "shutdown"); err != nil {
				t.Error(err)
			}
			for _, want := range before {
				if got := f.row(want.ID); got.State != want.State || got.Version != want.Version {
					t.Errorf("the row was changed from %+v to %+v", want, got)
				}
			}
			for _, id := range []string{snap.ID, claimID} {
				if _, err := f.db.Snapshots.Get(ctx, id); err != nil {
					t.Errorf("claim %s: %v", id, err)
				}
			}
			f.rt.Close()

			move("n1", ours) // As if the daemon was started with the former driver.
			f.open()
			if _, _, err := f.rt.Connect(ctx, paused.ID, time.Hour); err != nil {
				t.Fatal(err)
			}
			if got := f.inside(paused.ID).Get("mark"); got != "saved" {
				t.Errorf("resumed with %q", got)
			}
			if got, err := f.rt.Get(ctx, runs.ID); err != nil || got.State != sandbox.StateRunning {
				t.Errorf("the one that ran: %+v, %v", got, err)
			}
		})
	}
}

// A writer that changes a row of a living daemon makes its next write fail: nothing is
// written over, and the sandbox runs on. A kill wins all the same.
func TestUserDataOutlivesAnotherWriterOfItsRow(t *testing.T) {
	ctx := t.Context()
	f := newFixture(t)
	sb := f.create(long)
	f.changeSandbox(sb.ID, func(row *store.Sandbox) { row.Metadata = map[string]string{"by": "another"} })
	theirs := f.row(sb.ID)
	for name, call := range map[string]func() error{
		"pause":   func() error { return f.rt.Pause(ctx, sb.ID, true) },
		"timeout": func() error { return f.rt.SetTimeout(ctx, sb.ID, time.Hour) },
	} {
		if err := call(); !errors.Is(err, store.ErrStale) || !errors.Is(err, sandbox.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
		if row := f.row(sb.ID); row.Version != theirs.Version || row.Metadata["by"] != "another" {
			t.Errorf("%s: their row was changed to %+v", name, row)
		}
		if got, err := f.rt.Get(ctx, sb.ID); err != nil || got.State != sandbox.StateRunning {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if err := f.rt.Kill(ctx, sb.ID); err != nil {
		t.Errorf("kill: %v", err)
	}
	if row := f.row(sb.ID); row.State != sandbox.StateKilled || row.Version <= theirs.Version {
		t.Errorf("after a kill: %+v", row)
	}
}

// A kill does not win over a row that names something saved which the daemon knows
// nothing of: it would be lost with the row.
func TestAKillLeavesWhatAnotherWriterSaved(t *testing.T) {
	f := newFixture(t)
	sb := f.create(long)
	f.changeSandbox(sb.ID, func(row *store.Sandbox) { row.State, row.SnapshotID = sandbox.StatePaused, "theirs" })
	theirs := f.row(sb.ID)
	if err := f.rt.Kill(t.Context(), sb.ID); !errors.Is(err, store.ErrStale) {
		t.Errorf("kill: %v", err)
	}
	if row := f.row(sb.ID); row.Version != theirs.Version || row.SnapshotID != "theirs" {
		t.Errorf("the row was changed to %+v", row)
	}
	if view, ok, err := f.driver.Get(t.Context(), sb.ID); err != nil || !ok {
		t.Errorf("its machine: %+v, %v, %v", view, ok, err)
	}
}

// The store finds claims by id or name, and the id of a claim that is gone may be the
// name of a snapshot of another sandbox.
func TestANameIsNotTakenForTheIDOfAClaim(t *testing.T) {
	ctx, f := t.Context(), newFixture(t)
	sb, other := f.create(long), f.create(long)
	f.pause(sb.ID)
	id := f.row(sb.ID).SnapshotID
	f.insist(func() error {
		gone, err := f.db.Snapshots.Get(ctx, id)
		if err != nil {
			return err
		}
		return f.db.Snapshots.Release(ctx, id, gone.Version)
	})
	named, err := f.rt.Snapshot(ctx, other.ID, id, "")
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := f.rt.Connect(ctx, sb.ID, time.Hour); err == nil {
		t.Errorf("resumed from a snapshot of another sandbox: %+v", got)
	}
	if err := f.rt.Kill(ctx, sb.ID); err != nil {
		t.Error(err)
	}
	if _, err := f.db.Snapshots.Get(ctx, named.ID); err != nil {
		t.Errorf("the snapshot with the name: %v", err)
	}
}
