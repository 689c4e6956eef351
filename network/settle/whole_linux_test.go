package settle

import (
	"errors"
	"fmt"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestAListThatChangedIsAskedForAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		answers []error // The last one stays.
		calls   int
		err     error
	}{
		"whole":               {[]error{nil}, 1, nil},
		"interrupted":         {[]error{netlink.ErrDumpInterrupted, fmt.Errorf("list: %w", netlink.ErrDumpInterrupted), nil}, 3, nil},
		"another error":       {[]error{netlink.ErrDumpInterrupted, unix.ENOBUFS}, 2, unix.ENOBUFS},
		"interrupted forever": {[]error{netlink.ErrDumpInterrupted}, attempts, netlink.ErrDumpInterrupted},
	} {
		calls := 0
		got, err := Whole(func() (int, error) {
			calls++
			return calls, tc.answers[min(calls, len(tc.answers))-1]
		})
		if !errors.Is(err, tc.err) || calls != tc.calls || got != calls {
			t.Errorf("%s: %d, %v after %d calls", name, got, err, calls)
		}
	}
}
