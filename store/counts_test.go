package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"testing"
	"time"
)

func openTest(t testing.TB) *Store {
	t.Helper()
	s, err := Open(context.Background(), filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestCountSnapshots(t *testing.T) {
	s, ctx := openTest(t), context.Background()
	for i, n := range []Snapshot{
		{Kind: "snapshot", State: SnapshotReady, VMID: "a", Snapshot: "1", Bytes: 100},
		{Kind: "snapshot", State: SnapshotReady, VMID: "a", Snapshot: "2", Bytes: 10},
		{Kind: "pause", State: SnapshotReady, VMID: "a", Snapshot: "1", Bytes: 100}, // Those of the first.
		{Kind: "pause", State: SnapshotReady, VMID: "b", Snapshot: "1", Bytes: 1000},
		{Kind: "fork", State: SnapshotSaving, VMID: "c", Snapshot: "1", Bytes: 5},
		{Kind: "fork", State: SnapshotReady, VMID: "c", Snapshot: "1", Bytes: 5}, // An older row counts them, which is not ready.
	} {
		n.ID, n.CreatedAt = fmt.Sprint("s", i), time.Unix(int64(i+1), 0)
		if err := s.Snapshots.Put(ctx, &n); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Snapshots.Count(ctx)
	want := map[string]SnapshotCount{"snapshot": {2, 110}, "pause": {2, 1000}, "fork": {1, 0}}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	// A row that is removed leaves the files to the next.
	if _, err := s.Snapshots.Drop(ctx, "s0", 1); err != nil {
		t.Fatal(err)
	}
	if err := s.Snapshots.Release(ctx, "s4", 1); err != nil {
		t.Fatal(err)
	}
	got, err = s.Snapshots.Count(ctx)
	want = map[string]SnapshotCount{"snapshot": {1, 10}, "pause": {2, 1100}, "fork": {1, 5}}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}

// The migration that brings the column counts the same as rows that are written now.
func TestRowsOfAnOlderSchemaCountOnce(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "db")
	ofVersion(t, path, 3)
	db := raw(t, path)
	for i, files := range []string{"1", "1", "2"} {
		if _, err := db.ExecContext(ctx, `INSERT INTO snapshots (id, instance, kind, state, vm_id, snapshot, source, parent, template_id, alias, build_id,
			spec, vcpus, memory_mib, disk_mib, bytes, created_at) VALUES (?, '', 'snapshot', 'ready', 'v', ?, '', '', '', '', '', '', 0, 0, 0, 7, ?)`, i, files, i); err != nil {
			t.Fatal(err)
		}
	}
	db.Close()
	if got, err := open(t, path).Snapshots.Count(ctx); err != nil || got["snapshot"] != (SnapshotCount{3, 14}) {
		t.Errorf("%v, %v", got, err)
	}
}

// A connection that writes, or waits for its disk, does not block the check
// of a key; and what was committed counts at once.
func TestTheCheckOfAKeyWaitsForNobody(t *testing.T) {
	s, ctx := openTest(t), context.Background()
	key := Key{ID: "k", Name: "n", Hash: []byte("hash"), CreatedAt: time.Unix(1, 0)}
	if err := s.Keys.Add(ctx, key); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Keys.ByHash(ctx, key.Hash); err != nil {
		t.Fatal(err)
	}
	inside := func() error {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if _, err := s.Keys.ByHash(ctx, key.Hash); err != nil {
			return fmt.Errorf("key: %w", err)
		}
		_, err := s.Snapshots.Count(ctx)
		return err
	}
	if err := s.db.Write(ctx, func(*sql.Tx) error { return inside() }); err != nil {
		t.Error(err)
	}
	if err := s.Keys.Remove(ctx, key.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Keys.ByHash(ctx, key.Hash); !errors.Is(err, ErrNotFound) {
		t.Errorf("a key that was removed: %v", err)
	}
}
