//go:build linux

package agent

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/rundlet/rundlet/agent/reply"
	"github.com/rundlet/rundlet/agent/rootstate"
	"github.com/rundlet/rundlet/envd"
)

// maxExtrasBytes bounds a request to restore extras.
const maxExtrasBytes = 2 << 20

func (s *Server) rootState(w http.ResponseWriter, r *http.Request) {
	least, err := strconv.ParseInt(r.URL.Query().Get(envd.RootLeast), 10, 64)
	if err != nil {
		reply.Error(w, http.StatusBadRequest, envd.RootLeast+" must be a number of bytes")
		return
	}
	state, err := rootstate.Of(r.Context(), s.root, least)
	if err != nil {
		reply.Error(w, http.StatusInternalServerError, "look at the root: "+err.Error())
		return
	}
	reply.JSON(w, http.StatusOK, state)
}

func (s *Server) rootTimes(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := rootstate.Times(r.Context(), s.root, w); err != nil {
		panic(http.ErrAbortHandler) // The client must not take half of them for all.
	}
}

func (s *Server) restoreExtras(w http.ResponseWriter, r *http.Request) {
	var req envd.ExtrasRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxExtrasBytes)).Decode(&req); err != nil {
		reply.Error(w, http.StatusBadRequest, "extras request: "+err.Error())
		return
	}
	if err := rootstate.Restore(s.root, req.Extras); err != nil {
		reply.Error(w, http.StatusInternalServerError, "restore: "+err.Error())
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
