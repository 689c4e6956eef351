package api

import "fmt"

// Version is a release of Firecracker.
type Version struct{ Major, Minor, Patch int }

// Oldest is the first version that restores a machine with another network device.
var Oldest = Version{1, 12, 0}

// largerDiffs is the first version whose difference snapshots of machines with more than 3 GiB are right, and trackOnLoad the first that has another
// name for tracking what a restored machine writes.
var (
	largerDiffs = Version{1, 15, 0}
	trackOnLoad = Version{1, 13, 0}
)

// gap is where a machine's memory, in MiB, is divided by the addresses of devices.
const gap = 3 << 10

// ParseVersion reads "1.12.1", also with a "v" before it, and with more behind it.
func ParseVersion(text string) (Version, error) {
	var v Version
	for _, form := range []string{"%d.%d.%d", "v%d.%d.%d"} {
		if n, _ := fmt.Sscanf(text, form, &v.Major, &v.Minor, &v.Patch); n == 3 && v.Major >= 0 && v.Minor >= 0 && v.Patch >= 0 {
			return v, nil
		}
	}
	return Version{}, fmt.Errorf("%.40q is not a version of Firecracker", text)
}

func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// Before reports whether v is older than w.
func (v Version) Before(w Version) bool {
	if v.Major != w.Major {
		return v.Major < w.Major
	}
	if v.Minor != w.Minor {
		return v.Minor < w.Minor
	}
	return v.Patch < w.Patch
}

// Differences reports whether snapshots of what a machine of a size has written since the last one are right.
func (v Version) Differences(memoryMiB int) bool { return memoryMiB <= gap || !v.Before(largerDiffs) }
