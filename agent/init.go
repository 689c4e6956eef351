//go:build linux

package agent

import (
	"cmp"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/rundlet/rundlet/agent/reply"
	"github.com/rundlet/rundlet/agent/sandbox"
	"github.com/rundlet/rundlet/envd"
)

// maxInitBytes is above the largest environment of a create: 1 MiB, of which JSON
// may make six times as much.
const maxInitBytes = 8 << 20

// init makes this sandbox another one: it is the first request after each
// restore and on the way of every create, so it waits for no process and syncs
// nothing.
func (s *Server) init(w http.ResponseWriter, r *http.Request) {
	var req envd.InitRequest
	unlock, ok := s.control(w, r, "init", &req)
	if !ok {
		return
	}
	defer unlock()
	if msg := invalidInit(req, s.controlToken); msg != "" {
		reply.Error(w, http.StatusBadRequest, "init request: "+msg)
		return
	}
	if req.ControlToken != "" {
		s.controlToken = req.ControlToken
	}
	s.state.Set(s.identity(req))
	s.applyToSystem(req)
	if req.Restored || len(req.Env) > 0 || s.hasEnvironment() {
		s.tellEnvironment()
	}
	if req.Restored {
		s.connections.closeOthers(r)
		// A guest without the file has no readers of it.
		_ = s.generation.Restored(s.state.Env())
	}
	w.WriteHeader(http.StatusNoContent)
}

// control reads a request of the host, and keeps others from changing the identity until unlock is called. It answers one
// that is not right.
func (s *Server) control(w http.ResponseWriter, r *http.Request, what string, req any) (unlock func(), ok bool) {
	// Before the lock: half a request must not hold up the host.
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxInitBytes))
	s.initMu.Lock()
	if s.controlToken != "" && !sandbox.Equal(r.Header.Get(envd.ControlTokenHeader), s.controlToken) {
		s.initMu.Unlock()
		reply.Error(w, http.StatusUnauthorized, "invalid control token")
		return nil, false
	}
	if err != nil {
		s.initMu.Unlock()
		reply.Error(w, http.StatusBadRequest, "read "+what+" request: "+err.Error())
		return nil, false
	}
	if err := json.Unmarshal(body, req); err != nil {
		s.initMu.Unlock()
		reply.Error(w, http.StatusBadRequest, what+" request: "+err.Error())
		return nil, false
	}
	return s.initMu.Unlock, true
}

func invalidInit(req envd.InitRequest, current string) string {
	if req.ControlToken == "" && current == "" {
		return "controlToken is missing"
	}
	if len(req.Hostname) > 64 || strings.ContainsAny(req.Hostname, "\x00\n/ ") {
		return "hostname is not valid"
	}
	if id, err := uuid.Parse(req.BootID); req.BootID != "" && (err != nil || id.String() != req.BootID) {
		return "bootID is not a UUID as the kernel writes one"
	}
	if req.DefaultWorkdir != "" && !strings.HasPrefix(req.DefaultWorkdir, "/") {
		return "defaultWorkdir is not absolute"
	}
	for k, v := range req.Env {
		if k == "" || strings.ContainsAny(k, "=\x00") || strings.Contains(v, "\x00") {
			return "envVars has a name or value that no process can have"
		}
	}
	return ""
}

// identity is the sandbox's identity after a request.
func (s *Server) identity(req envd.InitRequest) sandbox.Identity {
	id := sandbox.Identity{
		Env:            map[string]string{},
		AccessToken:    req.AccessToken,
		DefaultUser:    req.DefaultUser,
		DefaultWorkdir: req.DefaultWorkdir,
	}
	if req.Restored {
		id.Env = s.state.Env()
		id.DefaultUser = cmp.Or(req.DefaultUser, s.state.DefaultUser())
		id.DefaultWorkdir = cmp.Or(req.DefaultWorkdir, s.state.DefaultWorkdir())
	}
	maps.Copy(id.Env, req.Env)
	id.Env["E2B_SANDBOX"] = "true"
	id.Env["E2B_SANDBOX_ID"] = req.SandboxID
	id.Env["E2B_TEMPLATE_ID"] = req.TemplateID
	return id
}
