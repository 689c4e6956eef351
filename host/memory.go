package host

import (
	"fmt"
	"math"
	"strconv"
	"strings"
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
	content, err := h.read("meminfo")
	if err != nil {
		return Memory{}, err
	}
	m, err := parseMemory(string(content))
	if err != nil {
		return Memory{}, fmt.Errorf("memory of the host: %w", err)
	}
	return m, nil
}

// parseMemory reads lines such as "MemTotal:       24684084 kB".
func parseMemory(content string) (Memory, error) {
	m := Memory{Total: -1, Available: -1}
	for line := range strings.Lines(content) {
		name, rest, _ := strings.Cut(line, ":")
		var value *int64
		switch name {
		case "MemTotal":
			value = &m.Total
		case "MemAvailable":
			value = &m.Available
		default:
			continue
		}
		kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil {
			return Memory{}, fmt.Errorf("%s: %w", name, err)
		}
		if kib > math.MaxInt64>>10 {
			return Memory{}, fmt.Errorf("%s: %d kB is out of range", name, kib)
		}
		*value = int64(kib) << 10
	}
	if m.Total <= 0 || m.Available < 0 {
		return Memory{}, fmt.Errorf("no MemTotal or no MemAvailable")
	}
	m.Available = min(m.Available, m.Total) // It is an estimate.
	return m, nil
}
