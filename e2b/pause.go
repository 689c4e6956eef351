package e2b

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/sandbox"
)

// healthTime is how long an agent may take to answer before it counts as not
// healthy.
const healthTime = 5 * time.Second

// PauseSandbox serves POST /sandboxes/{sandboxID}/pause. Its streams break off
// without an end.
func (s *Server) PauseSandbox(w http.ResponseWriter, r *http.Request, id string) {
	s.done(w, r, s.pause(w, r, id), id)
}

func (s *Server) pause(w http.ResponseWriter, r *http.Request, id string) error {
	id, err := parseID(id)
	if err != nil {
		return err
	}
	var body openapi.SandboxPause
	if err := s.decode(w, r, &body, true); err != nil {
		return err
	}
	if isTrue(body.RequireHealthyGuest) {
		if err := s.healthy(r.Context(), id); err != nil {
			return err
		}
	}
	err = s.adapter.Pause(r.Context(), id, !isFalse(body.Memory))
	s.proxy.Refresh(id)
	if errors.Is(err, sandbox.ErrConflict) || errors.Is(err, sandbox.ErrNotRunning) {
		return refusal.Paused.With(id)
	}
	return err
}

// healthy checks that the agent of a running sandbox answers.
func (s *Server) healthy(ctx context.Context, id string) error {
	sb, err := s.adapter.Get(ctx, id)
	if err != nil || sb.State != sandbox.StateRunning {
		return err // The pause returns the reason.
	}
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	if err := s.proxy.Healthy(ctx, sb); err != nil {
		s.cfg.Log.Warn("pause refused: agent does not respond", "sandbox_id", id, "error", err)
		return refusal.GuestUnhealthy.With(id).After(healthTime)
	}
	return nil
}

// ResumeSandbox serves the form of resume that was before connect: it answers
// 409 for a sandbox that runs.
func (s *Server) ResumeSandbox(w http.ResponseWriter, r *http.Request, id string) {
	sb, err := s.resume(w, r, id)
	if err != nil {
		s.fail(w, r, err, id)
		return
	}
	writeJSON(w, http.StatusCreated, s.wireSandbox(sb))
}

func (s *Server) resume(w http.ResponseWriter, r *http.Request, id string) (sandbox.Sandbox, error) {
	id, err := parseID(id)
	if err != nil {
		return sandbox.Sandbox{}, err
	}
	var body openapi.ResumedSandbox
	if err := s.decode(w, r, &body, true); err != nil {
		return sandbox.Sandbox{}, err
	}
	timeout, err := s.timeout(body.Timeout, defaultTimeoutV1)
	if err != nil {
		return sandbox.Sandbox{}, err
	}
	sb, err := s.adapter.Get(r.Context(), id)
	switch {
	case err != nil:
		return sb, err
	case sb.State == sandbox.StateRunning:
		return sb, refusal.Running.With(id)
	case body.AutoPause != nil && *body.AutoPause != (wireOnTimeout(sb.OnTimeout) == openapi.Pause):
		return sb, unsupported("changing autoPause at a resume")
	}
	sb, _, err = s.awake(r.Context(), id, timeout, body.Memory)
	return sb, err
}

// ConnectSandbox serves the first generation of connect.
func (s *Server) ConnectSandbox(w http.ResponseWriter, r *http.Request, id string) {
	s.connect(w, r, id, false)
}

// ConnectSandboxV2 serves the second, whose body and timeout are optional.
func (s *Server) ConnectSandboxV2(w http.ResponseWriter, r *http.Request, id string) {
	s.connect(w, r, id, true)
}

func (s *Server) connect(w http.ResponseWriter, r *http.Request, id string, optional bool) {
	sb, resumed, err := s.doConnect(w, r, id, optional)
	switch {
	case err != nil:
		s.fail(w, r, err, id)
	case resumed:
		writeJSON(w, http.StatusCreated, s.wireSandbox(sb))
	default:
		writeJSON(w, http.StatusOK, s.wireSandbox(sb))
	}
}

func (s *Server) doConnect(w http.ResponseWriter, r *http.Request, id string, optional bool) (sandbox.Sandbox, bool, error) {
	id, err := parseID(id)
	if err != nil {
		return sandbox.Sandbox{}, false, err
	}
	var body openapi.ConnectSandbox
	if err := s.decode(w, r, &body, optional); err != nil {
		return sandbox.Sandbox{}, false, err
	}
	if body.Timeout == nil && !optional {
		return sandbox.Sandbox{}, false, badRequest("timeout is missing")
	}
	timeout, err := s.timeout(body.Timeout, defaultTimeoutV2)
	if err != nil {
		return sandbox.Sandbox{}, false, err
	}
	return s.awake(r.Context(), id, timeout, body.Memory)
}

// awake resumes a sandbox, without the memory that it was saved with if that is
// not wanted: then it boots from its files.
func (s *Server) awake(ctx context.Context, id string, timeout time.Duration, memory *bool) (sandbox.Sandbox, bool, error) {
	if isFalse(memory) {
		return s.adapter.Reboot(ctx, id, timeout)
	}
	sb, resumed, err := s.adapter.Connect(ctx, id, timeout)
	if err != nil && classify(err, id).Row == refusal.NoAnswer {
		// Clients that know this refusal offer to boot the sandbox; a timeout they
		// would only try again.
		s.cfg.Log.Warn("resumed sandbox does not respond", "sandbox_id", id, "error", err)
		err = refusal.GuestUnresponsive.With(id)
	}
	return sb, resumed, err
}
