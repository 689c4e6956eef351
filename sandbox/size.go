package sandbox

// Size is the resources of one sandbox.
type Size struct {
	VCPUs     int
	MemoryMiB int
	DiskMiB   int
}

// DefaultSize is E2B's default for its base template.
var DefaultSize = Size{VCPUs: 2, MemoryMiB: 512, DiskMiB: 1024}
