package api

import (
	"context"
	"net/http"
)

// State is what a machine does.
type State string

// The states of a machine.
const (
	NotStarted State = "Not started"
	Running    State = "Running"
	Paused     State = "Paused"
)

// Machine is its hardware.
type Machine struct {
	VCPUs      int  `json:"vcpu_count"`
	MemoryMiB  int  `json:"mem_size_mib"`
	SMT        bool `json:"smt"`
	TrackDirty bool `json:"track_dirty_pages"`
}

// BootSource is what it boots. Paths are those that the process sees. Without arguments Firecracker gives the kernel some, which forbid it modules.
type BootSource struct {
	Kernel    string `json:"kernel_image_path"`
	Initramfs string `json:"initrd_path"`
	Arguments string `json:"boot_args"`
}

// The ways in which a drive's file is written: with its flushes, and without.
const (
	Writeback = "Writeback"
	Unsafe    = "Unsafe"
)

// Sync is the engine of a drive that makes one request after the other.
const Sync = "Sync"

// Drive is a disk. The guest has them in the order in which they were added.
type Drive struct {
	ID       string `json:"drive_id"`
	Path     string `json:"path_on_host"`
	Root     bool   `json:"is_root_device"`
	ReadOnly bool   `json:"is_read_only"`
	Cache    string `json:"cache_type"`
	Engine   string `json:"io_engine"`
}

// Interface is a network card.
type Interface struct {
	ID     string `json:"iface_id"`
	MAC    string `json:"guest_mac"`
	Device string `json:"host_dev_name"`
}

// Vsock is a way to the guest: a Unix socket that the process makes at Path.
type Vsock struct {
	CID  int    `json:"guest_cid"`
	Path string `json:"uds_path"`
}

// Kind is what the memory file of a snapshot has.
type Kind string

// Full has all memory, and Diff what was written since the last snapshot, or since it was loaded, and holes.
const (
	Full Kind = "Full"
	Diff Kind = "Diff"
)

// Snapshot is a snapshot that is made. Paths are those that the process sees; it writes over what is there.
type Snapshot struct {
	Kind   Kind   `json:"snapshot_type"`
	State  string `json:"snapshot_path"`
	Memory string `json:"mem_file_path"`
}

// Load is a snapshot that is loaded. The memory file must stay as it is while the machine lives.
type Load struct {
	State, Memory string
	// TrackDirty is needed for a Diff of the machine.
	TrackDirty bool
	// Resume lets the processors run at once.
	Resume   bool
	Networks []Override
}

// Override gives a network card another device.
type Override struct {
	ID     string `json:"iface_id"`
	Device string `json:"host_dev_name"`
}

func (c *Client) put(ctx context.Context, path string, request any) error {
	return c.do(ctx, http.MethodPut, path, request, nil)
}

// State asks what the machine does. It waits for a snapshot that is being made.
func (c *Client) State(ctx context.Context) (State, error) {
	var answer struct {
		State State `json:"state"`
	}
	err := c.do(ctx, http.MethodGet, "/", nil, &answer)
	return answer.State, err
}

// SetMachine and the others before Start describe a machine that is booted.
func (c *Client) SetMachine(ctx context.Context, m Machine) error {
	return c.put(ctx, "/machine-config", m)
}

func (c *Client) SetBootSource(ctx context.Context, b BootSource) error {
	return c.put(ctx, "/boot-source", b)
}

func (c *Client) AddDrive(ctx context.Context, d Drive) error {
	return c.put(ctx, "/drives/"+d.ID, d)
}

func (c *Client) AddInterface(ctx context.Context, i Interface) error {
	return c.put(ctx, "/network-interfaces/"+i.ID, i)
}

func (c *Client) SetVsock(ctx context.Context, v Vsock) error { return c.put(ctx, "/vsock", v) }

// AddEntropy gives the guest a device with random numbers of the host.
func (c *Client) AddEntropy(ctx context.Context) error {
	return c.put(ctx, "/entropy", struct{}{})
}

// Start boots the machine.
func (c *Client) Start(ctx context.Context) error {
	return c.put(ctx, "/actions", map[string]string{"action_type": "InstanceStart"})
}

// Pause stops the processors, and Resume lets them run. Both succeed if it is so already.
func (c *Client) Pause(ctx context.Context) error  { return c.setState(ctx, "Paused") }
func (c *Client) Resume(ctx context.Context) error { return c.setState(ctx, "Resumed") }

func (c *Client) setState(ctx context.Context, state string) error {
	return c.do(ctx, http.MethodPatch, "/vm", map[string]string{"state": state}, nil)
}

// Save makes a snapshot of a paused machine. It ends all connections of its vsock.
func (c *Client) Save(ctx context.Context, s Snapshot) error {
	return c.put(ctx, "/snapshot/create", s)
}

// Load loads a snapshot into a new process. If it fails, the process has ended.
func (c *Client) Load(ctx context.Context, l Load) error {
	type backend struct {
		Type string `json:"backend_type"`
		Path string `json:"backend_path"`
	}
	request := struct {
		State    string     `json:"snapshot_path"`
		Memory   backend    `json:"mem_backend"`
		Diff     *bool      `json:"enable_diff_snapshots,omitempty"`
		Track    *bool      `json:"track_dirty_pages,omitempty"`
		Resume   bool       `json:"resume_vm"`
		Networks []Override `json:"network_overrides,omitempty"`
	}{State: l.State, Memory: backend{"File", l.Memory}, Resume: l.Resume, Networks: l.Networks}
	if c.version.Before(trackOnLoad) {
		request.Diff = &l.TrackDirty
	} else {
		request.Track = &l.TrackDirty
	}
	return c.put(ctx, "/snapshot/load", request)
}
