package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node/statedir"
	"github.com/rundlet/rundlet/runtime/orphan"
	"github.com/rundlet/rundlet/sandbox"
)

// Orphan is a snapshot, a machine or a sandbox that was set aside.
type Orphan struct {
	Name string `json:"name"`
	// Kind is snapshot, machine or sandbox.
	Kind  string    `json:"kind"`
	Since time.Time `json:"since,omitzero"`
	// Until is when the daemon deletes it; never, without.
	Until  time.Time `json:"until,omitzero"`
	Reason string    `json:"reason"`
}

// Orphans lists the orphans and the quarantined sandboxes of a state directory;
// nothing if it has no database.
func Orphans(ctx context.Context, dirs layout.Layout) ([]Orphan, error) {
	db, err := statedir.OpenToRead(ctx, dirs)
	if errors.Is(err, fs.ErrNotExist) {
		return []Orphan{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer db.Close()
	orphans, err := db.Orphans.All(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := db.Sandboxes.Quarantined(ctx, sandbox.States)
	if err != nil {
		return nil, err
	}
	list := []Orphan{}
	for _, o := range orphans {
		line := Orphan{o.Name, o.Kind, o.Since, o.Since.Add(orphan.Retention), "no row is about it"}
		if o.Discard {
			line.Until, line.Reason = o.Since, "it was given up; the daemon deletes it when it looks next"
		}
		list = append(list, line)
	}
	for _, row := range rows {
		reason := row.Reason
		if row.QuarantinedAt.IsZero() {
			reason = fmt.Sprintf("its state %.40q is unknown to this program", row.State)
		}
		list = append(list, Orphan{row.ID, "sandbox", row.QuarantinedAt, time.Time{}, "quarantined: " + reason})
	}
	return list, nil
}
