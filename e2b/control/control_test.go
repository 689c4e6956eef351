package control

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/e2b/dataplane"
	"github.com/rundlet/rundlet/e2b/internal/exchange"
	"github.com/rundlet/rundlet/e2b/internal/fakeruntime"
	"github.com/rundlet/rundlet/sandbox"
)

func newPlane(t *testing.T, rt *fakeruntime.Runtime) *Plane {
	log := slog.New(slog.DiscardHandler)
	proxy := dataplane.New(rt, log)
	t.Cleanup(proxy.Close)
	return New(Config{MaxTimeout: time.Hour, Log: log}, rt, proxy)
}

func TestWhatIsNotBuiltIsRefusedByName(t *testing.T) {
	p := newPlane(t, &fakeruntime.Runtime{})
	for pattern, feature := range notBuilt {
		method, path, ok := strings.Cut(pattern, " ")
		if !ok {
			method, path = http.MethodGet, pattern+"x/dir"
		}
		path = strings.NewReplacer("{id}", "abc", "{rest...}", "tags").Replace(path)
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		if w.Code != http.StatusNotImplemented || !strings.Contains(w.Body.String(), feature) {
			t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
	}
}

// An image that a client pushes is not one that a build here begins with; the answer says what to do.
func TestBuildsOfTheFirstGenerationAreRefused(t *testing.T) {
	p := newPlane(t, &fakeruntime.Runtime{})
	for _, path := range []string{"/templates", "/templates/abc", "/templates/abc/builds/1"} {
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, nil))
		if w.Code != http.StatusNotImplemented || !strings.Contains(w.Body.String(), "e2b template create") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

// Both operations match the path of the alias "tags".
func TestAnAliasMayBeCalledTags(t *testing.T) {
	rt := &fakeruntime.Runtime{}
	rt.Known = []sandbox.Template{{ID: "tpl1", Aliases: []string{"tags"}}, {ID: "tpl2", Aliases: []string{"aliases"}}}
	w := httptest.NewRecorder()
	newPlane(t, rt).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/templates/aliases/tags", nil))
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"tpl1"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestAnOperationKnowsTheKeyOfItsRequest(t *testing.T) {
	rt := &fakeruntime.Runtime{}
	p := newPlane(t, rt)
	for _, id := range []string{"key-1", "key-2"} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/v2/sandboxes", strings.NewReader(`{"templateID":"base"}`))
		p.ServeHTTP(w, r.WithContext(exchange.WithKey(t.Context(), id)))
		if w.Code != http.StatusCreated || rt.LastRequest().KeyID != id {
			t.Errorf("%d %s, created for %q, want %q", w.Code, w.Body, rt.LastRequest().KeyID, id)
		}
	}
}
