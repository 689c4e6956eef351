package command

import (
	"context"
	"errors"
	"io/fs"

	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node/statedir"
	"github.com/rundlet/rundlet/store"
)

// OpenToRead opens a database for reading, and creates an empty one before the first
// start.
func OpenToRead(ctx context.Context, dirs layout.Layout) (*store.Store, error) {
	db, err := statedir.OpenToRead(ctx, dirs)
	if errors.Is(err, fs.ErrNotExist) {
		return statedir.OpenToChange(ctx, dirs)
	}
	return db, err
}
