package remote

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
)

// One sandbox that cannot be paused does not keep the others from it, and the output
// names those that were.
func TestACommandForManySandboxesGoesOnAfterAnError(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "bad") {
			http.Error(w, `{"code":404,"message":"no such sandbox"}`, http.StatusNotFound)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer srv.Close()
	t.Setenv("E2B_API_URL", srv.URL)
	t.Setenv("E2B_API_KEY", "e2b_0")
	cmd := Sandbox(&command.Options{JSON: true})
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs([]string{"pause", "first", "bad", "last"})
	err := cmd.ExecuteContext(t.Context())
	if err == nil || !strings.Contains(err.Error(), "pause bad: no such sandbox") {
		t.Errorf("error %v", err)
	}
	if text := out.String(); !strings.Contains(text, "first") || !strings.Contains(text, "last") || strings.Contains(text, "bad") {
		t.Errorf("output %s", text)
	}
}
