package runtime

import (
	"context"
	"errors"

	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/sandbox"
)

// reasonKill is the reason of a sandbox that a client ended.
const reasonKill = "killed by request"

// Kill ends a sandbox at a client's request. It always wins: see terminate. A
// client that goes away does not take it back. Kills at the same time join; a
// sandbox that ends for another reason is not found.
func (r *Runtime) Kill(ctx context.Context, id string) error {
	sb, ok := r.live.Find(id)
	if !ok {
		return r.live.Ended.Gone(id)
	}
	if sb.Elsewhere != nil {
		return fault.Classify(sb.Elsewhere)
	}
	_, err := background.Await(ctx, r.background, func() (struct{}, error) {
		return struct{}{}, r.ender.End(context.WithoutCancel(ctx), sb, reasonKill)
	})
	if errors.Is(err, sandbox.ErrNotFound) && sb.Reason() == reasonKill {
		return nil
	}
	return fault.Classify(err)
}
