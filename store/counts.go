package store

import (
	"context"
	"database/sql"
)

// SnapshotCount is of the snapshots of one kind.
type SnapshotCount struct {
	Count int
	// Bytes of the files of the driver's snapshots. A snapshot that several rows
	// claim is counted once, for the oldest of them.
	Bytes int64
}

// Count returns the number and the size of the snapshots that are
// ready, by kind. It returns no row and holds up no other call.
func (s Snapshots) Count(ctx context.Context) (map[string]SnapshotCount, error) {
	counts := map[string]SnapshotCount{}
	err := s.db.Each(ctx, "count snapshots", func(rows *sql.Rows) error {
		var kind string
		var n SnapshotCount
		err := rows.Scan(&kind, &n.Count, &n.Bytes)
		counts[kind] = n
		return err
	}, `
		SELECT kind, count(*), sum(counts * bytes) FROM snapshots WHERE state = 'ready' GROUP BY kind`)
	return counts, err
}
