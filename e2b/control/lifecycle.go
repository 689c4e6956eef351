package control

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/rundlet/rundlet/e2b/dataplane"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/sandbox"
)

// healthTime is how long an agent may take to answer before it counts as not
// healthy.
const healthTime = 5 * time.Second

// lifecycle pauses, resumes and kills sandboxes: it makes the data plane follow, and puts what clients
// react to in the words that they know. It is safe for concurrent use.
type lifecycle struct {
	runtime Runtime
	proxy   *dataplane.Proxy
	log     *slog.Logger
}

// checkHealthy checks that the agent of a running sandbox answers.
func (l lifecycle) checkHealthy(ctx context.Context, id string) error {
	sb, err := l.runtime.Get(ctx, id)
	if err != nil || sb.State != sandbox.StateRunning {
		return err // The pause returns the reason.
	}
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	if err := l.proxy.Healthy(ctx, sb); err != nil {
		l.log.Warn("pause refused: agent does not respond", "sandbox_id", id, "error", err)
		return refusal.GuestUnhealthy.With(id).After(healthTime)
	}
	return nil
}

// pause saves a sandbox, with its memory or only its files, and ends its streams.
func (l lifecycle) pause(ctx context.Context, id string, memory bool) error {
	err := l.runtime.Pause(ctx, id, memory)
	l.proxy.Refresh(id)
	if errors.Is(err, sandbox.ErrConflict) || errors.Is(err, sandbox.ErrNotRunning) {
		return refusal.Paused.With(id)
	}
	return err
}

// resume makes a sandbox run, without the memory that it was saved with if that is
// not wanted: then it boots from its files.
func (l lifecycle) resume(ctx context.Context, id string, timeout time.Duration, memory *bool) (sb sandbox.Sandbox, resumed bool, err error) {
	if isFalse(memory) {
		return l.runtime.Reboot(ctx, id, timeout)
	}
	sb, resumed, err = l.runtime.Connect(ctx, id, timeout)
	if err != nil && refusal.Of(err, id).Row == refusal.NoAnswer {
		// Clients that know this refusal offer to boot the sandbox; a timeout they
		// would only try again.
		l.log.Warn("resumed sandbox does not respond", "sandbox_id", id, "error", err)
		err = refusal.GuestUnresponsive.With(id)
	}
	return sb, resumed, err
}

// kill ends a sandbox and its streams; those of one that is not there any more, too.
func (l lifecycle) kill(ctx context.Context, id string) error {
	err := l.runtime.Kill(ctx, id)
	if err == nil || errors.Is(err, sandbox.ErrNotFound) {
		l.proxy.Drop(id)
	}
	return err
}
