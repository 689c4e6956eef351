package journal

import (
	"context"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store/internal/table"
)

// Bounds are the most events that a journal keeps.
type Bounds struct {
	// Age is how long an event is kept, and Most how many are. Of network denials, which programs in sandboxes make at
	// their will, there are at most a tenth of Most.
	Age  time.Duration
	Most int64
}

// DefaultBounds are those of a node.
var DefaultBounds = Bounds{Age: 7 * 24 * time.Hour, Most: 100_000}

// batch is how many events are removed at a time: a write in between waits for no more than that.
const batch = 100

// Trim removes what is older than the bounds, and then the oldest of the key that has the most events, until there are no more than
// there may be: a key that makes many events removes its own. It returns how many were removed.
func (t Table) Trim(ctx context.Context, now time.Time, b Bounds) (removed int64, err error) {
	drop := func(most int64, which string, args ...any) (int64, error) {
		res, err := t.db.ExecLazily(ctx, `DELETE FROM events WHERE position IN (`+which+`)`, append(args, most)...)
		if err != nil {
			return 0, fmt.Errorf("remove old events: %w", err)
		}
		n, err := res.RowsAffected()
		removed += n
		return n, err
	}
	// Positions are in the order of time, except where a clock was ahead, and serve as the index.
	old, young := table.Micros(now.Add(-b.Age)), int64(0)
	err = t.db.ScanAfterWrites(ctx, []any{&young}, `SELECT coalesce((SELECT position FROM events WHERE at BETWEEN ? AND ? ORDER BY position LIMIT 1), ?)`,
		old, table.Micros(now), maxPosition)
	if err != nil {
		return 0, fmt.Errorf("find old events: %w", err)
	}
	for {
		n, err := drop(batch, `SELECT position FROM events WHERE position < ? AND at < ? ORDER BY position LIMIT ?`, young, old)
		if err != nil {
			return removed, err
		}
		if n < batch {
			break
		}
	}
	var denied int64
	if err := t.db.ScanAfterWrites(ctx, []any{&denied}, `SELECT count(*) FROM events WHERE type = ?`, sandbox.EventDenied); err != nil {
		return removed, fmt.Errorf("count events: %w", err)
	}
	for over := denied - b.Most/10; over > 0; {
		n, err := drop(min(over, batch), `SELECT position FROM events WHERE type = ? ORDER BY position LIMIT ?`, sandbox.EventDenied)
		if err != nil || n == 0 {
			return removed, err
		}
		over -= n
	}
	byKey, all, err := t.counts(ctx)
	for err == nil && all > b.Most {
		key := largest(byKey)
		var n int64
		if n, err = drop(min(all-b.Most, batch), `SELECT position FROM events WHERE key_id = ? ORDER BY position LIMIT ?`, key); n == 0 {
			break
		}
		byKey[key] -= n
		all -= n
	}
	return removed, err
}
