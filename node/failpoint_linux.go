package node

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// failpointVariable names a step of the runtime or of the driver, at which this
// process kills itself as kill -9 does: "pause.saved", or "pause.saved@3" for
// the third time that it is passed. It is for the tests of a restart after
// that, which have to use the released program.
const failpointVariable = "RUNDLET_FAILPOINT"

// failpoint returns a function that dies at the step that the environment names; nil
// if it names none.
func failpoint() (func(step string), error) {
	text := os.Getenv(failpointVariable)
	if text == "" {
		return nil, nil
	}
	name, count, counted := strings.Cut(text, "@")
	after := int64(1)
	if counted {
		n, err := strconv.ParseInt(count, 10, 32)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%s: %q is not a count", failpointVariable, count)
		}
		after = n
	}
	var passed atomic.Int64
	return func(step string) {
		if step == name && passed.Add(1) == after {
			fmt.Fprintln(os.Stderr, "failpoint", step)
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
	}, nil
}
