package runtime

import (
	"github.com/rundlet/rundlet/policy/pressure"
	"github.com/rundlet/rundlet/runtime/supervise"
)

// Pressure reports the last look at the machine.
func (r *reads) Pressure() supervise.PressureReport { return r.host.Pressure() }

// Lacking returns the resources that the daemon lacks for its own work now, of
// supervise.AllLacks, in order; nil if none. It does not block.
func (r *reads) Lacking() []string { return r.host.Lacking() }

// pressureOf is the policy of a runtime.
func pressureOf(cfg Config) pressure.Config {
	return pressure.Config{
		RestoreFloor: cfg.Floors.Restore, Interval: cfg.Supervision.Pressure, Launches: cfg.Launches,
		EntryMemoryBytes: int64(cfg.Size.MemoryMiB) << 20,
	}
}
