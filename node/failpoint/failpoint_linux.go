// Package failpoint ends the process at a step that the environment names: for tests of the released program. It may import the
// standard library and golang.org/x/sys.
package failpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Variable names a step of the runtime or of the driver, at which this
// process kills itself as kill -9 does: "pause.saved", or "pause.saved@3" for
// the third time that it is passed. It is for the tests of a restart after
// that, which have to use the released program.
const Variable = "RUNDLET_FAILPOINT"

// Of returns a function that dies at the step that the environment names; nil
// if it names none.
func Of() (func(step string), error) {
	text := os.Getenv(Variable)
	if text == "" {
		return nil, nil
	}
	name, count, counted := strings.Cut(text, "@")
	after := int64(1)
	if counted {
		n, err := strconv.ParseInt(count, 10, 32)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%s: %q is not a count", Variable, count)
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
