//go:build linux

package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rundlet/rundlet/image/oci"
)

// answer is a handler that answers all requests of one kind.
func answer(part string, h http.HandlerFunc) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, part) {
			return false
		}
		h(w, r)
		return true
	}
}

func write(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }
}

func manifest(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		_, _ = w.Write([]byte(text))
	}
}

// never answers when the client has gone.
func never(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// endless writes for as long as the client reads.
func endless(w http.ResponseWriter, _ *http.Request) {
	for {
		if _, err := w.Write(make([]byte, 1<<16)); err != nil {
			return
		}
	}
}

func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
}

func TestHostileRegistries(t *testing.T) {
	other := httptest.NewServer(write("secret of this host"))
	defer other.Close()
	otherPort := other.URL[strings.LastIndex(other.URL, ":"):]
	for name, c := range map[string]struct {
		before func(http.ResponseWriter, *http.Request) bool
		want   error
		text   string
	}{
		"never answers": {before: answer("/v2/", never), want: errIdle},
		"no manifest":   {before: answer("/manifests/", never), want: errIdle},
		"no blob":       {before: answer("/blobs/", never), want: errIdle},
		"a blob that stops": {before: answer("/blobs/", func(w http.ResponseWriter, r *http.Request) {
			write("x")(w, r)
			http.NewResponseController(w).Flush()
			never(w, r)
		}), want: errIdle},
		"garbage":                  {before: answer("/manifests/", manifest("garbage")), text: "invalid character"},
		"a page":                   {before: answer("/manifests/", write("<html>")), text: "not one of an image"},
		"a list":                   {before: answer("/manifests/", manifest("[]")), text: "cannot unmarshal"},
		"an empty manifest":        {before: answer("/manifests/", manifest("{}")), text: "digest"},
		"an endless manifest":      {before: answer("/manifests/", endless), text: "at most"},
		"an endless blob":          {before: answer("/blobs/", endless), want: oci.ErrDigest},
		"another blob":             {before: answer("/blobs/", write("x")), text: "attempts"},
		"endless errors":           {before: answer("/blobs/", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404); endless(w, r) }), text: "body exceeds"},
		"an endless ping":          {before: answer("/v2/", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500); endless(w, r) }), text: "body exceeds"},
		"a redirect loop":          {before: answer("/manifests/", redirect("?again")), text: "redirects"},
		"a loop of blobs":          {before: answer("/blobs/", redirect("?again")), text: "redirects"},
		"a file":                   {before: answer("/blobs/", redirect("file:///etc/passwd")), text: "only https"},
		"a private host":           {before: answer("/blobs/", redirect("http://localhost"+otherPort+"/x")), want: ErrPrivate},
		"plain HTTP outside":       {before: answer("/blobs/", redirect("http://192.0.2.1/x")), text: "only https"},
		"metadata of a cloud":      {before: answer("/blobs/", redirect("https://169.254.169.254/latest")), want: ErrPrivate},
		"a network of the host":    {before: answer("/blobs/", redirect("https://10.0.0.1/x")), want: ErrPrivate},
		"a network of the carrier": {before: answer("/blobs/", redirect("https://100.64.0.1/x")), want: ErrPrivate},
		"an IPv6 form of IPv4":     {before: answer("/blobs/", redirect("https://[::ffff:10.0.0.1]/x")), want: ErrPrivate},
	} {
		t.Run(name, func(t *testing.T) {
			f := serve(t)
			f.before = c.before
			cfg := Config{pauses: soon}
			if errors.Is(c.want, errIdle) { // On a busy machine, others are silent for as long.
				cfg.Idle = shortIdle
			}
			_, err := pull(t.Context(), t, f.host+"/me/app:1", cfg)
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) || len(err.Error()) > 2000 {
				t.Errorf("error %.3000v, want %v %s", err, c.want, c.text)
			}
		})
	}
}

func TestCancelEndsADownload(t *testing.T) {
	f := serve(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	f.before = answer("/blobs/", func(w http.ResponseWriter, r *http.Request) { cancel(nil); never(w, r) })
	if _, err := pull(ctx, t, f.host+"/me/app:1", Config{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestCredentials(t *testing.T) {
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:secret"))
	for name, bearer := range map[string]bool{"basic": false, "token": true} {
		t.Run(name, func(t *testing.T) {
			f := serve(t)
			f.before = func(w http.ResponseWriter, r *http.Request) bool {
				got := r.Header.Get("Authorization")
				if bearer && r.URL.Path == "/token" {
					if got != want || r.URL.Query().Get("scope") != "repository:me/app:pull" {
						w.WriteHeader(http.StatusUnauthorized)
						return true
					}
					_ = json.NewEncoder(w).Encode(map[string]string{"token": "a-token"})
					return true
				}
				if bearer && got == "Bearer a-token" || !bearer && got == want {
					return false
				}
				challenge := `Basic realm="x"`
				if bearer {
					challenge = `Bearer realm="` + f.URL + `/token",service="s"`
				}
				w.Header().Set("WWW-Authenticate", challenge)
				w.WriteHeader(http.StatusUnauthorized)
				return true
			}
			for _, c := range []*Credentials{{Username: "me", Password: "secret"}, {Type: "registry", Username: "me", Password: "secret"}} {
				if _, err := pull(t.Context(), t, f.host+"/me/app:1", Config{Credentials: c}); err != nil {
					t.Error(err)
				}
			}
			for _, c := range []*Credentials{nil, {Username: "me", Password: "wrong-password"}, {Type: "gcp", ServiceAccountJSON: "{}"}} {
				if _, err := pull(t.Context(), t, f.host+"/me/app:1", Config{Credentials: c}); err == nil || strings.Contains(err.Error(), "wrong-password") {
					t.Errorf("%+v: %v", c, err)
				}
			}
		})
	}
	for _, kind := range []string{"aws", "other"} {
		if _, err := Image(t.Context(), "x", Config{Credentials: &Credentials{Type: kind}}); !errors.Is(err, ErrCredentials) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// TestAnEndlessTokenIsRefused has a token service that never ends.
func TestAnEndlessTokenIsRefused(t *testing.T) {
	f := serve(t)
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			endless(w, r)
			return true
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+f.URL+`/token"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	if _, err := Image(t.Context(), f.host+"/me/app:1", Config{}); err == nil || !strings.Contains(err.Error(), "body exceeds") {
		t.Errorf("error %v", err)
	}
}

// TestCredentialsStayWithTheirRegistry has blobs at another host.
func TestCredentialsStayWithTheirRegistry(t *testing.T) {
	f := serve(t)
	var seen atomic.Value
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.Header.Get("Authorization") + ".")
		f.inner.ServeHTTP(w, r)
	}))
	defer store.Close()
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Header.Get("Authorization") == "":
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		case strings.Contains(r.URL.Path, "/blobs/"):
			redirect(store.URL+r.URL.Path)(w, r) // The same address, at another port.
		default:
			return false
		}
		return true
	}
	_, err := pull(t.Context(), t, f.host+"/me/app:1", Config{Credentials: &Credentials{Username: "me", Password: "secret"}})
	if err != nil || seen.Load() != "." {
		t.Errorf("authorization %q, %v", seen.Load(), err)
	}
}

func TestMirrors(t *testing.T) {
	f := serve(t)
	base, err := url.Parse(f.URL)
	if err != nil {
		t.Fatal(err)
	}
	var users []string
	f.before = func(_ http.ResponseWriter, r *http.Request) bool {
		user, _, _ := r.BasicAuth()
		users = append(users, user)
		return false
	}
	// There is no registry of the first host.
	for _, c := range []struct{ reference, host, base string }{
		{"registry.invalid/me/app:1", "registry.invalid", f.URL}, {"me/app:1", "docker.io", f.URL + "/"}, {"registry.invalid/app:1", "registry.invalid", f.URL + "/me"},
	} {
		cfg := Config{Mirrors: map[string]string{c.host: c.base}, PublicOnly: true, Credentials: &Credentials{Username: "secret", Password: "x"}}
		if _, err := pull(t.Context(), t, c.reference, cfg); err != nil {
			t.Errorf("%s at %s: %v", c.reference, c.base, err)
		}
	}
	base.User = url.UserPassword("mirror", "x")
	if _, err := pull(t.Context(), t, "registry.invalid/me/app:1", Config{Mirrors: map[string]string{"registry.invalid": base.String()}}); err != nil {
		t.Error(err)
	}
	for _, user := range users {
		if user == "secret" {
			t.Error("a mirror gets the credentials of the registry")
		}
	}
	// What the mirror does not have, the registry may.
	before := f.blobs.Load()
	if _, err := pull(t.Context(), t, f.host+"/me/app:1", Config{Mirrors: map[string]string{f.host: f.URL + "/none"}}); err != nil || f.blobs.Load() == before {
		t.Errorf("without an image at the mirror: %v", err)
	}
	for _, bad := range []string{"ftp://x", "x", "https://", "://"} {
		_, err := pull(t.Context(), t, f.host+"/me/none", Config{Mirrors: map[string]string{f.host: bad}})
		if err == nil || !strings.Contains(err.Error(), "mirror of "+f.host) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
