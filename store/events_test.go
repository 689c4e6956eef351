package store

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/rundlet/rundlet/sandbox"
)

func events(t *testing.T, s *Store) []sandbox.Event {
	t.Helper()
	all, err := s.Events.Page(t.Context(), sandbox.EventFilter{Ascending: true, Limit: 100}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// An event is there with the change that it is about, and only then.
func TestAnEventIsWrittenWithItsRow(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	created := sandbox.Event{Type: sandbox.EventCreated, SandboxID: "i1", At: time.Unix(1, 0)}
	row, stale := sample("i1", "running"), sample("i1", "running")
	if err := s.Sandboxes.Put(ctx, &row, created); err != nil {
		t.Fatal(err)
	}
	claim := snapshotRow("c", "", 1)
	if err := s.Snapshots.Put(ctx, &claim, sandbox.Event{Type: sandbox.EventCheckpointed, SandboxID: "i1"}); err != nil {
		t.Fatal(err)
	}
	row.State = "paused"
	if err := s.Sandboxes.Put(ctx, &row, sandbox.Event{Type: sandbox.EventPaused, SandboxID: "i1"}, sandbox.Event{Type: sandbox.EventUpdated, SandboxID: "i1"}); err != nil || row.Version != 2 {
		t.Fatalf("version %d, %v", row.Version, err)
	}
	for name, err := range map[string]error{
		"an insert": s.Sandboxes.Put(ctx, &stale, created),
		"a change":  s.Sandboxes.Put(ctx, new(stale.at(7)), created),
		"a claim":   s.Snapshots.Put(ctx, new(snapshotRow("c", "", 1)), created),
	} {
		if !errors.Is(err, ErrStale) {
			t.Errorf("%s of a row that is stale: %v", name, err)
		}
	}
	want := []sandbox.EventType{sandbox.EventCreated, sandbox.EventCheckpointed, sandbox.EventPaused, sandbox.EventUpdated}
	got := events(t, s)
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i, e := range got {
		if e.Type != want[i] || e.SandboxID != "i1" {
			t.Errorf("event %d is %+v, want %s", i, e, want[i])
		}
	}
}

// A row whose event cannot be written is not written.
func TestARowIsNotWrittenWithoutItsEvent(t *testing.T) {
	ctx, s := t.Context(), openTest(t)
	if _, err := s.db.Exec(ctx, `CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no room'); END`); err != nil {
		t.Fatal(err)
	}
	row, claim := sample("i1", "running"), snapshotRow("c", "", 1)
	one := sandbox.Event{Type: sandbox.EventCreated, SandboxID: "i1"}
	if err := s.Sandboxes.Put(ctx, &row, one); err == nil || row.Version != 0 {
		t.Errorf("a sandbox: version %d, %v", row.Version, err)
	}
	if err := s.Snapshots.Put(ctx, &claim, one); err == nil || claim.Version != 0 {
		t.Errorf("a snapshot: version %d, %v", claim.Version, err)
	}
	_, errSandbox := s.Sandboxes.Get(ctx, "i1")
	_, errClaim := s.Snapshots.Get(ctx, "c")
	if !errors.Is(errSandbox, ErrNotFound) || !errors.Is(errClaim, ErrNotFound) {
		t.Errorf("%v, %v", errSandbox, errClaim)
	}
}

func TestEventsGoWithABackup(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	path, file, elsewhere := filepath.Join(dir, "db"), filepath.Join(dir, "backup"), filepath.Join(dir, "elsewhere")
	s := open(t, path)
	if _, err := s.Settings.NodeID(ctx); err != nil {
		t.Fatal(err)
	}
	put := func(s *Store) error {
		return s.Events.Write(ctx, []sandbox.Event{{Type: sandbox.EventUpdated, SandboxID: "i1"}})
	}
	if err := put(s); err != nil {
		t.Fatal(err)
	}
	before := events(t, s)
	if _, err := Backup(ctx, path, file, false); err != nil {
		t.Fatal(err)
	}
	if err := put(s); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(ctx, file, elsewhere); err != nil {
		t.Fatal(err)
	}
	restored := open(t, elsewhere)
	if err := put(restored); err != nil {
		t.Fatal(err)
	}
	then, now := events(t, s), events(t, restored)
	if len(now) != 2 || now[0].ID != before[0].ID || now[1].Position != 2 || now[1].ID == then[1].ID {
		t.Errorf("%+v after a restore, which had %+v", now, then)
	}
	if _, err := restored.Events.Position(ctx, then[1].ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("an event from after the backup: %v", err)
	}
}

func (sb Sandbox) at(version int64) Sandbox {
	sb.Version = version
	return sb
}
