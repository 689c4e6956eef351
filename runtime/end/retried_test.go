package end

import (
	"errors"
	"fmt"
	"testing"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

// A kill whose machine does not end yet is not lost, and the client learns that it can ask again.
func TestAKillThatGoesOnSaysSo(t *testing.T) {
	for err, again := range map[error]bool{
		fmt.Errorf("destroy: %w", vm.ErrUnavailable): true,
		errors.New("the driver is broken"):           false,
	} {
		got := retried("i1", err)
		var retry *sandbox.RetryError
		if errors.As(got, &retry) != again || !errors.Is(got, err) || again && retry.After <= 0 {
			t.Errorf("%v: %v", err, got)
		}
	}
}
