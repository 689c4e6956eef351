package e2b

import (
	"github.com/rundlet/rundlet/e2b/control"
	"github.com/rundlet/rundlet/e2b/dataplane"
)

// RuntimeAdapter is the part of a runtime that the E2B surface uses: what the control plane
// asks for, and what the data plane does. *runtime.Runtime implements it; tests use a fake. All methods
// are safe for concurrent use and return the error classes of package sandbox. An adapter that measures
// is a control.MetricsReader, too, and one that observes commands a dataplane.Observer.
type RuntimeAdapter interface {
	control.Runtime
	dataplane.Sandboxes
}
