package statedir

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// Canonical returns the layout with the state directory under the path by
// which its sandboxes and snapshots are known: their rows, machines and root
// directories have it in their names. By another path none of them would be
// found. It fails if another directory is at that path, or none. The path
// contains no symbolic links, since drivers may refuse to follow them.
func Canonical(ctx context.Context, dirs layout.Layout) (_ layout.Layout, err error) {
	if dirs.StateDir, err = filepath.EvalSymlinks(dirs.StateDir); err != nil {
		return dirs, err
	}
	paths, err := pathsOfSaved(ctx, dirs)
	if err != nil || len(paths) == 0 || paths[dirs.StateDir] {
		return dirs, err
	}
	here, err := os.Stat(dirs.StateDir)
	if err != nil {
		return dirs, err
	}
	var other string
	for path := range paths {
		// Mounted at both: Lstat, since a link does not help.
		if there, err := os.Lstat(path); err == nil && os.SameFile(here, there) {
			dirs.StateDir = path
			return dirs, nil
		}
		other = path
	}
	return dirs, &vm.Error{Op: "open the state directory",
		Err:  fmt.Errorf("%s was at %s when its sandboxes and snapshots were saved, and they can be found only at that path; nothing was changed", dirs.StateDir, other),
		Hint: fmt.Sprintf("move it back, or mount it there: mkdir -p %[2]s && mount --bind %[1]s %[2]s", dirs.StateDir, other)}
}

// pathsOfSaved are those of the state directory in the rows of sandboxes that are
// not killed, and of snapshots. Errors of the database are reported elsewhere.
func pathsOfSaved(ctx context.Context, dirs layout.Layout) (map[string]bool, error) {
	db, err := OpenToRead(ctx, dirs)
	if err != nil {
		return nil, nil
	}
	defer db.Close()
	specs, err := db.Specs(ctx)
	if errors.Is(err, store.ErrOlder) || errors.Is(err, store.ErrDamaged) {
		return nil, nil
	}
	paths := map[string]bool{}
	for _, text := range specs {
		var spec vm.Spec
		if json.Unmarshal([]byte(text), &spec) != nil {
			continue
		}
		// As in layout.Layout.Base.
		dir := layout.Layout{StateDir: filepath.Dir(filepath.Dir(filepath.Dir(spec.Rootfs)))}
		if dir.Base() == filepath.Dir(spec.Rootfs) {
			paths[dir.StateDir] = true
		}
	}
	return paths, err
}
