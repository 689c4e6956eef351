package e2b

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/rundlet/rundlet/e2b/internal/fakeruntime"
)

// lackingRuntime is short of something.
type lackingRuntime struct {
	*fakeruntime.Runtime
	lacking []string
}

func (r lackingRuntime) Lacking() []string { return r.lacking }

func TestHealthSaysWhatTheDaemonLacks(t *testing.T) {
	n := newNode(t, Config{})
	if r := n.plain("GET", "/health"); r.code != http.StatusOK || r.body != "Health check successful" || r.header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%d %s", r.code, r.body)
	}
	if r := n.plain("HEAD", "/health"); r.code != http.StatusOK || r.body != "" {
		t.Errorf("HEAD: %d %s", r.code, r.body)
	}
	for _, tc := range []struct {
		lacking      []string
		accept, want string
	}{
		{nil, "", "Health check successful"},
		{nil, "application/json", `{"status":"ok"}`},
		{[]string{"file descriptors", "memory"}, "*/*", "degraded: file descriptors, memory"},
		{[]string{"file descriptors", "memory"}, "application/json, */*", `{"status":"degraded","lacking":["file descriptors","memory"]}`},
	} {
		s := NewServer(Config{}, lackingRuntime{n.Runtime, tc.lacking}, &MemoryKeys{})
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/health", nil)
		r.Header.Set("Accept", tc.accept)
		s.ServeHTTP(w, r)
		s.Close()
		if w.Code != http.StatusOK || w.Body.String() != tc.want {
			t.Errorf("%d %s, want %s", w.Code, w.Body, tc.want)
		}
	}
}
