package runtime

import (
	"context"
	"errors"

	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// Create restores the template's snapshot into a new sandbox and returns when
// its agent has taken its identity and answers. The order is: reserve capacity,
// write the intent, make the network with its rules, restore, deliver the identity
// of the sandbox, write the outcome, expose. On an error all of it is undone.
func (r *Runtime) Create(ctx context.Context, req sandbox.CreateRequest) (sandbox.Sandbox, error) {
	if err := r.starter.Validate(ctx, req); err != nil {
		return sandbox.Sandbox{}, err
	}
	from, err := r.starter.Resolve(ctx, req.Template)
	if err != nil {
		return sandbox.Sandbox{}, fault.Classify(err)
	}
	sb, err := r.starter.Create(ctx, req, from, nil)
	if err != nil && r.templates.Stale(ctx, from, err) {
		if from, err = r.starter.Resolve(ctx, req.Template); err == nil {
			sb, err = r.starter.Create(ctx, req, from, nil)
		}
	}
	for errors.Is(err, sandbox.ErrSnapshotNotFound) { // It was deleted, maybe for a new build of the template.
		next, gone := r.starter.Resolve(ctx, req.Template)
		if gone != nil || next.ID == from.ID {
			break
		}
		from = next
		sb, err = r.starter.Create(ctx, req, from, nil)
	}
	return outcome(r, sb, err)
}

// outcome is the result of a create for a client.
func outcome(r *Runtime, row store.Sandbox, err error) (sandbox.Sandbox, error) {
	if err != nil {
		return sandbox.Sandbox{}, fault.Classify(err)
	}
	return view(&r.parts, row), nil
}
