package store

import (
	"cmp"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/store/internal/database"
)

// Pages put together are the whole list, whatever their size is and however many
// rows have the same time.
func TestPagesAreTheWholeList(t *testing.T) {
	ctx, s := t.Context(), open(t, filepath.Join(t.TempDir(), "db"))
	var all []Snapshot
	for i := range 40 {
		n := Snapshot{
			ID: fmt.Sprintf("%02d", i*7%40), Kind: "snapshot", State: SnapshotReady, VMID: "v", Snapshot: fmt.Sprint(i),
			Source: fmt.Sprint("i", i%3), Bytes: int64(i), KeyID: "k", CreatedAt: time.Unix(int64(i/4+1), 0).UTC(),
		}
		switch i {
		case 5:
			n.State = SnapshotSaving
		case 6:
			n.Kind = "pause"
		case 7:
			n.Name = "named"
		case 8:
			n.Name = "named:v1"
		case 9:
			n.Name = "named-v1"
		}
		if err := s.Snapshots.Put(ctx, &n); err != nil {
			t.Fatal(err)
		}
		n.VMID, n.Snapshot, n.Version = "", "", 0 // A page has none of them.
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b Snapshot) int { return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), strings.Compare(a.ID, b.ID)) })
	for _, p := range []Page{
		{Kind: "snapshot"}, {Kind: "pause"}, {Kind: "fork"}, {Kind: "snapshot", Source: "i1"}, {Kind: "snapshot", Source: "i9"},
		{Kind: "snapshot", Name: "named"}, {Kind: "snapshot", Name: "00"}, {Kind: "snapshot", Name: "named", AllTags: true}, {Kind: "snapshot", Name: "none", AllTags: true}, {Kind: "snapshot", Name: "none"}, {Kind: "snapshot", Source: "i2", Name: "named"},
	} {
		var want []Snapshot
		for _, n := range all {
			if n.Kind == p.Kind && n.State == SnapshotReady && (p.Source == "" || n.Source == p.Source) && (p.Name == "" || p.Name == n.Name || p.Name == n.ID || p.AllTags && strings.HasPrefix(n.Name, p.Name+":")) {
				want = append(want, n)
			}
		}
		for _, limit := range []int{0, 1, 3, 100} {
			var got []Snapshot
			for page := p; ; {
				page.Limit = limit
				rows, err := s.Snapshots.Page(ctx, page)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, rows...)
				if limit == 0 || len(rows) < limit {
					break
				}
				page.AfterTime, page.AfterID = rows[limit-1].CreatedAt, rows[limit-1].ID
			}
			if !slices.Equal(got, want) {
				t.Errorf("%+v in pages of %d: got %v, want %v", p, limit, got, want)
			}
		}
	}
}

func TestNoMoreSnapshotsThanTheBoundsAllow(t *testing.T) {
	ctx, s := t.Context(), open(t, filepath.Join(t.TempDir(), "db"))
	bounds := Counted{Kinds: []string{"snapshot", "continuation"}, Most: 4, MostOfAKey: 2}
	add := func(id, kind, key string) error {
		return s.Snapshots.Add(ctx, &Snapshot{ID: id, Kind: kind, State: SnapshotSaving, KeyID: key, VMID: id, CreatedAt: time.Unix(1, 0)}, bounds)
	}
	refused := func(err error, want BoundError) {
		t.Helper()
		var full *BoundError
		if !errors.As(err, &full) || *full != want {
			t.Errorf("got %v, want %+v", err, want)
		}
	}
	for i, kind := range []string{"snapshot", "continuation"} {
		for _, key := range []string{"a", "b"} {
			if err := add(fmt.Sprint(key, i), kind, key); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Snapshots.Put(ctx, &Snapshot{ID: "p", Kind: "pause", KeyID: "c"}); err != nil {
		t.Fatal(err) // Of a kind that is not counted.
	}
	refused(add("a9", "snapshot", "a"), BoundError{Have: 2, OfKey: true})
	refused(add("c9", "snapshot", "c"), BoundError{Have: 4})
	if _, err := s.Snapshots.Get(ctx, "a9"); !errors.Is(err, ErrNotFound) {
		t.Errorf("what was refused is there: %v", err)
	}
	if _, err := s.Snapshots.Drop(ctx, "a0", 1); err != nil {
		t.Fatal(err)
	}
	if err := add("c9", "snapshot", "c"); err != nil {
		t.Errorf("there is room again: %v", err)
	}
	bounds = Counted{Kinds: bounds.Kinds, Most: -1, MostOfAKey: -1}
	if err := add("a8", "snapshot", "a"); err != nil {
		t.Errorf("without bounds: %v", err)
	}
}

// What the database counts is what there is, however rows come and go.
func TestSnapshotsAreCounted(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "db")
	older(t, path)
	db := raw(t, path)
	if _, err := db.ExecContext(ctx, `INSERT INTO snapshots (id, instance, kind, state, vm_id, snapshot, source, parent, template_id, alias, build_id,
		spec, vcpus, memory_mib, disk_mib, key_id, created_at) VALUES ('old', '', 'snapshot', 'ready', 'v', 's', '', '', '', '', '', '', 0, 0, 0, 'k0', 1)`); err != nil {
		t.Fatal(err)
	}
	db.Close()
	s := open(t, path)
	counts := func(table string) (out []string) {
		t.Helper()
		out, err := database.List(ctx, s.db, "counts", func(rows *sql.Rows) (line string, err error) {
			err = rows.Scan(&line)
			return line, err
		}, `SELECT kind || ' ' || key_id || ' ' || n FROM `+table+` ORDER BY 1`)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	check := func(what string, kinds int) {
		t.Helper()
		got, want := counts("snapshot_counts"), counts("(SELECT kind, key_id, count(*) AS n FROM snapshots GROUP BY kind, key_id)")
		if !slices.Equal(got, want) || len(got) != kinds {
			t.Errorf("%s: %v are counted, and there are %v", what, got, want)
		}
	}
	check("after the migration", 1)
	for i := range 12 {
		n := Snapshot{ID: fmt.Sprint(i), Kind: []string{"snapshot", "pause"}[i%2], State: SnapshotSaving, KeyID: fmt.Sprint("k", i%3), VMID: "v", CreatedAt: time.Unix(1, 0)}
		for _, n.State = range []string{SnapshotSaving, SnapshotReady} {
			if err := s.Snapshots.Put(ctx, &n); err != nil {
				t.Fatal(err)
			}
		}
	}
	check("filled", 6)
	for i := range 12 {
		var err error
		if i%4 == 0 {
			err = s.Snapshots.Release(ctx, fmt.Sprint(i), 2)
		} else {
			_, err = s.Snapshots.Drop(ctx, fmt.Sprint(i), 2)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	check("emptied", 1)
}

// Rows of the killed are kept for a time and in a number, the newest; others never
// go for that.
func TestTheOldestKilledGoFirst(t *testing.T) {
	ctx, s := t.Context(), open(t, filepath.Join(t.TempDir(), "db"))
	for i := range 2*dropBatch + 20 {
		row := sample(fmt.Sprintf("i%04d", i), "killed")
		row.KilledAt, row.SnapshotID, row.QuarantinedAt = time.Unix(int64(i+1), 0), "", time.Time{}
		if err := s.Sandboxes.Put(ctx, &row); err != nil {
			t.Fatal(err)
		}
	}
	paused := sample("ipaused", "paused")
	if err := s.Sandboxes.Put(ctx, &paused); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Sandboxes.DropKilled(ctx, time.Unix(3, 0), 7); err != nil || n != 2*dropBatch+13 {
		t.Errorf("dropped %d, %v", n, err)
	}
	left, err := s.Sandboxes.Killed(ctx, 100)
	if err != nil || len(left) != 7 || left[6].ID != fmt.Sprintf("i%04d", 2*dropBatch+13) {
		t.Errorf("left %d of the killed, %v", len(left), err)
	}
	if n, err := s.Sandboxes.DropKilled(ctx, time.Unix(3, 0), 7); err != nil || n != 0 {
		t.Errorf("dropped %d more, %v", n, err)
	}
	if _, err := s.Sandboxes.Get(ctx, paused.ID); err != nil {
		t.Errorf("the paused one: %v", err)
	}
}
