package supervise

import (
	"errors"

	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/policy/autoscale"
	"github.com/rundlet/rundlet/policy/disk"
)

// HostSample returns a Sample for Supervision: the host's pressures and memory,
// and for the disk that holds root the free part of total that probe reports. Values
// that this system does not report are zero, which is ignored, and not an error.
func HostSample(h host.Host, probe disk.Probe, root string, total int64) func() (autoscale.Sample, error) {
	return func() (autoscale.Sample, error) {
		var s autoscale.Sample
		p, pressure := h.Pressure()
		s.CPU, s.Memory, s.IO = autoscale.Pressure(p.CPU), autoscale.Pressure(p.Memory), autoscale.Pressure(p.IO)
		m, memory := h.Memory()
		s.MemoryAvailable, s.MemoryTotal = m.Available, m.Total
		free, room := probe.FreeBytes(root)
		if room == nil {
			s.DiskFree, s.DiskTotal = free, total
		}
		return s, errors.Join(known(pressure), known(memory), known(room))
	}
}

// known drops the error of a value that this system does not have.
func known(err error) error {
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}
