package store

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store/builds"
)

func snapshotRow(id, name string, at int64) Snapshot {
	return Snapshot{
		ID: id, Instance: "d1", Kind: "snapshot", State: SnapshotReady, Name: name, VMID: "i1", Snapshot: "s1", Source: "i1",
		Parent: "p", TemplateID: "t", Alias: "base", BuildID: "b", Spec: `{"cwd":"/"}`, VCPUs: 1, MemoryMiB: 2, DiskMiB: 3,
		Reason: "idle", Manifest: "{}", Bytes: 7, KeyID: "k", CreatedAt: time.UnixMicro(at).UTC(), Node: "n1", Driver: "sim",
		Defaults:  sandbox.Defaults{User: "u", Workdir: "/w", Repository: sandbox.Repository{URL: "https://h/x", Branch: "b", Commit: "c", Checkout: "/c", User: "u"}},
		Freshness: sandbox.Freshness{Phase: "failed", Reason: "r", Branch: "b", Target: "t", Checkout: "/c", User: "u"},
	}
}

func TestSnapshotsAreFoundByIdAndByName(t *testing.T) {
	ctx, s := context.Background(), open(t, filepath.Join(t.TempDir(), "db"))
	a, b := snapshotRow("a", "first", 1), snapshotRow("b", "", 2)
	for _, n := range []*Snapshot{&a, &b} {
		if err := s.Snapshots.Put(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	for key, want := range map[string]Snapshot{"a": a, "first": a, "b": b} {
		if got, err := s.Snapshots.Get(ctx, key); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v %v", key, got, err)
		}
	}
	for _, key := range []string{"", "c", "' OR 1=1 --"} {
		if _, err := s.Snapshots.Get(ctx, key); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", key, err)
		}
	}
	all, err := s.Snapshots.Claims(ctx)
	if err != nil || len(all) != 2 {
		t.Errorf("%+v %v", all, err)
	}
}

func TestANameMovesToTheSnapshotThatTookItLast(t *testing.T) {
	ctx, s := context.Background(), open(t, filepath.Join(t.TempDir(), "db"))
	for i, id := range []string{"a", "b"} {
		if err := s.Snapshots.Put(ctx, new(snapshotRow(id, "n", int64(i+1)))); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.Snapshots.Get(ctx, "n"); err != nil || got.ID != "b" {
		t.Errorf("%+v %v", got, err)
	}
	if got, err := s.Snapshots.Get(ctx, "a"); err != nil || got.Name != "" {
		t.Errorf("%+v %v", got, err)
	}
}

func TestTheLastClaimOnASnapshotIsKnown(t *testing.T) {
	ctx, s := context.Background(), open(t, filepath.Join(t.TempDir(), "db"))
	for _, id := range []string{"a", "b"} {
		if err := s.Snapshots.Put(ctx, new(snapshotRow(id, "", 1))); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		id   string
		last bool
	}{{"a", false}, {"b", true}, {"b", false}, {"never", false}} {
		if last, err := s.Snapshots.Drop(ctx, c.id, 1); err != nil || last != c.last {
			t.Errorf("%s: last %v, %v", c.id, last, err)
		}
	}
}

func TestTheClaimOfATagStays(t *testing.T) {
	ctx, s := context.Background(), open(t, filepath.Join(t.TempDir(), "db"))
	n := snapshotRow("a", "", 1)
	n.Kind = "template"
	tpl, b := builds.Template{ID: "t", Name: "mine"}, builds.Build{ID: "b", State: sandbox.BuildWaiting, Tags: []string{"default"}}
	if err := errors.Join(s.Snapshots.Put(ctx, &n), s.Builds.Begin(ctx, &tpl, &b, builds.Bounds{Waiting: 1, Templates: 1})); err != nil {
		t.Fatal(err)
	}
	b.State, b.SnapshotID = sandbox.BuildReady, "a"
	if err := s.Builds.Ready(ctx, &b); err != nil {
		t.Fatal(err)
	}
	if last, err := s.Snapshots.Drop(ctx, "a", n.Version); !errors.Is(err, ErrStale) || last {
		t.Errorf("with a tag: %v, %v", last, err)
	}
	if err := s.Builds.Untag(ctx, "t", b.Tags); err != nil {
		t.Fatal(err)
	}
	if last, err := s.Snapshots.Drop(ctx, "a", n.Version); err != nil || !last {
		t.Errorf("without one: %v, %v", last, err)
	}
}
