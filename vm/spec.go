package vm

import "time"

// Spec describes the machine to make. Every field is optional unless a driver says
// otherwise; a driver refuses fields that it cannot honour with ErrUnsupported,
// before any effect.
type Spec struct {
	// Rootfs is the path of the root file system: a directory or an image, in the format of the
	// driver (gVisor: a plain EROFS file). A file must not change while a machine uses it, and
	// a snapshot needs the same file or an equal one.
	Rootfs string `json:"rootfs,omitempty"`
	// RootfsReadOnly forbids writes. Otherwise writes go to a private layer:
	// no guest ever writes to Rootfs itself.
	RootfsReadOnly bool `json:"rootfs_read_only,omitempty"`
	// Mounts are host directories shown in the guest. Also on restore: the
	// targets must be those of the snapshot, the sources may differ. A driver
	// may take images as sources too, for reading only (gVisor; where Rootfs is an image, only those).
	Mounts []Mount `json:"mounts,omitempty"`
	// Args, Env and Cwd are the guest's first process, where the driver starts
	// one itself (gVisor). Env is KEY=VALUE.
	Args []string `json:"args,omitempty"`
	Env  []string `json:"env,omitempty"`
	Cwd  string   `json:"cwd,omitempty"`
	// Kernel and BootArgs are the guest kernel and its command line, for the
	// drivers that boot one.
	Kernel   string `json:"kernel,omitempty"`
	BootArgs string `json:"boot_args,omitempty"`
	// Hostname also on restore.
	Hostname string `json:"hostname,omitempty"`

	// VCPUs limits processor time, in whole processors; 0 means no limit. Also on
	// restore where the driver enforces it from outside.
	VCPUs int `json:"vcpus,omitempty"`
	// Weight is the machine's share of processors that others want too; 0 is
	// DefaultWeight. Also on restore. See Weigher, whose drivers honour it.
	Weight int `json:"weight,omitempty"`
	// MemoryMiB limits guest memory; 0 means no limit. Also on restore, as VCPUs.
	MemoryMiB int `json:"memory_mib,omitempty"`
	// DiskMiB limits the data that the guest writes to the root and to mounts with
	// Overlay, all together; 0 is the driver's default. Where the root is read-only, it limits
	// each such mount.
	DiskMiB int `json:"disk_mib,omitempty"`
	// MaxProcesses limits guest processes; 0 is the driver's default.
	MaxProcesses int `json:"max_processes,omitempty"`

	// NetNS is the path of a network namespace that the machine lives in, for
	// drivers that take one. Also on restore. The caller prepares it, with its
	// filter rules, before Create.
	NetNS string `json:"netns,omitempty"`
	// GuestIP is the address at which Dial reaches the guest. Also on restore.
	GuestIP string `json:"guest_ip,omitempty"`
	// Interfaces are host devices given to the guest, for drivers that take
	// devices.
	Interfaces []NetworkInterface `json:"interfaces,omitempty"`

	// Drives are extra block devices; the id "rootfs" is reserved.
	Drives []Drive `json:"drives,omitempty"`
	// RootfsRateLimit limits the root drive.
	RootfsRateLimit *RateLimiter `json:"rootfs_rate_limit,omitempty"`
	// Vsock gives the guest a vsock device.
	Vsock *Vsock `json:"vsock,omitempty"`
	// TrackDirtyPages makes later differential snapshots possible.
	TrackDirtyPages bool `json:"track_dirty_pages,omitempty"`

	// RestoreFrom makes the machine from a snapshot.
	RestoreFrom *SnapshotRef `json:"restore_from,omitempty"`
}

// Mount shows a host directory in the guest. It is read-only in the sense that
// no write ever reaches the host; with Overlay the guest may write to a private
// layer above it. The target must exist in the root file system, or in the mount
// that it is in (ErrInvalid where a driver can see it): no driver makes it there.
type Mount struct {
	Source  string `json:"source"`
	Target  string `json:"target"`
	Overlay bool   `json:"overlay,omitempty"`
}

// SnapshotRef names a snapshot to restore.
type SnapshotRef struct {
	VMID       string `json:"vm_id"`
	SnapshotID string `json:"snapshot_id"`
	// ResumeImmediately makes Create return a running machine. Otherwise it is
	// stopped: prepared as far as the mechanism allows, and Start resumes it.
	ResumeImmediately bool `json:"resume_immediately,omitempty"`
	// AnyHostFiles restores also over files of the host that changed since (see
	// HostChangedError). Programs go wrong over those: it is for a machine that is
	// frozen at once, to save its file system.
	AnyHostFiles bool `json:"any_host_files,omitempty"`
	// NetworkOverrides replaces host devices of the snapshot.
	NetworkOverrides []NetworkOverride `json:"network_overrides,omitempty"`
}

// NetworkOverride gives an interface of a snapshot another host device.
type NetworkOverride struct {
	InterfaceID string `json:"iface_id"`
	HostDevice  string `json:"host_dev_name"`
}

// NetworkInterface is a guest network card and the host device behind it.
type NetworkInterface struct {
	ID         string       `json:"iface_id"`
	HostDevice string       `json:"host_dev_name"`
	GuestMAC   string       `json:"guest_mac,omitempty"`
	RxLimit    *RateLimiter `json:"rx_rate_limiter,omitempty"`
	TxLimit    *RateLimiter `json:"tx_rate_limiter,omitempty"`
}

// Drive is a block device backed by a host file.
type Drive struct {
	ID        string       `json:"drive_id"`
	Path      string       `json:"path_on_host"`
	ReadOnly  bool         `json:"is_read_only,omitempty"`
	RateLimit *RateLimiter `json:"rate_limiter,omitempty"`
}

// Vsock is a guest's vsock device and its socket on the host.
type Vsock struct {
	CID  uint32 `json:"guest_cid"`
	Path string `json:"uds_path"`
}

// RateLimiter limits bytes and operations; nil means no limit.
type RateLimiter struct {
	Bandwidth *TokenBucket `json:"bandwidth,omitempty"`
	Ops       *TokenBucket `json:"ops,omitempty"`
}

// TokenBucket holds Size tokens, refilled completely every Refill, and an
// extra burst that is spent once.
type TokenBucket struct {
	Size         int64         `json:"size"`
	OneTimeBurst int64         `json:"one_time_burst,omitempty"`
	Refill       time.Duration `json:"refill"`
}

// Stats is the resource use of a machine, measured from outside the guest.
type Stats struct {
	Time time.Time `json:"time"`
	// CPUTime is processor time since the machine was made or restored.
	CPUTime time.Duration `json:"cpu_time"`
	// MemoryBytes is all memory the machine is charged for: guest and overhead.
	MemoryBytes int64 `json:"memory_bytes"`
	// MemoryLimitBytes is 0 without a limit.
	MemoryLimitBytes int64 `json:"memory_limit_bytes"`
	// Processes counts host threads where a driver cannot see guest processes.
	Processes int64 `json:"processes"`
	// Weight is that of the processors (see Weigher); 0 where there is none.
	Weight int `json:"weight,omitempty"`
}
