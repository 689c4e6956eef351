package dataplane

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/sandbox"
)

// freshTime is how long a write waits for the checkout of its sandbox to be up to date. It is below the timeout of a request
// of E2B's SDKs, so that their users get the reason.
const freshTime = 30 * time.Second

// retryFresh is when to ask again after that.
const retryFresh = 2 * time.Second

// errSyncing is the cause of the end of a wait for a sync.
var errSyncing = errors.New("the sync of its checkout has not finished")

// awaitFresh waits until the gate of a sandbox is open, and returns the sandbox as it is then, which may not run any more.
func (p *Proxy) awaitFresh(r *http.Request, sb sandbox.Sandbox) (sandbox.Sandbox, error) {
	if !sb.Freshness.Decided() {
		if !p.enterSync(sb) {
			return sb, errTooManyStreams
		}
		defer p.leaveSync(sb)
		ctx, cancel := context.WithDeadlineCause(r.Context(), exchangeOf(r).begin.Add(p.freshTime), errSyncing)
		defer cancel()
		err := p.sandboxes.AwaitSync(ctx, sb.ID)
		if err == nil {
			sb, err = p.sandboxes.Get(r.Context(), sb.ID)
		}
		if err != nil {
			return sb, err
		}
	}
	if sb.Freshness.Phase == sandbox.FreshnessFailed {
		return sb, &sandbox.FreshnessError{Reason: sb.Freshness.Reason}
	}
	return sb, nil
}

// enterSync counts a write that waits, unless as many wait as may: in all, of the sandbox, and of its key. A client can make sandboxes
// whose gates never open, so that such waits keep no request of others from a resume.
func (p *Proxy) enterSync(sb sandbox.Sandbox) bool {
	if _, ok := p.syncers.Enter(sb.ID, p.pool.most, p.pool.mostOfOne); !ok {
		return false
	}
	if _, ok := p.syncersOfKey.Enter(sb.KeyID, p.pool.most, p.pool.mostOfKey); !ok {
		p.syncers.Leave(sb.ID)
		return false
	}
	return true
}

func (p *Proxy) leaveSync(sb sandbox.Sandbox) {
	p.syncersOfKey.Leave(sb.KeyID)
	p.syncers.Leave(sb.ID)
}

// notFresh refuses a write to a sandbox whose checkout is not up to date; nil for other errors.
func notFresh(err error) *refusal.Error {
	var failed *sandbox.FreshnessError
	switch {
	case errors.As(err, &failed):
		return refusal.NotFresh.With(failed.Reason)
	case errors.Is(err, errSyncing):
		return refusal.StillSyncing.With().After(retryFresh)
	}
	return nil
}
