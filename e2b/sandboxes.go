package e2b

import (
	"errors"
	"net/http"
	"time"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/dataplane"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/sandbox"
)

// maxRefresh is the protocol's bound on one refresh.
const maxRefresh = time.Hour

func parseID(id string) (string, error) {
	parsed, ok := dataplane.ParseID(id)
	if !ok {
		return "", refusal.InvalidSandboxID.With()
	}
	return parsed, nil
}

// GetSandbox serves GET /sandboxes/{sandboxID}.
func (s *Server) GetSandbox(w http.ResponseWriter, r *http.Request, id string) {
	sb, err := s.get(r, id)
	s.answer(w, r, s.wireDetail(sb), err, id)
}

func (s *Server) get(r *http.Request, id string) (sandbox.Sandbox, error) {
	id, err := parseID(id)
	if err != nil {
		return sandbox.Sandbox{}, err
	}
	return s.adapter.Get(r.Context(), id)
}

// KillSandbox serves DELETE /sandboxes/{sandboxID}.
func (s *Server) KillSandbox(w http.ResponseWriter, r *http.Request, id string) {
	sandboxID, err := parseID(id)
	if err == nil {
		err = s.adapter.Kill(r.Context(), sandboxID)
	}
	if err == nil || errors.Is(err, sandbox.ErrNotFound) {
		s.proxy.Drop(sandboxID)
	}
	s.done(w, r, err, id)
}

// SetSandboxTimeout serves POST /sandboxes/{sandboxID}/timeout.
func (s *Server) SetSandboxTimeout(w http.ResponseWriter, r *http.Request, id string) {
	s.done(w, r, s.setTimeout(w, r, id), id)
}

func (s *Server) setTimeout(w http.ResponseWriter, r *http.Request, id string) error {
	id, err := parseID(id)
	if err != nil {
		return err
	}
	var body openapi.SandboxTimeout
	if err := s.decode(w, r, &body, false); err != nil {
		return err
	}
	if body.Timeout == nil {
		return badRequest("timeout is missing")
	}
	var timeout time.Duration
	if *body.Timeout != 0 {
		if timeout, err = s.timeout(body.Timeout, 0); err != nil {
			return err
		}
	}
	return s.adapter.SetTimeout(r.Context(), id, timeout)
}

// RefreshSandbox serves POST /sandboxes/{sandboxID}/refreshes.
func (s *Server) RefreshSandbox(w http.ResponseWriter, r *http.Request, id string) {
	s.done(w, r, s.refresh(w, r, id), id)
}

func (s *Server) refresh(w http.ResponseWriter, r *http.Request, id string) error {
	id, err := parseID(id)
	if err != nil {
		return err
	}
	var body openapi.SandboxRefresh
	if err := s.decode(w, r, &body, true); err != nil {
		return err
	}
	duration := defaultTimeoutV1
	if body.Duration != nil {
		duration = time.Duration(*body.Duration) * time.Second
	}
	if duration < 0 || duration > maxRefresh {
		return badRequest("duration must be from 0 to %d seconds", int64(maxRefresh.Seconds()))
	}
	return s.adapter.Extend(r.Context(), id, duration)
}
