package control

import (
	"net/http"
	"time"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/e2b/internal/wire"
	"github.com/rundlet/rundlet/sandbox"
)

// maxRefresh is the protocol's bound on one refresh.
const maxRefresh = time.Hour

// GetSandbox serves GET /sandboxes/{sandboxID}.
func (o *operations) GetSandbox(w http.ResponseWriter, r *http.Request, id string) {
	sb, err := o.get(r, id)
	o.reply.Answer(w, r, o.show.detail(sb), err, id)
}

func (o *operations) get(r *http.Request, id string) (sandbox.Sandbox, error) {
	id, err := wire.ParseID(id)
	if err != nil {
		return sandbox.Sandbox{}, err
	}
	return o.runtime.Get(r.Context(), id)
}

// KillSandbox serves DELETE /sandboxes/{sandboxID}.
func (o *operations) KillSandbox(w http.ResponseWriter, r *http.Request, id string) {
	sandboxID, err := wire.ParseID(id)
	if err == nil {
		err = o.life.kill(r.Context(), sandboxID)
	}
	o.reply.Done(w, r, err, id)
}

// SetSandboxTimeout serves POST /sandboxes/{sandboxID}/timeout.
func (o *operations) SetSandboxTimeout(w http.ResponseWriter, r *http.Request, id string) {
	var body openapi.SandboxTimeout
	sandboxID, err := o.about(w, r, id, &body, false)
	var timeout time.Duration
	if err == nil {
		timeout, err = o.rules.newTimeout(&body)
	}
	if err == nil {
		err = o.runtime.SetTimeout(r.Context(), sandboxID, timeout)
	}
	o.reply.Done(w, r, err, id)
}

// RefreshSandbox serves POST /sandboxes/{sandboxID}/refreshes.
func (o *operations) RefreshSandbox(w http.ResponseWriter, r *http.Request, id string) {
	var body openapi.SandboxRefresh
	sandboxID, err := o.about(w, r, id, &body, true)
	var duration time.Duration
	if err == nil {
		duration, err = refreshDuration(&body)
	}
	if err == nil {
		err = o.runtime.Extend(r.Context(), sandboxID, duration)
	}
	o.reply.Done(w, r, err, id)
}

func refreshDuration(body *openapi.SandboxRefresh) (time.Duration, error) {
	duration := defaultTimeoutV1
	if body.Duration != nil {
		duration = time.Duration(*body.Duration) * time.Second
	}
	if duration < 0 || duration > maxRefresh {
		return 0, refusal.Invalidf("duration must be from 0 to %d seconds", int64(maxRefresh.Seconds()))
	}
	return duration, nil
}
