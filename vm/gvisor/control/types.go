//go:build linux

package control

import (
	"gvisor.dev/gvisor/pkg/urpc"
)

// The arguments and results have the names of gVisor's. Fields that the driver leaves at
// their zero value are not here; the test has a list of them.

// SaveOpts are the arguments of Checkpoint. The files are those of saveFiles.
type SaveOpts struct {
	Metadata      map[string]string `json:"metadata"`
	HavePagesFile bool              `json:"have_pages_file"`
	urpc.FilePayload
	Resume bool
}

// RestoreOpts are the arguments of Restore. The files are those of saveFiles.
type RestoreOpts struct {
	urpc.FilePayload
	HavePagesFile bool
}

// FSSaveArgs are the arguments of FSSave. The files are those of fsFiles.
type FSSaveArgs struct {
	urpc.FilePayload
	Paths []ResourceID `json:"paths"`
}

// ResourceID is a file system in the guest, by its mount point.
type ResourceID struct {
	Path string `json:"path"`
}

// ExecArgs are the arguments of ExecuteAsync.
type ExecArgs struct {
	Argv             []string `json:"argv"`
	WorkingDirectory string   `json:"wd"`
	ContainerID      string
}

// WaitPIDArgs are the arguments of WaitPID.
type WaitPIDArgs struct {
	PID int32
	CID string
}

// TarRootfsUpperLayerOpts are the arguments of TarRootfsUpperLayer.
type TarRootfsUpperLayerOpts struct {
	ContainerID string
	urpc.FilePayload
}

// EventOut is the result of Event.
type EventOut struct {
	Event Event `json:"event"`
	// ContainerUsage is the processor time of each container, in nanoseconds.
	ContainerUsage map[string]uint64 `json:"containerUsage"`
}

// Event is a part of EventOut.
type Event struct {
	Data Stats `json:"data"`
}

// Stats is a part of EventOut.
type Stats struct {
	Memory Memory `json:"memory"`
	Pids   Pids   `json:"pids"`
}

// Memory is a part of EventOut.
type Memory struct {
	Usage MemoryEntry `json:"usage"`
}

// MemoryEntry is a part of EventOut, in bytes.
type MemoryEntry struct {
	Usage uint64 `json:"usage"`
}

// Pids is a part of EventOut.
type Pids struct {
	Current uint64 `json:"current"`
}
