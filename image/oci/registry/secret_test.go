//go:build linux

package registry

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

const password = "s3cret/pass word"

// A password is in no error: neither in one about the URL that has it, nor in what a registry answers.
func TestPasswordsAreInNoError(t *testing.T) {
	f := serve(t)
	base, err := url.Parse(f.URL)
	if err != nil {
		t.Fatal(err)
	}
	base.User = url.UserPassword("mirror", password)
	var blobs bool
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		_, sent, _ := r.BasicAuth()
		switch {
		case sent == "":
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		case blobs && !strings.Contains(r.URL.Path, "/blobs/"):
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `{"errors":[{"code":"DENIED","message":"%s, %s and %s"}]}`, sent, url.QueryEscape(sent), url.PathEscape(sent))
		return true
	}
	check := func(what string, err error) {
		t.Helper()
		for _, secret := range []string{password, url.QueryEscape(password), url.PathEscape(password)} {
			if err == nil || strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	for _, bad := range []string{"ftp://mirror:" + password + "@x", "https://mirror:" + password + "@", "mirror:" + password, "://" + password, "https://" + url.QueryEscape(password) + "@x:port"} {
		_, err := pull(t.Context(), t, f.host+"/me/none", Config{Mirrors: map[string]string{f.host: bad}})
		check(bad, err)
	}
	mirror := Config{Mirrors: map[string]string{"registry.invalid": base.String()}}
	for _, what := range []string{"a manifest", "a blob"} {
		_, err := pull(t.Context(), t, "registry.invalid/me/app:1", mirror)
		check(what, err)
		if answer := new(transport.Error); !errors.As(err, &answer) || answer.StatusCode != http.StatusForbidden || !strings.Contains(err.Error(), "xxxxx") {
			t.Errorf("%s: %v does not say what the registry answers", what, err)
		}
		_, err = pull(t.Context(), t, f.host+"/me/app:1", Config{Credentials: &Credentials{Username: "me", Password: password}})
		check(what+" for a client", err)
		blobs = true
	}
}
