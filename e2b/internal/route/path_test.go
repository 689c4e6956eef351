package route

import (
	"bufio"
	"errors"
	"net/http"
	"strings"
	"testing"
)

// parsed is a request as the server reads it.
func parsed(t testing.TB, target, host string) (*http.Request, error) {
	t.Helper()
	return http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n")))
}

func TestPaths(t *testing.T) {
	for _, tt := range []struct {
		path, id string
		port     uint16
		inside   string // The request of the program.
		err      error
	}{
		{"/sandbox-proxy/i0/ports/80/a/b?q=%2F;x", "i0", 80, "/a/b?q=%2F;x", nil},
		{"/sandbox-proxy/i0/ports/80", "i0", 80, "/", nil},
		{"/sandbox-proxy/i0/ports/80?q", "i0", 80, "/?q", nil},
		{"/sandbox-proxy/i0/ports/80/", "i0", 80, "/", nil},
		{"/sandbox-proxy/i0-client/ports/49983/files", "i0", 49983, "/files", nil},
		{"/sandbox-proxy/i0/ports/80/a%2Fb%20c/%C3%A9", "i0", 80, "/a%2Fb%20c/%C3%A9", nil},
		{"/sandbox-proxy/i0/ports/80//x", "i0", 80, "//x", nil},
		{"/sandbox-proxy/i0/ports/80/sandbox-proxy/i1/ports/81/", "i0", 80, "/sandbox-proxy/i1/ports/81/", nil},
		{"http://x/sandbox-proxy/i0/ports/80/a", "i0", 80, "/a", nil},
		// No ".." leads elsewhere: the program gets it, as it does by host name.
		{"/sandbox-proxy/i0/ports/80/../../../i1/ports/81/", "i0", 80, "/../../../i1/ports/81/", nil},
		{"/sandbox-proxy/i0/ports/80/%2e%2e/%2E%2E/x", "i0", 80, "/%2e%2e/%2E%2E/x", nil},
		{"/sandbox-proxy/i0/ports/80/..%2f..%2fx", "i0", 80, "/..%2f..%2fx", nil},
		{`/sandbox-proxy/i0/ports/80/..\..\x`, "i0", 80, `/..%5C..%5Cx`, nil},
		{"/sandbox-proxy/i0/ports/80/a%2Fb/\"", "i0", 80, "/a/b/%22", nil}, // As net/http does for any path that is not well-formed.
		{"/sandbox-proxy/../ports/80/", "", 0, "", ErrBadTarget},
		{"/sandbox-proxy/i0/../i1/ports/80/", "", 0, "", ErrBadPath},
		{"/sandbox-proxy//i0/ports/80/", "", 0, "", ErrBadPath},
		{"/sandbox-proxy/%690/ports/80/", "", 0, "", ErrBadTarget},
		{"/sandbox-proxy/i0%2Fports%2F80/", "", 0, "", ErrBadPath},
		{"/sandbox-proxy/i0/ports/%38%30/", "", 0, "", ErrBadTarget},
		{"/sandbox-proxy/i0/ports/80%2F/", "", 0, "", ErrBadTarget},
		{"/sandbox-proxy/i0/ports/0/", "", 0, "", ErrBadTarget},
		{"/sandbox-proxy/i0/ports/65536/", "", 0, "", ErrBadTarget},
		{"/sandbox-proxy/i0/ports/+80/", "", 0, "", ErrBadTarget},
		{"/sandbox-proxy/I0/ports/80/", "", 0, "", ErrBadTarget},
		{"/sandbox-proxy/i0/ports", "", 0, "", ErrBadPath},
		{"/sandbox-proxy/i0/ports/", "", 0, "", ErrBadTarget},
		{"/sandbox-proxy/i0/80/", "", 0, "", ErrBadPath},
		{"/sandbox-proxy/", "", 0, "", ErrBadPath},
		{"/sandbox-proxy", "", 0, "", nil},
		{"/Sandbox-Proxy/i0/ports/80/", "", 0, "", nil},
		{"/sandbox%2Dproxy/i0/ports/80/\"", "", 0, "", nil},
		{"//sandbox-proxy/i0/ports/80/", "", 0, "", nil},
		{"/x/../sandbox-proxy/i0/ports/80/", "", 0, "", nil},
		{"/sandboxes", "", 0, "", nil},
	} {
		r, err := parsed(t, tt.path, "127.0.0.1:3000")
		if err != nil {
			t.Errorf("%s: %v", tt.path, err)
			continue
		}
		before := *r.URL
		target, ok, err := Of(r, "e2b.test")
		if !errors.Is(err, tt.err) || target.ID != tt.id || target.Port != tt.port || ok != (tt.id != "") {
			t.Errorf("%s: %+v, %v, %v", tt.path, target, ok, err)
			continue
		}
		if !ok {
			continue
		}
		if got := target.Strip(r).URL; got.RequestURI() != "http://x"+tt.inside && got.RequestURI() != tt.inside || *r.URL != before {
			t.Errorf("%s: the program sees %s; the request has %s", tt.path, got.RequestURI(), r.URL)
		}
	}
}

// A name of a sandbox wins, since its paths are the program's. The path wins over the rest.
func TestWhatWinsOverAPath(t *testing.T) {
	const path = "/sandbox-proxy/i1/ports/81/x"
	for host, want := range map[string]Target{
		"80-i0.e2b.test":    {ID: "i0", Port: 80},
		"api.e2b.test":      {ID: "i1", Port: 81, Prefix: "/sandbox-proxy/i1/ports/81"},
		"sandbox.e2b.test":  {ID: "i1", Port: 81, Prefix: "/sandbox-proxy/i1/ports/81"},
		"[::1]:3000":        {ID: "i1", Port: 81, Prefix: "/sandbox-proxy/i1/ports/81"},
		"80-i0.other.test":  {ID: "i1", Port: 81, Prefix: "/sandbox-proxy/i1/ports/81"},
		"localhost":         {ID: "i1", Port: 81, Prefix: "/sandbox-proxy/i1/ports/81"},
		"80-i0.e2b.test:80": {ID: "i0", Port: 80},
	} {
		r, err := parsed(t, path, host)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("E2b-Sandbox-Id", "i2") // Without the other it would be an error.
		if target, ok, err := Of(r, "e2b.test"); target != want || !ok || err != nil {
			t.Errorf("%s: %+v, %v, %v", host, target, ok, err)
		}
		if want.Prefix == "" && want.Strip(r) != r {
			t.Errorf("%s: its path was changed", host)
		}
	}
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"/sandbox-proxy/i0/ports/80/a", "/sandbox-proxy/i0/ports/80", "/sandbox-proxy/i0-x/ports/080/..", "/sandbox-proxy/i0/ports/80/%2e%2e%2f",
		"/sandbox-proxy/%69/ports/80", "/sandbox-proxy/", "/sandbox%2Dproxy/i0/ports/80/\"", "http://a/sandbox-proxy/i0/ports/80?x=/", "*", "//", "/sandbox-proxy/i0/ports/80/\"%2F"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		r, err := parsed(t, path, "x")
		if err != nil {
			return
		}
		target, ok, err := Of(r, "e2b.test")
		checkTarget(t, target, ok, err)
		if !ok {
			return
		}
		inside := target.Strip(r)
		whole, rest := r.URL.EscapedPath(), inside.URL.EscapedPath()
		if !strings.HasPrefix(rest, "/") || whole != target.Prefix+rest && whole != target.Prefix || r.URL.RawQuery != inside.URL.RawQuery {
			t.Fatalf("%q became %q below %q", whole, rest, target.Prefix)
		}
		if !strings.HasPrefix(target.Prefix, "/sandbox-proxy/"+target.ID) || strings.ContainsAny(target.Prefix, "%;. \"") {
			t.Fatalf("prefix %q of %+v", target.Prefix, target)
		}
	})
}
