//go:build linux

package gvisor

import (
	"fmt"
	"path/filepath"

	"gvisor.dev/gvisor/runsc/container"
	"gvisor.dev/gvisor/runsc/sandbox"
)

// stateFile is where gVisor's library keeps what it knows of a container. It
// writes it in place, so that a process that dies meanwhile leaves half of it,
// and after the change that it records, which leaves it wrong. So it is written
// here for gVisor's command line (see ExecCommand), and never read.
func (c Config) stateFile(key string) string {
	return filepath.Join(c.rootDir(), key+"_sandbox:"+key+".state")
}

// writeState writes the state file such that it is never seen half.
func (m *machine) writeState(file string, status container.Status) error {
	m.c.Status = status
	return writeJSON(file, m.c)
}

// container makes gVisor's object for the sandbox of a machine from what its record says.
func (m *machine) container(conf Config) *container.Container {
	id := container.FullID{SandboxID: m.key, ContainerID: m.key}
	c := &container.Container{
		ID:        m.key,
		Spec:      ociSpec(m.spec, m.oneLayer),
		BundleDir: conf.bundle(m.key),
		CreatedAt: m.created,
		Status:    container.Created,
		Saver:     container.StateFile{RootDir: conf.rootDir(), ID: id},
		Sandbox: &sandbox.Sandbox{
			ID:                m.key,
			StartTime:         m.created,
			ControlSocketPath: filepath.Join(conf.rootDir(), fmt.Sprintf("runsc-%s.sock", m.key)),
		},
	}
	c.Sandbox.SetRootDir(conf.rootDir())
	c.Sandbox.Pid.Store(m.sandbox.pid)
	if m.gofer != nil {
		c.GoferPid.Store(m.gofer.pid)
	}
	return c
}
