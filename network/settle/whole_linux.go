package settle

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// attempts is how often a list is asked for that changes meanwhile.
const attempts = 20

// Whole returns a list of the kernel's. One that changed while the kernel wrote it, as links do while sandboxes
// come and go, may lack entries: it is asked for again.
func Whole[T any](list func() (T, error)) (all T, err error) {
	for range attempts {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}
