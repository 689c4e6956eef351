package templates

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/exchange"
	"github.com/rundlet/rundlet/e2b/internal/fakeruntime"
	"github.com/rundlet/rundlet/e2b/internal/idempotency"
	"github.com/rundlet/rundlet/e2b/internal/uploads"
	"github.com/rundlet/rundlet/sandbox"
)

// A log that is longer than what is read of the runtime at a time is filtered as a whole.
func TestALongLogIsFilteredAsAWhole(t *testing.T) {
	rt := &fakeruntime.Runtime{}
	o := New(rt, uploads.New(), func(*http.Request) string { return "" }, idempotency.New(), exchange.NewBodies(), exchange.Replier{Log: slog.New(slog.DiscardHandler)})
	b, err := rt.BeginBuild(t.Context(), sandbox.TemplateRequest{Name: "app"})
	if err == nil {
		err = rt.StartBuild(t.Context(), b.TemplateID, b.ID, sandbox.Recipe{FromTemplate: "base"})
	}
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2*logPage + 1 {
		level := "info"
		if i%logPage == 0 {
			level = "warn"
		}
		rt.Log(b.TemplateID, b.ID, sandbox.BuildLog{Level: level, Message: level})
	}
	level := openapi.LogLevelWarn
	w := httptest.NewRecorder()
	o.GetTemplateBuildLogs(w, httptest.NewRequest(http.MethodGet, "/", nil), b.TemplateID, b.ID, openapi.GetTemplateBuildLogsParams{Level: &level})
	if got := strings.Count(w.Body.String(), `"message":"warn"`); w.Code != http.StatusOK || got != 3 || strings.Contains(w.Body.String(), "info") {
		t.Errorf("%d, %d lines: %s", w.Code, got, w.Body)
	}
}
