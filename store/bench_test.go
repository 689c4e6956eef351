package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/sandbox"
)

// filled returns a store with n paused sandboxes, n killed ones, n snapshots and n
// keys; and n continuations that share their files.
func filled(b *testing.B, n int) *Store {
	b.Helper()
	s, ctx := openTest(b), context.Background()
	paused, killed := sample("p0", "paused"), sample("k0", "killed")
	paused.Spec = filler(0).Spec
	for _, row := range []Sandbox{paused, killed} {
		if err := s.Sandboxes.Put(ctx, &row); err != nil {
			b.Fatal(err)
		}
	}
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		for i := range n {
			same := filler(i)
			same.ID, same.VMID, same.Snapshot, same.Kind = "same"+same.ID, "same", "same", "continuation"
			for _, row := range []Snapshot{filler(i), same} {
				if err := row.put(ctx, tx); err != nil {
					return err
				}
			}
			if _, err := tx.ExecContext(ctx, `INSERT INTO api_keys (id, name, hash, hint, created_at) VALUES (?1, '', CAST('hash' || ?1 AS BLOB), '', 0)`, i); err != nil {
				return err
			}
		}
		others := strings.TrimPrefix(sandboxColumns, "id, ")
		_, err := tx.ExecContext(ctx, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < ?)
			INSERT INTO sandboxes (`+sandboxColumns+`) SELECT substr(id, 1, 1) || i, `+others+` FROM n, sandboxes`, n-1)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkRows shows that what a request, or a reading of the figures, costs hardly
// depends on how many rows there are.
func BenchmarkRows(b *testing.B) {
	ctx := context.Background()
	for _, n := range []int{10, 10000} {
		s := filled(b, n)
		middle := filler(n / 2)
		fresh := n
		for _, bench := range []struct {
			name string
			do   func() error
		}{
			{"key", func() error { _, err := s.Keys.ByHash(ctx, []byte(fmt.Sprint("hash", n/2))); return err }},
			{"page", func() error {
				_, err := s.Snapshots.Page(ctx, Page{Kind: "snapshot", AfterTime: middle.CreatedAt, AfterID: middle.ID, Limit: 101})
				return err
			}},
			{"page-of-sandbox", func() error {
				_, err := s.Snapshots.Page(ctx, Page{Kind: "snapshot", Source: middle.Source, Limit: 101})
				return err
			}},
			{"snapshot", func() error { _, err := s.Snapshots.Get(ctx, middle.ID); return err }},
			{"figures", func() error {
				_, err := s.Snapshots.Count(ctx)
				if err == nil {
					_, err = s.Orphans.Count(ctx)
				}
				if err == nil {
					_, err = s.Sandboxes.CountQuarantined(ctx, []sandbox.State{"paused", "running"})
				}
				return err
			}},
			{"create", func() error {
				fresh++
				row := sample(fmt.Sprint("i", fresh), "running")
				row.SnapshotID, row.QuarantinedAt = "", time.Time{}
				return s.Sandboxes.Put(ctx, &row)
			}},
			{"add-snapshot", func() error {
				fresh++
				row := filler(fresh)
				row.State, row.KeyID = SnapshotSaving, "k"
				return s.Snapshots.Add(ctx, &row, Counted{Kinds: []string{"snapshot", "continuation"}, Most: 1 << 30, MostOfAKey: 1 << 30})
			}},
			{"share-and-drop", func() error { // Among as many claims on the same files.
				row := filler(0)
				row.ID, row.VMID, row.Snapshot, row.KeyID = "shared", "same", "same", "another"
				if err := s.Snapshots.Add(ctx, &row, Counted{Kinds: []string{"snapshot"}, Most: 1 << 30, MostOfAKey: 1 << 30}); err != nil {
					return err
				}
				_, err := s.Snapshots.Drop(ctx, row.ID, 1)
				return err
			}},
			{"claims", func() error { _, err := s.Snapshots.Claims(ctx); return err }},
		} {
			b.Run(fmt.Sprintf("%s/%d", bench.name, n), func(b *testing.B) {
				for b.Loop() {
					if err := bench.do(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
