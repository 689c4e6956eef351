package dataplane

import (
	"errors"
	"net/http"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/readonly"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/e2b/internal/route"
	"github.com/rundlet/rundlet/sandbox"
)

// gone refuses a request to a sandbox that is gone, with the reason if it was
// memory.
func gone(err error) *refusal.Error {
	var memory *sandbox.OutOfMemoryError
	if errors.As(err, &memory) {
		return refusal.GoneBecause.With(memory.Detail)
	}
	return refusal.Gone.With()
}

// bodyGrace is how long net/http may read the rest of a body after the
// answer.
const bodyGrace = 5 * time.Second

func refuse(w http.ResponseWriter, r *http.Request, t route.Target, e *refusal.Error) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyGrace))
	e.WriteTo(w, r, t.ID, t.Port)
}

// fail answers a request that got no answer from the sandbox.
func (p *Proxy) fail(w http.ResponseWriter, r *http.Request, err error) {
	t := exchangeOf(r).target
	if r.Context().Err() != nil {
		// The client went away; no answer can be sent.
		panic(http.ErrAbortHandler)
	}
	if stale := notFresh(err); stale != nil {
		x := exchangeOf(r)
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyGrace))
		readonly.Refuse(w, r, x.target.ID, x.target.Port, stale)
		return
	}
	e, known := classify(err)
	var wake *wakeError
	switch {
	case known:
		if e.Row == refusal.TooManyStreams || e.Row == refusal.TooManyHeads {
			p.log.Warn("data plane: "+e.Name, "sandbox_id", t.ID, "port", t.Port, "error", err)
		}
		refuse(w, r, t, e)
	case errors.As(err, &wake):
		p.log.Warn("data plane: a sandbox was not resumed", "sandbox_id", t.ID, "port", t.Port, "error", wake.err)
		refuse(w, r, t, notResumed(wake.err))
	default:
		p.log.Warn("data plane: a sandbox broke off", "sandbox_id", t.ID, "port", t.Port, "error", err)
		refuse(w, r, t, refusal.BrokeOff.With())
	}
}

// classify returns the refusal of a request, unless it depends on more than the
// error.
func classify(err error) (_ *refusal.Error, ok bool) {
	var refused *refusal.Error
	var retry *sandbox.RetryError
	var limit *LimitError
	var elsewhere *sandbox.ElsewhereError
	switch {
	case errors.As(err, &refused):
		return refused, true
	case errors.As(err, &limit):
		return refusal.TooMuch.With(limit).After(limit.After), true
	case errors.As(err, &retry):
		return refusal.NotNow.With(retry.Detail).After(retry.After), true
	case errors.As(err, &elsewhere): // Not 502: for clients that means that the sandbox is gone.
		return refusal.NotHere.With(), true
	case errors.Is(err, sandbox.ErrPortClosed):
		return refusal.PortClosed.With(), true
	case isGone(err):
		return gone(err), true
	case errors.Is(err, sandbox.ErrUnavailable):
		return refusal.Stopping.With(), true
	case errors.Is(err, errTooManyStreams), errors.Is(err, sandbox.ErrLacking):
		// Not 502: for clients that means that the sandbox is gone.
		return refusal.TooManyStreams.With().After(time.Second), true
	case errors.Is(err, errTooManyHeads):
		return refusal.TooManyHeads.With().After(time.Second), true
	case errors.Is(err, errHeadTooLarge):
		return refusal.HeadTooLarge.With(), true
	case errors.Is(err, errSlowHead):
		return refusal.HeadTooSlow.With(), true
	}
	return nil, false
}

func isGone(err error) bool {
	return errors.Is(err, sandbox.ErrNotFound) || errors.Is(err, sandbox.ErrNotRunning)
}
