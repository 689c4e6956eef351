package host

import (
	"errors"
	"fmt"
	"math"

	"github.com/prometheus/procfs"
)

// Memory is the machine's, in bytes.
type Memory struct {
	Total int64
	// Available is the kernel's estimate of what new work can have without
	// swapping: free memory and what can be dropped from the caches.
	Available int64
}

// Memory reads the machine's memory. A control group around this process may
// allow less; it is not looked at.
func (h Host) Memory() (Memory, error) {
	proc, err := procfs.NewFS(h.proc())
	if err != nil {
		return Memory{}, err
	}
	info, err := proc.Meminfo()
	if unsupported(err) {
		return Memory{}, fmt.Errorf("memory of the host: %w by this kernel", errors.ErrUnsupported)
	}
	var m Memory
	if err == nil {
		m, err = memory(info)
	}
	if err != nil {
		return Memory{}, fmt.Errorf("memory of the host: %w", err)
	}
	return m, nil
}

// memory checks what the kernel said.
func memory(info procfs.Meminfo) (Memory, error) {
	if info.MemTotal == nil || info.MemAvailable == nil {
		return Memory{}, errors.New("no MemTotal or no MemAvailable")
	}
	total, available := *info.MemTotal, *info.MemAvailable // In KiB.
	if total == 0 || total > math.MaxInt64>>10 || available > math.MaxInt64>>10 {
		return Memory{}, fmt.Errorf("%d kB, of which %d kB are available, is out of range", total, available)
	}
	// It is an estimate.
	return Memory{Total: int64(total) << 10, Available: int64(min(available, total)) << 10}, nil
}
