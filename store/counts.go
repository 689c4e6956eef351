package store

import (
	"context"
	"fmt"
)

// SnapshotCount is of the snapshots of one kind.
type SnapshotCount struct {
	Count int
	// Bytes of the files of the driver's snapshots. What several rows claim is
	// counted once, for the oldest of them.
	Bytes int64
}

// CountSnapshots returns the number and the size of the snapshots that are
// ready, by kind. It returns no row and holds up no other call.
func (s *Store) CountSnapshots(ctx context.Context) (map[string]SnapshotCount, error) {
	rows, err := s.query(ctx, `
		SELECT kind, sum(n), sum(bytes) FROM (
			SELECT kind, count(*) AS n, 0 AS bytes FROM snapshots WHERE state = 'ready' GROUP BY kind
			UNION ALL
			-- Of each group the values are those of the row with the least created_at.
			SELECT kind, 0, iif(state = 'ready', bytes, 0) FROM (
				SELECT kind, state, bytes, min(created_at) FROM snapshots GROUP BY vm_id, snapshot))
		GROUP BY kind HAVING sum(n) > 0`)
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
