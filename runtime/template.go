package runtime

import (
	"context"

	"github.com/rundlet/rundlet/vm"
)

// Prepare makes the base template ready, so that the first create need not.
func (r *Runtime) Prepare(ctx context.Context) error {
	_, err := r.starter.Base(ctx)
	return err
}

// BaseSpec returns the spec by which a driver restores the prepared base, apart
// from the state that each sandbox adds. It is for measuring.
func (r *reads) BaseSpec(ctx context.Context) (vm.Spec, error) {
	return r.templates.BaseSpec(ctx)
}
