//go:build linux

package gvisor

import (
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/rundlet/rundlet/internal/durable"
	"github.com/rundlet/rundlet/vm/gvisor/files"
	"github.com/rundlet/rundlet/vm/gvisor/oci"
)

// runscStatus is the status of a container in gVisor's words.
type runscStatus string

const (
	runscCreated runscStatus = "created"
	runscRunning runscStatus = "running"
	runscPaused  runscStatus = "paused"
)

// containerState is gVisor's state file of a container, as far as its command line needs it to
// execute a program (ExecCommand).
type containerState struct {
	ID        string       `json:"id"`
	Spec      *specs.Spec  `json:"spec"`
	BundleDir string       `json:"bundleDir"`
	CreatedAt time.Time    `json:"createdAt"`
	Status    runscStatus  `json:"status"`
	GoferPid  int          `json:"goferPid"`
	Sandbox   sandboxState `json:"sandbox"`
	Saver     saverState   `json:"saver"`
}

type sandboxState struct {
	ID                string    `json:"id"`
	Pid               int       `json:"pid"`
	ControlSocketPath string    `json:"controlSocketPath"`
	StartTime         time.Time `json:"startTime"`
}

type saverState struct {
	RootDir string      `json:"rootDir"`
	ID      containerID `json:"id"`
}

type containerID struct {
	SandboxID   string `json:"sandboxId"`
	ContainerID string `json:"containerId"`
}

// writeState writes the state file such that it is never seen half.
func (m *machine) writeState(dirs files.Dirs, status runscStatus) error {
	c := containerState{
		ID: m.Key, Spec: oci.Spec(m.spec, m.oneLayer), BundleDir: dirs.Bundle(m.Key), CreatedAt: m.created, Status: status,
		Sandbox: sandboxState{ID: m.Key, Pid: m.sandbox.PID, ControlSocketPath: dirs.Socket(m.Key), StartTime: m.created},
		Saver:   saverState{RootDir: dirs.Root(), ID: containerID{SandboxID: m.Key, ContainerID: m.Key}},
	}
	if m.gofer != nil {
		c.GoferPid = m.gofer.PID
	}
	return durable.WriteJSON(dirs.ContainerState(m.Key), c)
}
