package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func serve(t *testing.T, h http.HandlerFunc) API {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return API{HTTP: srv.Client(), URL: srv.URL + "/", Key: "e2b_key"}
}

func TestCreateGetKill(t *testing.T) {
	var got []string
	api := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, strings.TrimSpace(r.Method+" "+r.URL.EscapedPath()+" "+string(body)))
		if r.Header.Get("X-API-Key") != "e2b_key" || (len(body) > 0) != (r.Header.Get("Content-Type") == "application/json") {
			t.Errorf("header %v", r.Header)
		}
		switch r.Method {
		case http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
		case http.MethodPost:
			w.WriteHeader(http.StatusCreated)
			fallthrough
		default:
			fmt.Fprint(w, `{"sandboxID":"i1","templateID":"t","envdAccessToken":"secret","state":"running","cpuCount":2,"memoryMB":512,
				"startedAt":"2025-01-02T03:04:05Z","endAt":"2025-01-02T03:05:05Z","metadata":{"k":"v"},"unknown":1}`)
		}
	})
	sb, err := api.Create(t.Context(), "base", 90*time.Second)
	if err != nil || sb.ID != "i1" || sb.EnvdAccessToken != "secret" || sb.VCPUs != 2 || sb.EndAt.Sub(sb.StartedAt) != time.Minute || sb.Metadata["k"] != "v" {
		t.Errorf("%+v, %v", sb, err)
	}
	if sb, err = api.Get(t.Context(), "../i?1"); err != nil || sb.State != "running" {
		t.Errorf("%+v, %v", sb, err)
	}
	if err := api.Kill(t.Context(), "i/1"); err != nil {
		t.Error(err)
	}
	want := []string{`POST /v2/sandboxes {"timeout":90,"templateID":"base"}`, "GET /sandboxes/..%2Fi%3F1", "DELETE /sandboxes/i%2F1"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("requests %q", got)
	}
}

func TestListFollowsThePages(t *testing.T) {
	pages := map[string]struct{ ids, next string }{"": {"a b", "t/1=&"}, "t/1=&": {"", "t2"}, "t2": {"c", ""}}
	api := serve(t, func(w http.ResponseWriter, r *http.Request) {
		page, ok := pages[r.URL.Query().Get("nextToken")]
		if !ok || r.URL.Path != "/v2/sandboxes" || r.URL.Query().Get("limit") != "100" {
			t.Errorf("request %s", r.URL)
		}
		w.Header().Set("X-Next-Token", page.next)
		list := []Sandbox{}
		for id := range strings.FieldsSeq(page.ids) {
			list = append(list, Sandbox{ID: id})
		}
		json.NewEncoder(w).Encode(list)
	})
	list, err := api.List(t.Context())
	var ids []string
	for _, sb := range list {
		ids = append(ids, sb.ID)
	}
	if err != nil || strings.Join(ids, " ") != "a b c" {
		t.Errorf("%v, %v", ids, err)
	}
}

// A server that always has another page must not keep its client forever.
func TestListThatGoesRound(t *testing.T) {
	requests := 0
	api := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests++
		w.Header().Set("X-Next-Token", "same")
		io.WriteString(w, `[{"sandboxID":"a"}]`)
	})
	if list, err := api.List(t.Context()); err == nil || !strings.Contains(err.Error(), "page") {
		t.Errorf("%v, %v", list, err)
	}
	if requests > 3 {
		t.Errorf("%d requests", requests)
	}
}

func TestAPIReplies(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		body   string
		code   int // of an *Error
		text   string
	}{
		"error":           {404, `{"code":404,"message":"sandbox \"i1\" not found"}`, 404, `sandbox "i1" not found`},
		"error as text":   {502, "<html>bad gateway", 502, "the server answered 502 Bad Gateway"},
		"empty error":     {500, "", 500, "the server answered 500 Internal Server Error"},
		"empty message":   {401, `{"code":401,"message":""}`, 401, "the server answered 401 Unauthorized"},
		"redirect":        {304, "", 304, "the server answered 304 Not Modified"},
		"malformed":       {200, `{"sandboxID":`, 0, "GET /sandboxes/i1: "},
		"another type":    {200, `["x"]`, 0, "GET /sandboxes/i1: "},
		"nothing":         {200, "", 0, "GET /sandboxes/i1: "},
		"oversized":       {200, `{"sandboxID":"` + strings.Repeat("x", maxReply) + `"}`, 0, "larger than"},
		"oversized error": {500, `{"message":"` + strings.Repeat("x", maxReply) + `"}`, 0, "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			api := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tc.status)
				io.WriteString(w, tc.body)
			})
			_, err := api.Get(t.Context(), "i1")
			if err == nil || !strings.Contains(err.Error(), tc.text) {
				t.Fatalf("%v", err)
			}
			var e *Error
			if errors.As(err, &e) != (tc.code != 0) || e != nil && e.Code != tc.code {
				t.Errorf("%#v", err)
			}
		})
	}
}

func TestARefusalSaysWhenToTryAgain(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"": 0, "3": 3 * time.Second, "-1": 0, "soon": 0, "99999999999999999999": 0,
	} {
		api := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", header)
			w.WriteHeader(http.StatusTooManyRequests)
		})
		_, err := api.Get(t.Context(), "i1")
		var e *Error
		if !errors.As(err, &e) || e.RetryAfter != want {
			t.Errorf("Retry-After %q: %#v, want %s", header, err, want)
		}
	}
}

func TestBrokenConnections(t *testing.T) {
	api := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "{")
	})
	if _, err := api.Get(t.Context(), "i1"); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a reply: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := api.List(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := (API{URL: "http://bad url"}).Kill(t.Context(), "i1"); err == nil {
		t.Error("a URL with a space")
	}
}

func TestAgentIsReachedThroughTheServer(t *testing.T) {
	api := API{URL: "http://server", Key: "e2b_key"}
	a := api.Agent(Sandbox{ID: "i1", EnvdAccessToken: "secret"})
	if a.BaseURL != "http://server" || a.HTTP != http.DefaultClient || a.Header.Get("E2b-Sandbox-Id") != "i1" ||
		a.Header.Get("E2b-Sandbox-Port") != "49983" || a.Header.Get("X-Access-Token") != "secret" {
		t.Errorf("%+v", a)
	}
	// The key is for the API alone: what runs in the sandbox must not get it.
	for name, values := range a.Header {
		if strings.Contains(strings.Join(values, ""), "e2b_key") {
			t.Errorf("header %s has the API key", name)
		}
	}
	if a := api.Agent(Sandbox{ID: "i1"}); len(a.Header) != 2 {
		t.Errorf("header %v", a.Header)
	}
}

func TestDirect(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Host) }))
	defer srv.Close()
	a := Direct(func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", srv.Listener.Addr().String())
	}, "secret")
	defer a.HTTP.CloseIdleConnections()
	resp, err := a.HTTP.Get(a.BaseURL + "/health")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); string(b) != "agent" {
		t.Errorf("host %q", b)
	}
	if a.Header.Get("X-Access-Token") != "secret" {
		t.Errorf("header %v", a.Header)
	}
	if len(Direct(nil, "").Header) != 0 {
		t.Error("a token that was not issued")
	}
}
