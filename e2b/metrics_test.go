package e2b

import (
	"io"
	"net/http"
	"testing"
)

func TestMetricsNeedAKey(t *testing.T) {
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "up 1\n") })
	n := newNode(t, Config{Metrics: metrics})
	for name, c := range map[string]struct {
		header []string
		code   int
	}{
		"a key":                    {[]string{"X-API-Key", n.key}, http.StatusOK},
		"a bearer":                 {[]string{"X-API-Key", "", "Authorization", "Bearer " + n.key}, http.StatusOK},
		"a bearer, any case":       {[]string{"X-API-Key", "", "Authorization", "bearer  " + n.key}, http.StatusOK},
		"no key":                   {[]string{"X-API-Key", ""}, http.StatusUnauthorized},
		"a wrong key":              {[]string{"X-API-Key", "e2b_00"}, http.StatusUnauthorized},
		"a wrong bearer":           {[]string{"X-API-Key", "", "Authorization", "Bearer e2b_00"}, http.StatusUnauthorized},
		"a bearer of nothing":      {[]string{"X-API-Key", "", "Authorization", "Bearer"}, http.StatusUnauthorized},
		"another scheme":           {[]string{"X-API-Key", "", "Authorization", "Basic " + n.key}, http.StatusUnauthorized},
		"the key without a scheme": {[]string{"X-API-Key", "", "Authorization", n.key}, http.StatusUnauthorized},
	} {
		r := n.do(http.MethodGet, "/metrics", "", c.header...)
		if r.code != c.code || (r.body == "up 1\n") != (c.code == http.StatusOK) {
			t.Errorf("%s: %d %q", name, r.code, r.body)
		}
	}
	if r := n.do(http.MethodPost, "/metrics", ""); r.code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", r.code)
	}
	// Elsewhere a bearer is the token of a user, which this server has none of.
	if r := n.do(http.MethodGet, "/v2/sandboxes", "", "X-API-Key", "", "Authorization", "Bearer "+n.key); r.code != http.StatusUnauthorized {
		t.Errorf("a bearer for the API: %d", r.code)
	}
}

func TestWithoutMetricsThereIsNoRoute(t *testing.T) {
	if r := newNode(t, Config{}).do(http.MethodGet, "/metrics", ""); r.code != http.StatusNotFound {
		t.Errorf("%d", r.code)
	}
}
