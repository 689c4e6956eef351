package supervise

import (
	"fmt"
	"slices"

	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/policy/autoscale"
	"github.com/rundlet/rundlet/policy/limits"
)

// Resources that a daemon can lack, besides those that package host names.
const (
	LackDisk = "disk space"
	// LackHearing: silence of sandboxes does not count, for the daemon is not
	// able to hear them.
	LackHearing = "a way to hear its sandboxes"
	// LackNetwork: another program removed a part of the network of sandboxes, and it is
	// not repaired yet.
	LackNetwork = "a network that is whole"
)

// SelfRepairer is a Network that repairs itself.
type SelfRepairer interface {
	// Broken returns the present losses; nil if there are none. It does not block.
	Broken() []string
	// Repairs counts the repaired losses, by kind.
	Repairs() map[string]uint64
	// RefusedPackets counts packets of sandboxes that were refused, as far as they were seen.
	RefusedPackets() uint64
}

// AllLacks is everything that Lacking can return.
var AllLacks = []string{
	host.LackDescriptors, host.LackMemory, host.LackPorts, host.LackProcesses, host.LackConntrack, LackDisk, LackHearing, LackNetwork,
}

// lacks are the missing resources that were found. Guarded by supervisor.mu.
type lacks struct {
	sampled []string // when the machine was last looked at
	heard   []string // when sandboxes were last asked for a sign of life
}

// Lacking returns the resources that the daemon lacks for its own work now, of
// AllLacks, in order; nil if none. It does not block.
func (h *Host) Lacking() []string {
	out := h.shortages()
	if n, ok := h.cfg.Network.(SelfRepairer); ok && n.Broken() != nil {
		out = append(out, LackNetwork)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// shortages are those that this package finds, and so reports.
func (h *Host) shortages() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := slices.Concat(h.lacks.sampled, h.lacks.heard)
	slices.Sort(out)
	return slices.Compact(out)
}

// checkLimits notes and reports which resources are nearly used up, and
// returns why no new work should be taken for that, or "". A sandbox needs
// descriptors of the daemon and threads of the host; the rest of what is left is
// for those that run.
func (h *Host) checkLimits(s autoscale.Sample, c autoscale.Config) (refuse string) {
	var short []string
	if h.cfg.Limits != nil {
		all, err := h.cfg.Limits()
		if err != nil && host.Lack(err) != "" {
			short = append(short, host.Lack(err))
		}
		levels := make([]limits.Level, len(all))
		for i, l := range all {
			levels[i] = limits.Level(l)
		}
		for _, l := range limits.Short(levels) {
			short = append(short, l.What)
			if l.What == host.LackDescriptors || l.What == host.LackProcesses {
				refuse = fmt.Sprintf("%d of %d %s are in use", l.Used, l.Max, l.What)
			}
		}
	}
	if s.MemoryTotal > 0 && s.MemoryAvailable < c.ReserveMemory.Of(s.MemoryTotal) {
		short = append(short, host.LackMemory)
	}
	if s.DiskTotal > 0 && s.DiskFree < c.ReserveDisk.Of(s.DiskTotal) {
		short = append(short, LackDisk)
	}
	h.setLacks(func(l *lacks) { l.sampled = short })
	return refuse
}

// NoteDeaf reports why silence does not count, once, until that changes. lack is the
// missing resource of the daemon, as far as it is known.
func (h *Host) NoteDeaf(lack, why string) {
	switch was := h.deaf; {
	case why != "" && was == "":
		h.cfg.Log.Error("health checks suspended: the daemon cannot reach sandboxes", "reason", why)
	case why == "" && was != "":
		h.cfg.Log.Info("health checks resumed")
	}
	h.deaf = why
	var heard []string
	if why != "" {
		heard = append(heard, LackHearing)
	}
	if slices.Contains(AllLacks, lack) {
		heard = append(heard, lack)
	}
	h.setLacks(func(l *lacks) { l.heard = heard })
}

// setLacks changes the missing resources, and logs them if they differ from before.
func (h *Host) setLacks(change func(*lacks)) {
	before := h.shortages()
	h.mu.Lock()
	change(&h.lacks)
	h.mu.Unlock()
	switch after := h.shortages(); {
	case slices.Equal(before, after):
	case after == nil:
		h.cfg.Log.Info("daemon resources sufficient again")
	default:
		h.cfg.Log.Warn("daemon short of resources", "lacking", after)
	}
}
