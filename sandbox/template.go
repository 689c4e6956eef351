package sandbox

import "time"

// Template is a prepared template.
type Template struct {
	ID        string
	Aliases   []string
	BuildID   string
	VCPUs     int
	MemoryMiB int
	DiskMiB   int
	CreatedAt time.Time
	// UpdatedAt is when its latest build was ready.
	UpdatedAt time.Time
	Public    bool
	// BuildState is that of the latest build, and BuildCount how many there were.
	BuildState BuildState
	BuildCount int
	// SpawnCount is how many sandboxes were created from it, all builds together,
	// and LastSpawnedAt when the last one was; zero if none was.
	SpawnCount    int64
	LastSpawnedAt time.Time
}
