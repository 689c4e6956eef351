package simulate

import (
	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/pressure"
	"github.com/rundlet/rundlet/simulate/report"
)

// about describes the node and the daemon of a policy.
func about(p policy) report.About {
	whole := p.capacity()
	most := whole.Sandboxes
	for _, r := range [][2]int64{{whole.CPUs, perSandbox.CPUs}, {whole.MemoryBytes, perSandbox.MemoryBytes}, {whole.DiskBytes, perSandbox.DiskBytes}} {
		most = min(most, r[0]/r[1])
	}
	reserve := p.reserve()
	return report.About{
		Processors: processors, MemoryMiB: memoryTotal / mib, DiskMiB: diskTotal / mib,
		SandboxVCPUs: SandboxVCPUs, SandboxMemoryMiB: SandboxMemoryMiB, SandboxDiskMiB: SandboxDiskMiB, Sandboxes: most,
		WarmReady: p.warm.Ready, WarmPrepared: p.warm.Prepared,
		ReserveMemoryMiB: reserve.memory / mib, ReserveDiskMiB: reserve.disk / mib,
		SampleInterval: report.Millis(pressure.Interval), Hold: report.Millis(p.pressure().Thresholds().Hold),
		Queue: p.maxPending, QueueWait: report.Millis(capacity.DefaultMaxWait),
		Decided:  "admission and the queue, the warm pool, the reaction to pressure, the disk floors, the recovery after a crash",
		Invented: "machines, their costs and failures, clients, the rest of the host; bounds of one API key and the store are left out",
	}
}
