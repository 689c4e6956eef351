package host

import (
	"errors"
	"fmt"

	"github.com/prometheus/procfs"
)

// Stall is how much of the last ten seconds work stood still for want of a
// resource, in percent from 0 to 100.
type Stall struct {
	Some float64 // at least one task stood still
	Full float64 // all of them did; 0 where the kernel does not say
}

// Pressure is the stall for each resource, as the kernel averages it: the
// latest ten seconds weigh most, and it is updated every two.
type Pressure struct {
	CPU    Stall
	Memory Stall
	IO     Stall
}

// Pressure reads the machine's pressure. A kernel without pressure stall
// information gives errors.ErrUnsupported.
func (h Host) Pressure() (Pressure, error) {
	proc, err := procfs.NewFS(h.proc())
	if err != nil {
		return Pressure{}, err
	}
	var p Pressure
	for _, part := range []struct {
		name  string
		stall *Stall
	}{{"cpu", &p.CPU}, {"memory", &p.Memory}, {"io", &p.IO}} {
		stats, err := proc.PSIStatsForResource(part.name)
		if unsupported(err) {
			return Pressure{}, fmt.Errorf("pressure of %s: %w by this kernel", part.name, errors.ErrUnsupported)
		}
		if err == nil {
			*part.stall, err = stall(stats)
		}
		if err != nil {
			return Pressure{}, fmt.Errorf("pressure of %s: %w", part.name, err)
		}
	}
	return p, nil
}

// stall checks what the kernel said. Kernels before 5.13 have no line "full" for
// the processor.
func stall(stats procfs.PSIStats) (s Stall, err error) {
	if stats.Some == nil {
		return Stall{}, errors.New("no line \"some\"")
	}
	s.Some = stats.Some.Avg10
	if stats.Full != nil {
		s.Full = stats.Full.Avg10
	}
	for _, v := range []float64{s.Some, s.Full} {
		if !(v >= 0 && v <= 100) { // Written so that it is true for not-a-number too.
			return Stall{}, fmt.Errorf("avg10=%v is not a percentage", v)
		}
	}
	return s, nil
}
