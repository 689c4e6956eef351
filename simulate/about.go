package simulate

import (
	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/pressure"
	"github.com/rundlet/rundlet/simulate/daemon"
	"github.com/rundlet/rundlet/simulate/report"
	"github.com/rundlet/rundlet/simulate/world"
)

// about describes the node and the daemon of a policy.
func about(p daemon.Policy) report.About {
	whole := p.Capacity()
	most := whole.Sandboxes
	for _, r := range [][2]int64{{whole.CPUs, daemon.PerSandbox.CPUs}, {whole.MemoryBytes, daemon.PerSandbox.MemoryBytes}, {whole.DiskBytes, daemon.PerSandbox.DiskBytes}} {
		most = min(most, r[0]/r[1])
	}
	reserve := p.Reserve()
	return report.About{
		Processors: world.Processors, MemoryMiB: world.MemoryTotal / world.MiB, DiskMiB: world.DiskTotal / world.MiB,
		SandboxVCPUs: world.SandboxVCPUs, SandboxMemoryMiB: world.SandboxMemoryMiB, SandboxDiskMiB: world.SandboxDiskMiB, Sandboxes: most,
		WarmReady: p.Warm.Ready, WarmPrepared: p.Warm.Prepared,
		ReserveMemoryMiB: reserve.Memory / world.MiB, ReserveDiskMiB: reserve.Disk / world.MiB,
		SampleInterval: report.Millis(pressure.Interval), Hold: report.Millis(p.Pressure().Thresholds().Hold),
		Queue: p.MaxPending, QueueWait: report.Millis(capacity.DefaultMaxWait),
		Decided:  "admission and the queue, the warm pool, the reaction to pressure, the disk floors, the recovery after a crash",
		Invented: "machines, their costs and failures, clients, the rest of the host; bounds of one API key and the store are left out",
	}
}
