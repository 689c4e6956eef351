package remote

import (
	"net/http"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/cmd/rundlet/command/commandtest"
)

// One sandbox that cannot be paused does not keep the others from it, and the output
// names those that were.
func TestACommandForManySandboxesGoesOnAfterAnError(t *testing.T) {
	handle := func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "bad") {
			http.Error(w, `{"code":404,"message":"no such sandbox"}`, http.StatusNotFound)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
	text, _, err := commandtest.Run(t.Context(), t, handle, true, Sandbox, "pause", "first", "bad", "last")
	if err == nil || !strings.Contains(err.Error(), "pause bad: no such sandbox") {
		t.Errorf("error %v", err)
	}
	if !strings.Contains(text, "first") || !strings.Contains(text, "last") || strings.Contains(text, "bad") {
		t.Errorf("output %s", text)
	}
}
