//go:build linux

package gvisor

import (
	"gvisor.dev/gvisor/runsc/container"
	"gvisor.dev/gvisor/runsc/sandbox"

	"github.com/rundlet/rundlet/internal/durable"
	"github.com/rundlet/rundlet/vm/gvisor/files"
	"github.com/rundlet/rundlet/vm/gvisor/oci"
)

// writeState writes the state file such that it is never seen half.
func (m *machine) writeState(file string, status container.Status) error {
	m.c.Status = status
	return durable.WriteJSON(file, m.c)
}

// container makes gVisor's object for the sandbox of a machine from what its record says.
func (m *machine) container(dirs files.Dirs) *container.Container {
	id := container.FullID{SandboxID: m.Key, ContainerID: m.Key}
	c := &container.Container{
		ID:        m.Key,
		Spec:      oci.Spec(m.spec, m.oneLayer),
		BundleDir: dirs.Bundle(m.Key),
		CreatedAt: m.created,
		Status:    container.Created,
		Saver:     container.StateFile{RootDir: dirs.Root(), ID: id},
		Sandbox: &sandbox.Sandbox{
			ID:                m.Key,
			StartTime:         m.created,
			ControlSocketPath: dirs.Socket(m.Key),
		},
	}
	c.Sandbox.SetRootDir(dirs.Root())
	c.Sandbox.Pid.Store(m.sandbox.PID)
	if m.gofer != nil {
		c.GoferPid.Store(m.gofer.PID)
	}
	return c
}
