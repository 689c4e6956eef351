package main

import (
	"context"
	"path/filepath"

	"github.com/rundlet/rundlet/doctor"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/network"
	"github.com/rundlet/rundlet/vm/gvisor"
)

// doctorChecks are what the packages of the stack need of the machine.
func doctorChecks(dirs layout.Layout) []doctor.CheckFunc {
	return []doctor.CheckFunc{
		func(context.Context) []doctor.Finding {
			f := findings{name: "gvisor", fine: "sandboxes can run"}
			for _, p := range gvisor.Check(dirs.InstanceDir(dirs.Instance())) {
				f.add(p.Fatal, p.What, p.Hint)
			}
			return f.list()
		},
		func(context.Context) []doctor.Finding {
			f := findings{name: "network", fine: "sandboxes can be isolated and connected"}
			for _, p := range network.Check(network.Config{RunDir: filepath.Join(dirs.InstanceDir(dirs.Instance()), "net")}) {
				f.add(p.Fatal, p.What, p.Hint)
			}
			return f.list()
		},
	}
}

// findings collects the problems of one package; without any it is fine.
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

func (f *findings) list() []doctor.Finding {
	if len(f.problems) == 0 {
		return []doctor.Finding{{Name: f.name, Status: doctor.OK, Detail: f.fine}}
	}
	return f.problems
}
