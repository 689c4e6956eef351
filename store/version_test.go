package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store/internal/database"
)

func TestTheSchemaIsTheNumberOfTheLastMigration(t *testing.T) {
	entries, err := fs.ReadDir(migrations, "migrations")
	if err != nil || len(entries) != Schema {
		t.Fatalf("%d migrations, schema %d, %v", len(entries), Schema, err)
	}
	for i, e := range entries {
		if want := fmt.Sprintf("%04d_", i+1); e.Name()[:len(want)] != want {
			t.Errorf("%s is in the place of %s", e.Name(), want)
		}
	}
}

// The first writer wins; the other gets an error, and what was written stays.
func TestAWriteOfAStaleRowChangesNothing(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "db")
	one, two := open(t, path), open(t, path)
	if err := errors.Join(one.Sandboxes.Put(ctx, new(sample("i1", "running"))), one.Snapshots.Put(ctx, new(snapshotRow("c", "n", 1))),
		one.Templates.Put(ctx, &Template{ID: "t", Alias: "base", VMID: "v1", Snapshot: "ready"})); err != nil {
		t.Fatal(err)
	}
	read := func(s *Store) (Sandbox, Snapshot, Template) {
		t.Helper()
		sb, err := s.Sandboxes.Get(ctx, "i1")
		claim, errClaim := s.Snapshots.Get(ctx, "c")
		templates, errTemplates := s.Templates.All(ctx)
		if err := errors.Join(err, errClaim, errTemplates); err != nil || len(templates) != 1 {
			t.Fatalf("%d templates, %v", len(templates), err)
		}
		return sb, claim, templates[0]
	}
	sb, claim, tpl := read(one)
	staleSB, staleClaim, staleTpl := read(two)
	sb.State, claim.Bytes, tpl.VMID = "paused", 8, "v2"
	if err := errors.Join(one.Sandboxes.Put(ctx, &sb), one.Snapshots.Put(ctx, &claim), one.Templates.Put(ctx, &tpl)); err != nil {
		t.Fatal(err)
	}
	staleSB.State, staleClaim.Bytes, staleTpl.Stamp = "killed", 9, "stale"
	dropped, _, droppedTpl := read(two)
	for name, write := range map[string]func() error{
		"change a sandbox":  func() error { return two.Sandboxes.Put(ctx, &staleSB) },
		"insert a sandbox":  func() error { return two.Sandboxes.Put(ctx, new(sample("i1", "creating"))) },
		"a removed sandbox": func() error { dropped.ID = "i2"; return two.Sandboxes.Put(ctx, &dropped) },
		"change a claim":    func() error { return two.Snapshots.Put(ctx, &staleClaim) },
		"insert a claim":    func() error { return two.Snapshots.Put(ctx, new(snapshotRow("c", "", 1))) },
		"add a claim": func() error {
			return two.Snapshots.Add(ctx, new(snapshotRow("c", "", 1)), Counted{Most: -1, MostOfAKey: -1})
		},
		"seal a claim":       func() error { return two.Snapshots.Seal(ctx, "c", staleClaim.Version, "x") },
		"drop a claim":       func() error { _, err := two.Snapshots.Drop(ctx, "c", staleClaim.Version); return err },
		"release a claim":    func() error { return two.Snapshots.Release(ctx, "c", staleClaim.Version) },
		"change a template":  func() error { return two.Templates.Put(ctx, &staleTpl) },
		"insert a template":  func() error { return two.Templates.Put(ctx, &Template{ID: "t", Alias: "other"}) },
		"take an alias":      func() error { return two.Templates.Put(ctx, &Template{ID: "t2", Alias: "base"}) },
		"a removed template": func() error { droppedTpl.ID = "t2"; return two.Templates.Put(ctx, &droppedTpl) },
	} {
		if err := write(); !errors.Is(err, ErrStale) {
			t.Errorf("%s: %v, want ErrStale", name, err)
		}
	}
	now, nowClaim, nowTpl := read(one)
	if now.State != "paused" || now.Version != 2 || nowClaim.Bytes != 8 || nowClaim.Version != 2 || nowClaim.Name != "n" {
		t.Errorf("now %+v\n%+v", now, nowClaim)
	}
	if nowTpl.VMID != "v2" || nowTpl.Version != 2 || nowTpl.Stamp != "" {
		t.Errorf("now %+v", nowTpl)
	}
	if garbage, err := one.Garbage.All(ctx); err != nil || len(garbage) != 1 || !garbage[[2]string{"v1", "ready"}] {
		t.Errorf("garbage is %v, %v: only what was replaced is", garbage, err)
	}
	if staleSB.Version != 1 || staleClaim.Version != 1 || staleTpl.Version != 1 {
		t.Errorf("a write that failed moved the versions to %d, %d and %d", staleSB.Version, staleClaim.Version, staleTpl.Version)
	}
	if _, err := one.Sandboxes.Get(ctx, "i2"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a change made a row: %v", err)
	}
}

// Of writers that race from the same version, one wins each round.
func TestOneOfTheWritersWinsEachVersion(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "db")
	writers := []*Store{open(t, path), open(t, path)}
	row := sample("i1", "running")
	if err := writers[0].Sandboxes.Put(ctx, &row); err != nil {
		t.Fatal(err)
	}
	for round := range 20 {
		errs := make([]error, len(writers))
		var wg sync.WaitGroup
		for i, s := range writers {
			wg.Go(func() {
				mine := row
				mine.Reason = fmt.Sprint(i)
				errs[i] = s.Sandboxes.Put(ctx, &mine)
			})
		}
		wg.Wait()
		winner := -1
		for i, err := range errs {
			if err == nil && winner < 0 {
				winner = i
			} else if !errors.Is(err, ErrStale) {
				t.Fatalf("round %d, writer %d: %v", round, i, err)
			}
		}
		now, err := writers[0].Sandboxes.Get(ctx, "i1")
		if err != nil || winner < 0 || now.Reason != fmt.Sprint(winner) || now.Version != row.Version+1 {
			t.Fatalf("round %d: %d won; the row has %q at version %d, %v", round, winner, now.Reason, now.Version, err)
		}
		row = now
	}
}

// A name that moves changes the row that it leaves.
func TestAMovedNameMakesTheOtherRowStale(t *testing.T) {
	ctx, s := t.Context(), openTest(t)
	first := snapshotRow("a", "n", 1)
	if err := errors.Join(s.Snapshots.Put(ctx, &first), s.Snapshots.Put(ctx, new(snapshotRow("b", "n", 2)))); err != nil {
		t.Fatal(err)
	}
	if err := s.Snapshots.Put(ctx, &first); !errors.Is(err, ErrStale) {
		t.Errorf("the name is taken back by a writer that did not read that it is gone: %v", err)
	}
}

// An error of a write says that it was not made: a context that ends breaks off the
// wait for the connection, and no write.
func TestAWriteIsMadeOrNot(t *testing.T) {
	database.Driver = "spied"
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "db"))
	database.Driver = "sqlite"
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	row := sample("i1", "running")
	if err := s.Sandboxes.Put(t.Context(), &row); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	statements.during = func(query string) {
		if strings.HasPrefix(query, "UPDATE sandboxes") {
			cancel() // The client goes away in the middle.
		}
	}
	err = s.Sandboxes.Put(ctx, &row)
	statements.during = nil
	if now, read := s.Sandboxes.Get(t.Context(), "i1"); err != nil || read != nil || row.Version != 2 || now.Version != 2 {
		t.Errorf("version %d, in the database %d, %v, %v", row.Version, now.Version, err, read)
	}
	if err := s.Sandboxes.Put(ctx, &row); !errors.Is(err, context.Canceled) || row.Version != 2 {
		t.Errorf("after the end of its context: %v", err)
	}
}

// Each schema that there was, with a row as its program wrote it.
func TestUserDataOutlivesEachMigration(t *testing.T) {
	const sandboxes = `INSERT INTO sandboxes (id, instance, template_id, alias, build_id, state, metadata, created_at, started_at, end_at,
		vcpus, memory_mib, disk_mib, secure, private_ports, key_id) VALUES ('i1', 'd1', 't', 'base', 'b', 'running', '{"a":"1"}', 1, 2, 3, 2, 512, 1024, 1, 0, 'k')`
	const snapshots = `INSERT INTO snapshots (id, instance, kind, state, name, vm_id, snapshot, source, parent, template_id, alias, build_id, spec,
		vcpus, memory_mib, disk_mib, key_id, created_at) VALUES ('c', 'd1', 'snapshot', 'ready', 'n', 'i1', 's1', 'i1', 'p', 't', 'base', 'b', '{}', 2, 512, 1024, 'k', 1)`
	const templates = `INSERT INTO templates (id, alias, build_id, vm_id, snapshot, stamp, spec, vcpus, memory_mib, disk_mib, created_at)
		VALUES ('t', 'base', 'b', 'v', 'ready', 'x', '{}', 2, 512, 1024, 1)`
	for version := int64(1); version < Schema; version++ {
		t.Run(fmt.Sprint("schema ", version), func(t *testing.T) {
			ctx, path := t.Context(), filepath.Join(t.TempDir(), "db")
			ofVersion(t, path, version)
			db := raw(t, path)
			_, err := db.Exec(sandboxes + ";" + templates)
			if err == nil && version >= 2 {
				_, err = db.Exec(snapshots)
			}
			if err := errors.Join(err, db.Close()); err != nil {
				t.Fatal(err)
			}
			s := open(t, path)
			node, err := s.Settings.NodeID(ctx)
			if err := errors.Join(err, s.FillOwner(ctx, node, "sim"), s.FillOwner(ctx, "another", "another")); err != nil {
				t.Fatal(err)
			}
			sb, err := s.Sandboxes.Get(ctx, "i1")
			if err != nil || sb.State != "running" || sb.Metadata["a"] != "1" || sb.KeyID != "k" || sb.Node != node || sb.Driver != "sim" || sb.Request != "" {
				t.Errorf("%+v, %v", sb, err)
			}
			for driver, want := range map[string]string{"sim": "", "another": "sim"} {
				if other, err := s.OtherDriver(ctx, driver); err != nil || other != want {
					t.Errorf("beside %s there is %q, %v, want %q", driver, other, err, want)
				}
			}
			if err := s.Sandboxes.Put(ctx, &sb); err != nil {
				t.Errorf("a write of it: %v", err)
			}
			tpls, err := s.Templates.All(ctx)
			if err != nil || len(tpls) != 1 || tpls[0].BuildID != "b" || tpls[0].Stamp != "x" {
				t.Fatalf("%+v, %v", tpls, err)
			}
			if err := s.Templates.Put(ctx, &tpls[0]); err != nil {
				t.Errorf("a write of the template: %v", err)
			}
			if version < 2 {
				return
			}
			claim, err := s.Snapshots.Get(ctx, "n")
			if err != nil || claim.ID != "c" || claim.KeyID != "k" || claim.Node != node || claim.Driver != "sim" {
				t.Errorf("%+v, %v", claim, err)
			}
			if err := s.Snapshots.Put(ctx, &claim); err != nil {
				t.Errorf("a write of it: %v", err)
			}
		})
	}
}

// The id of a node is its rows': it comes back with a backup, and no program makes
// another one.
func TestTheNodeIDGoesWithTheRows(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	path, file := filepath.Join(dir, "db"), filepath.Join(dir, "backup")
	s := open(t, path)
	if id, err := s.Settings.KnownNodeID(ctx); id != "" || err != nil {
		t.Errorf("before the first start: %q, %v", id, err)
	}
	id, err := s.Settings.NodeID(ctx)
	if err != nil || !regexp.MustCompile(`^n[0-9a-f]{16}$`).MatchString(id) {
		t.Fatalf("%q, %v", id, err)
	}
	if other, err := openTest(t).Settings.NodeID(ctx); err != nil || other == id {
		t.Errorf("another database: %q, %v", other, err)
	}
	if _, err := Backup(ctx, path, file, false); err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(dir, "elsewhere")
	if _, err := Restore(ctx, file, elsewhere); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, elsewhere} {
		s := open(t, p)
		again, err := s.Settings.NodeID(ctx)
		known, errKnown := s.Settings.KnownNodeID(ctx)
		if again != id || known != id || err != nil || errKnown != nil {
			t.Errorf("%s: %q, %q, %v, %v; want %q", p, again, known, err, errKnown, id)
		}
	}
}

// BenchmarkPut is the write of a row of some KiB: what it costs to compare.
func BenchmarkPut(b *testing.B) {
	s, ctx := openTest(b), b.Context()
	row := sample("i1", "running")
	row.SnapshotID, row.QuarantinedAt, row.Spec = "", time.Time{}, filler(0).Spec
	for b.Loop() {
		if err := s.Sandboxes.Put(ctx, &row); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPutWithEvent is BenchmarkPut of a change that is an event.
func BenchmarkPutWithEvent(b *testing.B) {
	s, ctx := openTest(b), b.Context()
	row := sample("i1", "running")
	row.SnapshotID, row.QuarantinedAt, row.Spec = "", time.Time{}, filler(0).Spec
	for b.Loop() {
		if err := s.Sandboxes.Put(ctx, &row, sandbox.Event{Type: sandbox.EventUpdated, Data: []byte(`{"set_timeout":"2026-01-02T03:04:05.000006Z"}`), SandboxID: row.ID, At: time.Unix(1, 0)}); err != nil {
			b.Fatal(err)
		}
	}
}
