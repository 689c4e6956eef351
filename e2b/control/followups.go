package control

import (
	"errors"
	"net/http"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/exchange"
	"github.com/rundlet/rundlet/e2b/internal/idempotency"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/e2b/internal/wire"
	"github.com/rundlet/rundlet/sandbox"
)

// CreateContinuation serves POST /sandboxes/{sandboxID}/continuations.
func (o *operations) CreateContinuation(w http.ResponseWriter, r *http.Request, id string) {
	c, err := o.capture(w, r, id)
	if err != nil {
		o.reply.Fail(w, r, err, id)
		return
	}
	exchange.JSON(w, http.StatusCreated, openapi.Continuation{
		SnapshotID: c.ID,
		SandboxID:  c.SandboxID,
		Reason:     openapi.ContinuationReason(c.Reason),
		CreatedAt:  c.CreatedAt.UTC(),
		Bytes:      c.Bytes,
	})
}

func (o *operations) capture(w http.ResponseWriter, r *http.Request, id string) (sandbox.Continuation, error) {
	var body openapi.NewContinuation
	id, err := o.about(w, r, id, &body, false)
	if err != nil {
		return sandbox.Continuation{}, err
	}
	if !body.Reason.Valid() {
		return sandbox.Continuation{}, refusal.Invalidf("reason must be stopped, idle or exited, got %.64q", string(body.Reason))
	}
	c, err := o.runtime.Capture(r.Context(), id, sandbox.ContinuationReason(body.Reason), exchange.KeyID(r.Context()))
	if errors.Is(err, sandbox.ErrConflict) {
		return c, refusal.NotCapturable.With(id, body.Reason)
	}
	return c, err
}

// CreateFollowUp serves POST /sandboxes/followups.
func (o *operations) CreateFollowUp(w http.ResponseWriter, r *http.Request, p openapi.CreateFollowUpParams) {
	var body openapi.NewFollowUp
	sb, err := o.followUp(w, r, &body, p.IdempotencyKey)
	if err != nil {
		o.reply.Fail(w, r, err, body.SnapshotID)
		return
	}
	shown := o.show.sandbox(sb)
	answer := openapi.FollowUpSandbox{
		TemplateID:         shown.TemplateID,
		SandboxID:          shown.SandboxID,
		ClientID:           shown.ClientID,
		EnvdVersion:        shown.EnvdVersion,
		Alias:              shown.Alias,
		EnvdAccessToken:    shown.EnvdAccessToken,
		TrafficAccessToken: shown.TrafficAccessToken,
		Domain:             shown.Domain,
	}
	if f := wire.FollowUp(sb.FollowsUp); f != nil {
		answer.FollowUp = *f
	}
	exchange.JSON(w, http.StatusCreated, answer)
}

func (o *operations) followUp(w http.ResponseWriter, r *http.Request, body *openapi.NewFollowUp, key *string) (sandbox.Sandbox, error) {
	if err := o.bodies.Decode(w, r, body, false); err != nil {
		return sandbox.Sandbox{}, err
	}
	id, err := wire.ParseName(body.SnapshotID)
	if err != nil {
		return sandbox.Sandbox{}, refusal.Invalidf("snapshotID is missing, or is not the id of a continuation")
	}
	req, err := o.rules.createRequest(exchange.KeyID(r.Context()), &body.CreateRequest, defaultTimeoutV2, true)
	if err != nil {
		return sandbox.Sandbox{}, err
	}
	return idempotency.Once(r.Context(), o.answers, exchange.KeyID(r.Context()), key, "follow up on "+id, req, func() (sandbox.Sandbox, error) {
		return o.runtime.FollowUp(r.Context(), id, req)
	})
}
