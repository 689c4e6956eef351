package store

import (
	"errors"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

func TestGarbageIsWhatLostItsLastClaim(t *testing.T) {
	ctx, s := t.Context(), open(t, filepath.Join(t.TempDir(), "db"))
	garbage := func() map[[2]string]bool {
		t.Helper()
		got, err := s.Garbage.All(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, id := range []string{"a", "b"} {
		if err := s.Snapshots.Put(ctx, new(snapshotRow(id, "", 1))); err != nil {
			t.Fatal(err)
		}
	}
	for i, id := range []string{"a", "b"} {
		if _, err := s.Snapshots.Drop(ctx, id, 1); err != nil {
			t.Fatal(err)
		}
		if got := garbage(); len(got) != i {
			t.Errorf("after %s: %v", id, got)
		}
	}
	tpl := Template{ID: "t", Alias: "base", Snapshot: "ready"}
	for _, tpl.VMID = range []string{"v1", "v1", "v2"} {
		if err := s.Templates.Put(ctx, &tpl); err != nil {
			t.Fatal(err)
		}
	}
	if got := garbage(); len(got) != 2 || !got[[2]string{"i1", "s1"}] || !got[[2]string{"v1", "ready"}] {
		t.Errorf("%v", got)
	}
	if err := s.Garbage.Forget(ctx, time.Now().Add(-time.Hour), nil); err != nil || len(garbage()) != 2 {
		t.Errorf("forgot what is young: %v", err)
	}
	if err := s.Garbage.Forget(ctx, time.Now().Add(time.Hour), map[[2]string]bool{{"i1", "s1"}: true}); err != nil || len(garbage()) != 1 {
		t.Errorf("%v, %v", garbage(), err)
	}
}

func TestOrphansKeepTheirFirstDate(t *testing.T) {
	ctx, s := t.Context(), open(t, filepath.Join(t.TempDir(), "db"))
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	first, err := s.Orphans.SetAside(ctx, OrphanSnapshot, "i1", "s1", at)
	if err != nil || first.Name != "20300102-i1-s1" {
		t.Fatalf("%+v, %v", first, err)
	}
	if again, err := s.Orphans.SetAside(ctx, OrphanSnapshot, "i1", "s1", at.Add(48*time.Hour)); err != nil || !reflect.DeepEqual(again, first) {
		t.Errorf("%+v, %v", again, err)
	}
	if _, err := s.Orphans.SetAside(ctx, OrphanMachine, "i1", "", at); err != nil {
		t.Error(err)
	}
	if err := s.Orphans.Discard(ctx, first.Name); err != nil {
		t.Error(err)
	}
	if err := s.Orphans.Discard(ctx, "20300102-i2"); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
	all, err := s.Orphans.All(ctx)
	if err != nil || len(all) != 2 || all[0].Discard == all[1].Discard {
		t.Errorf("%+v, %v", all, err)
	}
	if err := s.Orphans.Forget(ctx, first); err != nil {
		t.Error(err)
	}
	if all, err := s.Orphans.All(ctx); err != nil || len(all) != 1 || all[0].Kind != OrphanMachine {
		t.Errorf("%+v, %v", all, err)
	}
}
