package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/start"
	"github.com/rundlet/rundlet/sandbox"
)

// Fork makes copies of a running sandbox, which keeps running: it is saved
// once and restored Count times, each time under an id, tokens, a network place
// and a new boot id. Children that could not be made have an error; the
// others are there.
func (r *Runtime) Fork(ctx context.Context, id string, req sandbox.ForkRequest) ([]sandbox.ForkResult, error) {
	if err := r.starter.ValidateTimeout(req.Timeout); err != nil {
		return nil, err
	}
	if req.Count < 1 || req.Count > sandbox.MaxForks {
		return nil, fmt.Errorf("%w: count must be between 1 and %d", sandbox.ErrInvalid, sandbox.MaxForks)
	}
	sb, err := r.live.Serving(ctx, id)
	if err != nil {
		return nil, err
	}
	ctx, done := r.steps.Stage(ctx, latency.Fork, slog.String("sandbox", id), slog.Int("count", req.Count))
	// Children that have begun are ended and cleaned up when the client goes away.
	children, err := background.Await(ctx, r.background, func() ([]start.Child, error) { return r.starter.Fork(ctx, sb, req) })
	var results []sandbox.ForkResult
	for _, c := range children {
		child, err := outcome(r, c.Row, c.Err)
		results = append(results, sandbox.ForkResult{Sandbox: child, Err: err})
	}
	failed := err
	for _, child := range results {
		failed = errors.Join(failed, child.Err)
	}
	done(failed)
	return results, err
}
