package ipv6

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// A kernel with IPv6 and without its routing rules says so when they are listed. Any other error is not taken for that.
func TestAKernelWithoutRoutingRulesHasNoIPv6ForGuests(t *testing.T) {
	for err, want := range map[error]bool{
		nil: true, errors.New("no memory"): true, unix.EAFNOSUPPORT: false, fmt.Errorf("list: %w", unix.EOPNOTSUPP): false,
	} {
		if got := listed(err); got != want {
			t.Errorf("%v: %v", err, got)
		}
	}
	if !Supported() {
		t.Error("this kernel has both")
	}
}
