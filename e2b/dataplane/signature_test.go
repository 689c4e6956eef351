package dataplane

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/e2b/internal/fakeruntime"
	"github.com/rundlet/rundlet/runtime"
)

func TestSignVector(t *testing.T) {
	got := sign("hello.txt", "read", "user", "0tQG31xiMp0IOQfaz9dcwi72L1CPo8e0", "")
	if want := "v1_gUtH/s9YCJWgCizjfUxuWfhFE4QSydOWEIIvfLwDr6E"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func FuzzSigned(f *testing.F) {
	f.Add("GET", "path=hello.txt&username=user&signature=v1_gUtH/s9YCJWgCizjfUxuWfhFE4QSydOWEIIvfLwDr6E")
	f.Add("POST", "signature=v1_&signature_expiration=1")
	f.Add("OPTIONS", "signature=%zz;a")
	rt := &fakeruntime.Runtime{}
	_, err := rt.Create(f.Context(), runtime.CreateRequest{Template: "base", Secure: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, query string) {
		r := httptest.NewRequest("GET", "/files", nil)
		r.Method, r.URL.RawQuery = method, query
		if target, err := Signed(t.Context(), rt, r); err == nil {
			t.Fatalf("%q was taken for a signature of %+v", query, target)
		}
	})
}

func FuzzVerify(f *testing.F) {
	f.Add("hello.txt", "user", "secret", "1")
	f.Add("", "", "t", "")
	f.Fuzz(func(t *testing.T, path, user, token, expiry string) {
		q := url.Values{"path": {path}, "username": {user}, "signature_expiration": {expiry}}
		signature := sign(path, "read", user, token, expiry)
		switch {
		case !verify(q, "read", token, signature), !verify(q, "read", token, signature+"="):
			t.Fatal("a right signature was refused")
		case verify(q, "write", token, signature):
			t.Fatal("a signature to read lets write")
		case verify(q, "read", token+"x", signature):
			t.Fatal("a signature with another token was taken")
		}
	})
}

func TestOperation(t *testing.T) {
	for _, tt := range []struct{ method, announced, want string }{
		{"GET", "", "read"}, {"HEAD", "", "read"}, {"POST", "", "write"}, {"OPTIONS", "POST", "write"}, {"OPTIONS", "GET", "read"},
	} {
		r := &http.Request{Method: tt.method, Header: http.Header{"Access-Control-Request-Method": {tt.announced}}}
		if got := operation(r); got != tt.want {
			t.Errorf("%s %s: %s", tt.method, tt.announced, got)
		}
	}
	if !strings.HasPrefix(sign("", "", "", "", ""), "v1_") {
		t.Error("the version is missing")
	}
}
