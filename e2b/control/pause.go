package control

import (
	"net/http"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/exchange"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/e2b/internal/wire"
	"github.com/rundlet/rundlet/sandbox"
)

// PauseSandbox serves POST /sandboxes/{sandboxID}/pause. Its streams break off
// without an end.
func (o *operations) PauseSandbox(w http.ResponseWriter, r *http.Request, id string) {
	var body openapi.SandboxPause
	sandboxID, err := o.about(w, r, id, &body, true)
	if err == nil && isTrue(body.RequireHealthyGuest) {
		err = o.life.checkHealthy(r.Context(), sandboxID)
	}
	if err == nil {
		err = o.life.pause(r.Context(), sandboxID, !isFalse(body.Memory))
	}
	o.reply.Done(w, r, err, id)
}

// ResumeSandbox serves the form of resume that was before connect: it answers
// 409 for a sandbox that runs.
func (o *operations) ResumeSandbox(w http.ResponseWriter, r *http.Request, id string) {
	sb, err := o.resume(w, r, id)
	if err != nil {
		o.reply.Fail(w, r, err, id)
		return
	}
	exchange.JSON(w, http.StatusCreated, o.show.sandbox(sb))
}

func (o *operations) resume(w http.ResponseWriter, r *http.Request, id string) (sandbox.Sandbox, error) {
	var body openapi.ResumedSandbox
	id, err := o.about(w, r, id, &body, true)
	if err != nil {
		return sandbox.Sandbox{}, err
	}
	timeout, err := o.rules.timeout(body.Timeout, defaultTimeoutV1)
	if err != nil {
		return sandbox.Sandbox{}, err
	}
	sb, err := o.runtime.Get(r.Context(), id)
	switch {
	case err != nil:
		return sb, err
	case sb.State == sandbox.StateRunning:
		return sb, refusal.Running.With(id)
	case body.AutoPause != nil && *body.AutoPause != (wire.OnTimeout(sb.OnTimeout) == openapi.Pause):
		return sb, refusal.Unsupported.With("changing autoPause at a resume")
	}
	sb, _, err = o.life.resume(r.Context(), id, timeout, body.Memory)
	return sb, err
}

// ConnectSandbox serves the first generation of connect.
func (o *operations) ConnectSandbox(w http.ResponseWriter, r *http.Request, id string) {
	o.connect(w, r, id, false)
}

// ConnectSandboxV2 serves the second, whose body and timeout are optional.
func (o *operations) ConnectSandboxV2(w http.ResponseWriter, r *http.Request, id string) {
	o.connect(w, r, id, true)
}

func (o *operations) connect(w http.ResponseWriter, r *http.Request, id string, optional bool) {
	sb, resumed, err := o.doConnect(w, r, id, optional)
	switch {
	case err != nil:
		o.reply.Fail(w, r, err, id)
	case resumed:
		exchange.JSON(w, http.StatusCreated, o.show.sandbox(sb))
	default:
		exchange.JSON(w, http.StatusOK, o.show.sandbox(sb))
	}
}

func (o *operations) doConnect(w http.ResponseWriter, r *http.Request, id string, optional bool) (sandbox.Sandbox, bool, error) {
	var body openapi.ConnectSandbox
	id, err := o.about(w, r, id, &body, optional)
	if err != nil {
		return sandbox.Sandbox{}, false, err
	}
	if body.Timeout == nil && !optional {
		return sandbox.Sandbox{}, false, refusal.Invalidf("timeout is missing")
	}
	timeout, err := o.rules.timeout(body.Timeout, defaultTimeoutV2)
	if err != nil {
		return sandbox.Sandbox{}, false, err
	}
	return o.life.resume(r.Context(), id, timeout, body.Memory)
}
