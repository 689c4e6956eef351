// Package launch is what the driver and the processes of a sandbox agree on: the file
// that the one writes and the others read, and their command lines and scores.
//
// It may import vm and the standard library; the driver and the sandbox's side of it
// import it.
package launch

import (
	"strings"

	"github.com/rundlet/rundlet/vm"
)

// File is what the creator of a sandbox passes to its processes, by a file in
// the bundle, beyond gVisor's own flags. The processes set themselves up with
// it before gVisor's code runs. So the creator need not move between control
// groups or exchange its standard streams, which are process-wide, and machines
// can be created in parallel.
type File struct {
	// Engine is the path of the sandbox program that runs the sandbox: a process of another one
	// executes it. Empty is the one that was started.
	Engine      string `json:"engine,omitempty"`
	Console     string `json:"console"`
	CPUs        int    `json:"cpus,omitempty"`
	MemoryBytes int64  `json:"memory_bytes,omitempty"`
	// Join are the files of cgroups.Join.
	Join []string `json:"join,omitempty"`
	// StartHeap is the heap that loading a snapshot may allocate before garbage is
	// collected, if more than usual.
	StartHeap int64 `json:"start_heap,omitempty"`
	// Tasks is how many processes and threads the sandbox may have on the host, and
	// TasksFile says how many it has.
	Tasks     int64  `json:"tasks,omitempty"`
	TasksFile string `json:"tasks_file,omitempty"`
	// SetUID are files that are made set-uid before the guest runs.
	SetUID []string `json:"set_uid,omitempty"`
	// Mounts are shown below Rootfs by the file server: see oci.Below.
	Rootfs string     `json:"rootfs,omitempty"`
	Mounts []vm.Mount `json:"mounts,omitempty"`
	// LayerDir is where the sandbox makes the file of its writable layer, above an image.
	LayerDir string `json:"layer_dir,omitempty"`
}

// The names of files in a bundle: the File, and what a process wrote that could not
// set itself up.
const (
	FileName      = "launch.json"
	ErrorFileName = "launch.err"
)

// Command returns the internal gVisor command and its bundle if args
// are those of a sandbox process at its first start. It reports nothing for a
// second start (gVisor re-executes itself in some builds to drop capabilities,
// in an empty root): those processes are set up already.
func Command(args []string) (command, bundle string) {
	for i := 1; i < len(args); i++ {
		name, value, inline := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		switch {
		case command == "" && (args[i] == "boot" || args[i] == "gofer"):
			command = args[i]
		case command == "" || !strings.HasPrefix(args[i], "-"):
		case name == "apply-caps" && value == "false":
			return "", ""
		case name == "bundle" && inline:
			bundle = value
		case name == "bundle" && i+1 < len(args):
			bundle = args[i+1]
		}
	}
	return command, bundle
}
