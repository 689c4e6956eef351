package builds

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/store/internal/table"
)

// Bounds bound what a key may have: builds that wait for their recipes, of which those from before Since are removed, and templates.
type Bounds struct {
	Waiting, Templates int
	Since              time.Time
}

// BoundError says that a key has as many as it may, and that nothing was written.
type BoundError struct {
	Have int
	// Waiting is set if they are builds that wait; otherwise they are templates.
	Waiting bool
}

func (e *BoundError) Error() string {
	if e.Waiting {
		return fmt.Sprintf("%d builds wait for their recipes, and no more may", e.Have)
	}
	return fmt.Sprintf("there are %d templates, and no more are allowed", e.Have)
}

// room removes what a key has left behind, and checks that there is room for one more.
func (m Bounds) room(ctx context.Context, tx *sql.Tx, name, keyID string) error {
	for _, query := range []string{
		`DELETE FROM builds WHERE state = 'waiting' AND created_at < ?1 AND key_id = ?2`,
		`DELETE FROM built_templates WHERE created_at < ?1 AND key_id = ?2 AND NOT EXISTS (SELECT 1 FROM builds WHERE template_id = built_templates.id)`,
	} {
		if _, err := tx.ExecContext(ctx, query, table.Micros(m.Since), keyID); err != nil {
			return err
		}
	}
	var waiting, templates int
	var known bool
	err := tx.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM builds WHERE state = 'waiting' AND key_id = ?1), (SELECT count(*) FROM built_templates WHERE key_id = ?1),
		EXISTS (SELECT 1 FROM built_templates WHERE name = ?2)`, keyID, name).Scan(&waiting, &templates, &known)
	switch {
	case err != nil:
		return err
	case waiting >= m.Waiting:
		return &BoundError{waiting, true}
	case !known && templates >= m.Templates:
		return &BoundError{templates, false}
	}
	return nil
}
