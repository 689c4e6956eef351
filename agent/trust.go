//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"syscall"
	"time"

	"github.com/rundlet/rundlet/agent/reply"
	"github.com/rundlet/rundlet/agent/trust"
	"github.com/rundlet/rundlet/envd"
)

// javaTimeout is for all of Java. It is below the 30 seconds in which the host wants an answer.
const javaTimeout = 20 * time.Second

// trust makes the guest's programs trust authorities of the host. What a request of a process, or the sandbox's environment,
// says about them counts more.
func (s *Server) trust(w http.ResponseWriter, r *http.Request) {
	var req envd.TrustRequest
	unlock, ok := s.control(w, r, "trust", &req)
	if !ok {
		return
	}
	defer unlock()
	if s.controlToken == "" {
		reply.Error(w, http.StatusConflict, "the agent is not initialised")
		return
	}
	add, err := trust.Install(s.root, req.CABundle)
	switch {
	case errors.Is(err, trust.ErrNotCertificates):
		reply.Error(w, http.StatusBadRequest, "trust request: "+err.Error())
		return
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		reply.Error(w, http.StatusInsufficientStorage, "trust certificates: "+err.Error())
		return
	case err != nil:
		reply.Error(w, http.StatusInternalServerError, "trust certificates: "+err.Error())
		return
	}
	s.state.Default(add)
	ctx, cancel := context.WithTimeout(r.Context(), javaTimeout)
	defer cancel()
	if err := trust.Java(ctx, s.root, s.state.Env()["JAVA_HOME"], req.CABundle, s.reaper.Run); err != nil {
		// Quoted: what the guest named must not look like another line.
		_, _ = fmt.Fprintf(s.console, "rundlet-agent: Java does not trust certificates: %.1000q\n", err.Error())
	}
	w.WriteHeader(http.StatusNoContent)
}
