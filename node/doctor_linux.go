package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/rundlet/rundlet/doctor"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/network"
	"github.com/rundlet/rundlet/node/statedir"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// Checks returns the checks of driver, network and state directory, for package doctor.
func Checks(dirs layout.Layout) []doctor.CheckFunc {
	var checks []doctor.CheckFunc
	for _, d := range vm.Drivers() {
		checks = append(checks, func(context.Context) []doctor.Finding {
			f := findings{name: d.Name, fine: "sandboxes can run"}
			for _, p := range d.Check(vm.Options{StateDir: dirs.DriverState(d.Name), RunDir: dirs.InstanceDir(dirs.Instance()), Kernels: dirs.Kernels()}) {
				f.add(p.Fatal, p.What, p.Hint)
			}
			if d.Optional {
				f.optional()
			}
			return f.list()
		})
	}
	return append(checks,
		func(context.Context) []doctor.Finding {
			f := findings{name: "network", fine: "sandboxes can be isolated and connected"}
			for _, p := range network.Check(network.Config{RunDir: filepath.Join(dirs.InstanceDir(dirs.Instance()), "net")}) {
				f.add(p.Fatal, p.What, p.Hint)
			}
			return f.list()
		},
		func(ctx context.Context) []doctor.Finding {
			f := findings{name: "state", fine: "no orphans or quarantined sandboxes" + nodeID(ctx, dirs)}
			stateProblems(ctx, dirs, &f)
			return f.list()
		})
}

// nodeID returns a note with the node id of a state directory, empty if no node used it yet.
func nodeID(ctx context.Context, dirs layout.Layout) string {
	db, err := statedir.OpenToRead(ctx, dirs)
	if err != nil {
		return "" // stateProblems reports what is wrong with it.
	}
	defer db.Close()
	if id, err := db.Settings.KnownNodeID(ctx); err == nil && id != "" {
		return "; this is node " + id
	}
	return ""
}

// stateProblems adds problems of the state directory that need an operator.
func stateProblems(ctx context.Context, dirs layout.Layout, f *findings) {
	if err := statedir.CheckFormat(dirs); err != nil {
		f.add(true, err.Error(), "use the newer program")
		return
	}
	if err := statedir.CheckDatabase(ctx, dirs); err != nil {
		hint := "restore a backup: rundlet restore FILE"
		var hinted *vm.Error
		if errors.As(err, &hinted) {
			hint = hinted.Hint
		}
		f.add(true, err.Error(), hint)
		return
	}
	list, err := Orphans(ctx, dirs)
	if errors.Is(err, store.ErrOlder) {
		return // The next start brings it up to date.
	}
	if err != nil {
		f.add(true, err.Error(), "restore a backup: rundlet restore FILE")
		return
	}
	aside, quarantined := 0, 0
	for _, line := range list {
		if line.Kind == "sandbox" {
			quarantined++
		} else {
			aside++
		}
	}
	if aside > 0 {
		f.add(false, fmt.Sprintf("%d orphans: snapshots or machines without a record in the database", aside),
			"see \"rundlet orphan ls\"; if records were lost, restore a backup: rundlet restore FILE")
	}
	if quarantined > 0 {
		f.add(false, fmt.Sprintf("%d sandboxes are quarantined", quarantined), "see \"rundlet orphan ls\"")
	}
}

// findings collects the problems of one package.
type findings struct {
	name, fine string
	problems   []doctor.Finding
}

func (f *findings) add(fatal bool, what, hint string) {
	status := doctor.Warn
	if fatal {
		status = doctor.Fail
	}
	f.problems = append(f.problems, doctor.Finding{Name: f.name, Status: status, Detail: what, Hint: hint})
}

// optional makes the problems those of something that a host need not have.
func (f *findings) optional() {
	for i := range f.problems {
		f.problems[i].Status, f.problems[i].Detail = doctor.Info, "needed only with --driver "+f.name+": "+f.problems[i].Detail
	}
}

func (f *findings) list() []doctor.Finding {
	if len(f.problems) == 0 {
		return []doctor.Finding{{Name: f.name, Status: doctor.OK, Detail: f.fine}}
	}
	return f.problems
}
