package e2b

import "net/http"

// health is the body of GET /health. Clients go by the status; this is for
// people. It needs no key, so it names what is lacking and nothing else.
type health struct {
	Status  string   `json:"status"`
	Lacking []string `json:"lacking,omitempty"`
}

// GetHealth answers while the process serves: also a daemon that lacks
// something serves, and to restart it would not help its sandboxes.
func (s *Server) GetHealth(w http.ResponseWriter, _ *http.Request) {
	h := health{Status: "ok"}
	if l, ok := s.adapter.(interface{ Lacking() []string }); ok {
		if h.Lacking = l.Lacking(); h.Lacking != nil {
			h.Status = "degraded"
		}
	}
	writeJSON(w, http.StatusOK, h)
}
