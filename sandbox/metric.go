package sandbox

import "time"

// Metric is one measurement of a sandbox.
type Metric struct {
	Time       time.Time
	CPUUsedPct float64
	CPUCount   int
	MemUsed    int64
	MemTotal   int64
	MemCache   int64
	DiskUsed   int64
	DiskTotal  int64
}
