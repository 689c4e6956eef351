package e2b

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/fakeruntime"
	"github.com/rundlet/rundlet/sandbox"
)

// FuzzCreate sends any body: the answer is a sandbox or a well-formed error.
func FuzzCreate(f *testing.F) {
	for _, s := range []string{`{"templateID":"base"}`, `{"templateID":"base","network":{"denyOut":["0.0.0.0/0"]}}`, `{"network":{"x":1}}`, `[]`, `null`, `"`, ``, `{"timeout":1e9}`} {
		f.Add(s)
	}
	rt := &fakeruntime.Runtime{}
	var keys MemoryKeys
	_, key, _ := keys.Create(f.Context(), "")
	s := NewServer(Config{}, rt, &keys)
	f.Fuzz(func(t *testing.T, body string) {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "/v2/sandboxes", strings.NewReader(body))
		r.Header.Set("X-API-Key", key)
		s.ServeHTTP(w, r)
		if w.Code == 201 {
			if req := rt.LastRequest(); req.Timeout <= 0 || req.Timeout > 24*time.Hour || !req.Secure {
				t.Fatalf("%q asked for %+v", body, req)
			}
			return
		}
		var e struct {
			Code    int
			Message string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Code != w.Code || e.Code < 400 || e.Code == 500 || e.Message == "" {
			t.Fatalf("%q: %d %s", body, w.Code, w.Body)
		}
	})
}

// FuzzBodies sends any body to what pauses, resumes, copies and saves sandboxes:
// the answer is of the route or a well-formed error, and never ours to blame.
func FuzzBodies(f *testing.F) {
	routes := []string{"pause", "resume", "connect", "fork", "snapshots", "continuations"}
	for _, s := range []string{
		``, `{}`, `null`, `[]`, `"`, `{"memory":false}`, `{"timeout":1,"memory":false}`, `{"count":2,"timeout":1}`, `{"count":-1}`,
		`{"name":"a/b:c"}`, `{"name":"\u212A:"}`, `{"reason":"idle"}`, `{"reason":null}`, `{"snapshotID":"snap0000000000000000","createRequest":{"timeout":1}}`,
	} {
		for i := range len(routes) + 1 {
			f.Add(i, s)
		}
	}
	var keys MemoryKeys
	_, key, _ := keys.Create(f.Context(), "")
	f.Fuzz(func(t *testing.T, route int, body string) {
		rt := &fakeruntime.Runtime{}
		s := NewServer(Config{}, rt, &keys)
		defer s.Close()
		sb, err := rt.Create(t.Context(), sandbox.CreateRequest{Template: "base", Timeout: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		path := "/sandboxes/followups"
		if route >= 0 && route < len(routes) {
			path = "/sandboxes/" + sb.ID + "/" + routes[route]
		} else if _, err := rt.Capture(t.Context(), sb.ID, sandbox.ReasonIdle, ""); err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", path, strings.NewReader(body))
		r.Header.Set("X-API-Key", key)
		s.ServeHTTP(w, r)
		switch w.Code {
		case 200, 201, 204:
			if (w.Code == 204) != (w.Body.Len() == 0) {
				t.Fatalf("%s %q: %d %s", path, body, w.Code, w.Body)
			}
			return
		}
		var e struct {
			Code    int
			Message string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Code != w.Code || e.Code < 400 || e.Code == 500 || e.Message == "" || len(e.Message) > 1000 {
			t.Fatalf("%s %q: %d %s", path, body, w.Code, w.Body)
		}
	})
}
