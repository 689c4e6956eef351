//go:build linux

package kernel

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

// HostKHz is the frequency of this host's processor, which the clock of an emulated one has, too; 0 if the host does not say.
func HostKHz() int {
	data, _ := os.ReadFile("/proc/cpuinfo")
	for line := range bytes.Lines(data) {
		name, value, _ := strings.Cut(string(line), ":")
		if strings.TrimSpace(name) != "cpu MHz" {
			continue
		}
		if mhz, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil {
			return int(mhz * 1000)
		}
	}
	return 0
}
