package e2b

import (
	"errors"
	"net/http"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/idempotency"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/sandbox"
)

// CreateContinuation serves POST /sandboxes/{sandboxID}/continuations.
func (s *Server) CreateContinuation(w http.ResponseWriter, r *http.Request, id string) {
	c, err := s.capture(w, r, id)
	if err != nil {
		s.fail(w, r, err, id)
		return
	}
	writeJSON(w, http.StatusCreated, openapi.Continuation{
		SnapshotID: c.ID,
		SandboxID:  c.SandboxID,
		Reason:     openapi.ContinuationReason(c.Reason),
		CreatedAt:  c.CreatedAt.UTC(),
		Bytes:      c.Bytes,
	})
}

func (s *Server) capture(w http.ResponseWriter, r *http.Request, id string) (sandbox.Continuation, error) {
	id, err := parseID(id)
	if err != nil {
		return sandbox.Continuation{}, err
	}
	var body openapi.NewContinuation
	if err := s.decode(w, r, &body, false); err != nil {
		return sandbox.Continuation{}, err
	}
	if !body.Reason.Valid() {
		return sandbox.Continuation{}, badRequest("reason must be stopped, idle or exited, got %.64q", string(body.Reason))
	}
	c, err := s.adapter.Capture(r.Context(), id, sandbox.ContinuationReason(body.Reason), keyID(r.Context()))
	if errors.Is(err, sandbox.ErrConflict) {
		return c, refusal.NotCapturable.With(id, body.Reason)
	}
	return c, err
}

// CreateFollowUp serves POST /sandboxes/followups.
func (s *Server) CreateFollowUp(w http.ResponseWriter, r *http.Request, p openapi.CreateFollowUpParams) {
	var body openapi.NewFollowUp
	sb, err := s.followUp(w, r, &body, p.IdempotencyKey)
	if err != nil {
		s.fail(w, r, err, body.SnapshotID)
		return
	}
	wire := s.wireSandbox(sb)
	answer := openapi.FollowUpSandbox{
		TemplateID:         wire.TemplateID,
		SandboxID:          wire.SandboxID,
		ClientID:           wire.ClientID,
		EnvdVersion:        wire.EnvdVersion,
		Alias:              wire.Alias,
		EnvdAccessToken:    wire.EnvdAccessToken,
		TrafficAccessToken: wire.TrafficAccessToken,
		Domain:             wire.Domain,
	}
	if f := wireFollowUp(sb.FollowsUp); f != nil {
		answer.FollowUp = *f
	}
	writeJSON(w, http.StatusCreated, answer)
}

func (s *Server) followUp(w http.ResponseWriter, r *http.Request, body *openapi.NewFollowUp, key *string) (sandbox.Sandbox, error) {
	if err := s.decode(w, r, body, false); err != nil {
		return sandbox.Sandbox{}, err
	}
	id, err := parseName(body.SnapshotID)
	if err != nil {
		return sandbox.Sandbox{}, badRequest("snapshotID is missing, or is not the id of a continuation")
	}
	req, err := s.createRequest(r, &body.CreateRequest, defaultTimeoutV2, true)
	if err != nil {
		return sandbox.Sandbox{}, err
	}
	return idempotency.Once(r.Context(), s.answers, keyID(r.Context()), key, "follow up on "+id, req, func() (sandbox.Sandbox, error) {
		return s.adapter.FollowUp(r.Context(), id, req)
	})
}

func wireFollowUp(c *sandbox.Continuation) *openapi.FollowUp {
	if c == nil {
		return nil
	}
	return &openapi.FollowUp{SnapshotID: c.ID, Reason: openapi.ContinuationReason(c.Reason)}
}
