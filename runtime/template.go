package runtime

import (
	"context"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

// Template finds a template by id or alias, with or without the tag "default".
func (r *reads) Template(ctx context.Context, name string) (sandbox.Template, error) {
	return r.templates.Get(ctx, name)
}

// Templates returns the templates, the base also before its first use.
func (r *reads) Templates(ctx context.Context) ([]sandbox.Template, error) {
	return r.templates.List(ctx)
}

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
