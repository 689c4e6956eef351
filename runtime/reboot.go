package runtime

import (
	"context"
	"time"

	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/sandbox"
)

// Reboot is Connect for a sandbox whose memory is not wanted any more, or
// cannot be resumed: one that is paused with its memory boots afresh from its
// files. The saved memory is given up only when it runs.
func (r *Runtime) Reboot(ctx context.Context, id string, timeout time.Duration) (sandbox.Sandbox, bool, error) {
	if _, err := r.saver.By(claim.KindFilesystemPause); err != nil {
		return sandbox.Sandbox{}, false, err
	}
	sb, err := r.live.Serving(ctx, id)
	if err != nil {
		return sandbox.Sandbox{}, false, err
	}
	sb.SetForgetting(true)
	defer sb.SetForgetting(false)
	return r.Connect(ctx, id, timeout)
}
