package store

import (
	"context"
	"fmt"
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
	rows, err := s.db.Query(ctx, `
		SELECT kind, count(*), sum(counts * bytes) FROM snapshots WHERE state = 'ready' GROUP BY kind`)
	if err != nil {
		return nil, fmt.Errorf("count snapshots: %w", err)
	}
	defer rows.Close()
	out := map[string]SnapshotCount{}
	for rows.Next() {
		var kind string
		var n SnapshotCount
		if err := rows.Scan(&kind, &n.Count, &n.Bytes); err != nil {
			return nil, fmt.Errorf("count snapshots: %w", err)
		}
		out[kind] = n
	}
	return out, rows.Err()
}
