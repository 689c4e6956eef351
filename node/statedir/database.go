package statedir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// CheckDatabase fails if no daemon has ever used the database although
// there are saved snapshots or machines: then it is not the one that they are of.
// A start would set all of them aside, and a sandbox would be gone for its user.
func CheckDatabase(ctx context.Context, dirs layout.Layout) error {
	saved, machines := driverFiles(dirs)
	if saved+machines == 0 {
		return nil
	}
	what := "there is no database"
	info, err := os.Stat(dirs.Database())
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case info.Size() == 0:
		what = "the database is an empty file"
	default:
		db, err := OpenToRead(ctx, dirs)
		if err != nil {
			return err
		}
		defer db.Close()
		used, err := db.Used(ctx)
		if err != nil || used {
			return err
		}
		what = "the database is empty"
	}
	return &vm.Error{Op: "open the database",
		Err: fmt.Errorf("%s (%s), but the state directory has %d saved snapshots and %d machines, which only a database can identify; nothing was changed",
			what, dirs.Database(), saved, machines),
		Hint: `restore a backup: rundlet restore FILE; or start with an empty database, which makes everything an orphan: rundlet serve --accept-empty-database`}
}

// OpenDatabase opens the database of a node. If it is damaged, the error has a hint.
func OpenDatabase(ctx context.Context, dirs layout.Layout) (*store.Store, error) {
	db, err := store.Open(ctx, dirs.Database())
	if errors.Is(err, store.ErrDamaged) {
		return nil, &vm.Error{Op: "open the database", Err: fmt.Errorf("%w; nothing was changed", err),
			Hint: fmt.Sprintf("restore a backup: rundlet restore FILE; or move %s* away and start with an empty database, which makes everything an orphan: rundlet serve --accept-empty-database", dirs.Database())}
	}
	return db, err
}

// OpenToRead opens the database for a command that changes nothing, beside a daemon. It
// refuses the state directory of a newer program; the error is fs.ErrNotExist if the database does not exist.
func OpenToRead(ctx context.Context, dirs layout.Layout) (*store.Store, error) {
	if err := CheckFormat(dirs); err != nil {
		return nil, err
	}
	return store.OpenReadOnly(ctx, dirs.Database())
}

// OpenToChange opens the database, or makes an empty one, for a command that may run
// beside a daemon. It refuses the state directory of a newer program, which may keep
// elsewhere what the command would write, and does not migrate the database of an older.
func OpenToChange(ctx context.Context, dirs layout.Layout) (*store.Store, error) {
	if err := CheckFormat(dirs); err != nil {
		return nil, err
	}
	return store.OpenAsItIs(ctx, dirs.Database())
}

// driverFiles counts the snapshots of drivers in the state directory, and the
// machines of its daemon that have a record.
func driverFiles(dirs layout.Layout) (snapshots, machines int) {
	saved, _ := filepath.Glob(filepath.Join(filepath.Dir(dirs.DriverState("x")), "*", "snapshots", "*", "*"))
	records, _ := filepath.Glob(filepath.Join(dirs.InstanceDir(dirs.Instance()), "vm", "machines", "*.json"))
	return len(saved), len(records)
}
