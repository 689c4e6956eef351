package control

import (
	"net/http"
	"strings"

	"github.com/rundlet/rundlet/e2b/internal/exchange"
)

// health is GET /health for clients that accept JSON.
type health struct {
	Status  string   `json:"status"`
	Lacking []string `json:"lacking,omitempty"`
}

// GetHealth answers while the process serves: a daemon that lacks a resource still
// serves, and a restart would not help its sandboxes. Clients read the status only.
// It needs no key, so the body names the missing resources and nothing else.
func (o *operations) GetHealth(w http.ResponseWriter, r *http.Request) {
	var lacking []string
	if l, ok := o.runtime.(interface{ Lacking() []string }); ok {
		lacking = l.Lacking()
	}
	WriteHealth(w, r, lacking)
}

// WriteHealth answers GET /health, in E2B's words while nothing is lacking.
func WriteHealth(w http.ResponseWriter, r *http.Request, lacking []string) {
	h := health{Status: "ok", Lacking: lacking}
	text := "Health check successful"
	if len(lacking) > 0 {
		h.Status = "degraded"
		text = "degraded: " + strings.Join(lacking, ", ")
	}
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		exchange.JSON(w, http.StatusOK, h)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	// The client may be gone.
	_, _ = w.Write([]byte(text))
}
