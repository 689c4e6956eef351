package report

import (
	"fmt"
	"time"
)

// About is what a report is about: the node, the configuration of its daemon, and
// how far the simulation goes.
type About struct {
	Processors int   `json:"processors"`
	MemoryMiB  int64 `json:"memory_mib"`
	DiskMiB    int64 `json:"disk_mib"`
	// A sandbox is promised SandboxVCPUs and so on; Sandboxes of them fit the node.
	SandboxVCPUs     int   `json:"sandbox_vcpus"`
	SandboxMemoryMiB int64 `json:"sandbox_memory_mib"`
	SandboxDiskMiB   int64 `json:"sandbox_disk_mib"`
	Sandboxes        int64 `json:"sandboxes"`
	// WarmReady and WarmPrepared are kept of the base.
	WarmReady    int `json:"warm_ready"`
	WarmPrepared int `json:"warm_prepared"`
	// What is kept for the host.
	ReserveMemoryMiB int64 `json:"reserve_memory_mib"`
	ReserveDiskMiB   int64 `json:"reserve_disk_mib"`
	// SampleInterval is the time between two samples of the host, and Hold how long
	// pressure must be gone.
	SampleInterval Millis `json:"sample_interval_ms"`
	Hold           Millis `json:"hold_ms"`
	Queue          int    `json:"queue"`
	QueueWait      Millis `json:"queue_wait_ms"`
	// Decided names the decisions of the daemon's own code, Invented the other parts.
	Decided  string `json:"decided_by_the_daemons_code"`
	Invented string `json:"invented"`
}

// rows are lines of Print.
func (a About) rows() [][2]string {
	return [][2]string{
		{"node", fmt.Sprintf("%d processors, %d GiB of memory, %d GiB of disk; room for %d sandboxes of %d processors, %d MiB, %d MiB of disk",
			a.Processors, a.MemoryMiB>>10, a.DiskMiB>>10, a.Sandboxes, a.SandboxVCPUs, a.SandboxMemoryMiB, a.SandboxDiskMiB)},
		{"daemon", fmt.Sprintf("warm %d, prepared %d; queue %d, wait %v; keeps %d MiB of memory and %d MiB of disk; samples every %v, hold %v",
			a.WarmReady, a.WarmPrepared, a.Queue, time.Duration(a.QueueWait), a.ReserveMemoryMiB, a.ReserveDiskMiB, time.Duration(a.SampleInterval), time.Duration(a.Hold))},
		{"decided by the daemon's code", a.Decided},
		{"invented", a.Invented},
	}
}
