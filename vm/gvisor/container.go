//go:build linux

package gvisor

import (
	"gvisor.dev/gvisor/runsc/container"
	"gvisor.dev/gvisor/runsc/sandbox"

	"github.com/rundlet/rundlet/vm/gvisor/files"
	"github.com/rundlet/rundlet/vm/gvisor/oci"
)

// writeState writes the state file such that it is never seen half.
func (m *machine) writeState(file string, status container.Status) error {
	m.c.Status = status
	return files.WriteJSON(file, m.c)
}

// container makes gVisor's object for the sandbox of a machine from what its record says.
func (m *machine) container(dirs files.Dirs) *container.Container {
	id := container.FullID{SandboxID: m.key, ContainerID: m.key}
	c := &container.Container{
		ID:        m.key,
		Spec:      oci.Spec(m.spec, m.oneLayer),
		BundleDir: dirs.Bundle(m.key),
		CreatedAt: m.created,
		Status:    container.Created,
		Saver:     container.StateFile{RootDir: dirs.Root(), ID: id},
		Sandbox: &sandbox.Sandbox{
			ID:                m.key,
			StartTime:         m.created,
			ControlSocketPath: dirs.Socket(m.key),
		},
	}
	c.Sandbox.SetRootDir(dirs.Root())
	c.Sandbox.Pid.Store(m.sandbox.PID)
	if m.gofer != nil {
		c.GoferPid.Store(m.gofer.PID)
	}
	return c
}
