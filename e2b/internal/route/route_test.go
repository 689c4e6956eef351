package route

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/envd"
)

// idPattern is the form of a sandbox id.
var idPattern = regexp.MustCompile(`^[a-z0-9]{1,63}$`)

// checkTarget is what must hold of any target, however hostile the request.
func checkTarget(t *testing.T, target Target, ok bool, err error) {
	t.Helper()
	if ok == (target == Target{}) || ok && err != nil {
		t.Fatalf("%+v, %v, %v contradict each other", target, ok, err)
	}
	if ok && (target.Port == 0 || !idPattern.MatchString(target.ID)) {
		t.Fatalf("%+v is not a target", target)
	}
}

func FuzzHost(f *testing.F) {
	for _, s := range []string{"49983-i0.e2b.test", "80-i0-x.e2b.test:443", "api.e2b.test", "127.0.0.1:3000", "[::1]:3000", "[::1]", "", ".", "-", "0-a.b", "65536-a.b", "1-a", "1-a.", "[", "1-a.b:c:d"} {
		f.Add(s, "")
		f.Add(s, "e2b.test:8443")
	}
	f.Fuzz(func(t *testing.T, host, domain string) {
		target, ok, err := Of(&http.Request{Host: host, URL: &url.URL{Path: "/"}}, domain)
		checkTarget(t, target, ok, err)
		if ok && !strings.Contains(strings.ToLower(host), "-"+target.ID) {
			t.Fatalf("%q names %q?", host, target.ID)
		}
	})
}

func FuzzHeaders(f *testing.F) {
	for _, s := range [][2]string{{"i0", "49983"}, {"i0-x", "1"}, {"", "1"}, {"i0", ""}, {"../x", "1"}, {"i0", "-1"}, {"i0", "+1"}, {"i0", "0x10"}, {"i0", "99999999999999999999"}} {
		f.Add("127.0.0.1", s[0], s[1])
		f.Add("api.e2b.test", s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, host, id, port string) {
		h := http.Header{envd.SandboxIDHeader: {id}, envd.SandboxPortHeader: {port}}
		target, ok, err := Of(&http.Request{Host: host, Header: h, URL: &url.URL{Path: "/"}}, "e2b.test")
		checkTarget(t, target, ok, err)
		if ok && strings.HasPrefix(hostname(host), "api.") {
			t.Fatalf("headers moved %q off the control plane", host)
		}
	})
}
