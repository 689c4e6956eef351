package sandbox

import (
	"cmp"
	"strings"
	"time"
)

// SnapshotFilter selects snapshots; they come newest first, ties by id.
type SnapshotFilter struct {
	SandboxID string
	// Name is a name or an id. With AllTags it is a name without a tag, and selects
	// all tags of it.
	Name    string
	AllTags bool
	// After is the last snapshot of the page before; its StartedAt is the
	// snapshot's CreatedAt.
	After *Cursor
	Limit int
}

// ListFilter selects sandboxes. They come newest StartedAt first (ties by id,
// ascending), or the other way round with Ascending.
type ListFilter struct {
	// States, as Shown; empty means running and paused.
	States []State
	// Metadata pairs must all match.
	Metadata map[string]string
	// Template is an id or alias; empty is any.
	Template string
	// StartedAfter is inclusive, to the millisecond; zero is any.
	StartedAfter time.Time
	Ascending    bool
	// After is the last sandbox of the page before; nil is the first page.
	After *Cursor
	// Limit is the most sandboxes returned; 0 is all.
	Limit int
}

// Cursor is a position in a list.
type Cursor struct {
	StartedAt time.Time
	ID        string
}

// Compare orders cursors ascending: by start, ties by id. It compares
// microseconds, the resolution of the store.
func (c Cursor) Compare(o Cursor) int {
	return cmp.Or(cmp.Compare(c.StartedAt.UnixMicro(), o.StartedAt.UnixMicro()), strings.Compare(c.ID, o.ID))
}
