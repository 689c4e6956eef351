package host

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/prometheus/procfs"
)

// Swap is the machine's, in bytes. Total is 0 if there is none.
type Swap struct {
	Total, Free int64
	// Zram: all of it is compressed memory.
	Zram bool
}

// Swap reads the machine's swap.
func (h Host) Swap() (Swap, error) {
	proc, err := procfs.NewFS(h.proc())
	if err != nil {
		return Swap{}, err
	}
	areas, err := proc.Swaps()
	if unsupported(err) {
		return Swap{}, fmt.Errorf("swap of the host: %w by this kernel", errors.ErrUnsupported)
	}
	var s Swap
	if err == nil {
		s, err = swap(areas)
	}
	if err != nil {
		return Swap{}, fmt.Errorf("swap of the host: %w", err)
	}
	return s, nil
}

// swap adds up what the kernel said, in KiB.
func swap(areas []*procfs.Swap) (s Swap, err error) {
	s.Zram = len(areas) > 0
	for _, a := range areas {
		if a.Size < 0 || a.Used < 0 || a.Used > a.Size || int64(a.Size) > (math.MaxInt64-s.Total)>>10 {
			return Swap{}, fmt.Errorf("%s has %d kB, of which %d kB are used", a.Filename, a.Size, a.Used)
		}
		s.Total += int64(a.Size) << 10
		s.Free += int64(a.Size-a.Used) << 10
		s.Zram = s.Zram && strings.HasPrefix(a.Filename, "/dev/zram")
	}
	return s, nil
}
