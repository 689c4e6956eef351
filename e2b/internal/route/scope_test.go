package route

import (
	"net/http"
	"slices"
	"testing"
)

func TestAnAnswerByPathStaysInItsPaths(t *testing.T) {
	const prefix = "/sandbox-proxy/i0/ports/80"
	target := Target{ID: "i0", Port: 80, Prefix: prefix}
	for to, want := range map[string]string{
		"/":                                 prefix + "/",
		"/login?next=/x":                    prefix + "/login?next=/x",
		"/sandboxes":                        prefix + "/sandboxes",
		`/\evil.test`:                       prefix + `/\evil.test`,
		prefix:                              prefix,
		prefix + "/x":                       prefix + "/x",
		prefix + "?x":                       prefix + "?x",
		prefix + "80/x":                     prefix + prefix + "80/x",
		"/sandbox-proxy/i1/ports/80/":       prefix + "/sandbox-proxy/i1/ports/80/",
		"next":                              "next",
		"../up":                             "../up",
		"?x":                                "?x",
		"":                                  "",
		"//other.test/x":                    "//other.test/x",
		"https://other.test/x":              "https://other.test/x",
		"http://127.0.0.1:3000/not-changed": "http://127.0.0.1:3000/not-changed",
	} {
		h := http.Header{"Location": {to}}
		for range 2 { // It may be asked twice.
			if target.Scope(h); h.Get("Location") != want {
				t.Errorf("Location %q became %q, want %q", to, h.Get("Location"), want)
			}
		}
	}
	for line, want := range map[string]string{
		"a=b":                           "a=b; Path=" + prefix,
		"a=b; Path=/":                   "a=b; Path=" + prefix,
		"a=b;path=/x ;HttpOnly":         "a=b;HttpOnly; Path=" + prefix,
		"a=b; Domain=example.com":       "a=b; Path=" + prefix,
		"a=b; DOMAIN = .com; Secure":    "a=b; Secure; Path=" + prefix,
		"a=b; Path; Domain; Max-Age=1":  "a=b; Max-Age=1; Path=" + prefix,
		"a=b;\tPath=/;\tSameSite=Lax":   "a=b;\tSameSite=Lax; Path=" + prefix,
		`a="b; Path=/"; Path=/`:         `a="b; Path=` + prefix, // For a browser the quotes mean nothing.
		"Path=/; Path=/":                "Path=/; Path=" + prefix,
		"a=b; Pathology=x; DomainX=y; ": "a=b; Pathology=x; DomainX=y; ; Path=" + prefix,
		"":                              "; Path=" + prefix,
	} {
		h := http.Header{"Set-Cookie": {"first=1", line}}
		for range 2 {
			if target.Scope(h); h["Set-Cookie"][1] != want || h["Set-Cookie"][0] != "first=1; Path="+prefix {
				t.Errorf("cookie %q became %q, want %q", line, h["Set-Cookie"], want)
			}
		}
	}
	h := http.Header{"Content-Type": {"text/html"}, "Service-Worker-Allowed": {"/"}, "Clear-Site-Data": {`"*"`}, "Strict-Transport-Security": {"max-age=1"},
		"Alt-Svc": {`h2="evil.test:443"`}, "Report-To": {"{}"}, "Nel": {"{}"}}
	if target.Scope(h); len(h) != 1 || h.Get("Content-Type") == "" {
		t.Errorf("headers for the whole origin: %v", h)
	}
	h = http.Header{"Location": {"/x"}, "Set-Cookie": {"a=b; Domain=e2b.test"}, "Alt-Svc": {"clear"}}
	if (Target{ID: "i0", Port: 80}).Scope(h); len(h) != 3 || h.Get("Location") != "/x" || !slices.Equal(h["Set-Cookie"], []string{"a=b; Domain=e2b.test"}) {
		t.Errorf("addressed by name, the answer was changed: %v", h)
	}
}

func TestTunnels(t *testing.T) {
	for authority, want := range map[string]Target{
		"80-i0.e2b.test:443":           {ID: "i0", Port: 80},
		"80-i0-client.E2B.test.:443":   {ID: "i0", Port: 80},
		"80-i0.e2b.test:9":             {ID: "i0", Port: 80},
		"i0:22":                        {ID: "i0", Port: 22},
		"i0-client:22":                 {ID: "i0", Port: 22},
		"i0":                           {},
		"i0:0":                         {},
		"i0:":                          {},
		"i0:65536":                     {},
		"I0:22":                        {},
		"0-i0.e2b.test:443":            {},
		"80-i0.other.test:443":         {},
		"example.com:443":              {},
		"127.0.0.1:80":                 {},
		"[::1]:80":                     {},
		"localhost.:80":                {},
		"api.e2b.test:443":             {},
		"e2b_0123456789012345678:9999": {},
	} {
		r, err := http.NewRequest(http.MethodConnect, "http://"+authority, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := OfTunnel(r, "e2b.test"); got != want || (err == nil) != (want != Target{}) {
			t.Errorf("%s: %+v, %v", authority, got, err)
		}
	}
	r, _ := http.NewRequest(http.MethodConnect, "http://i0:80/", nil)
	if got, err := OfTunnel(r, ""); err == nil {
		t.Errorf("a path with a host: %+v", got)
	}
}
