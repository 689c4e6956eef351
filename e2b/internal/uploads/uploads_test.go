package uploads

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestALinkIsValidForItsTime(t *testing.T) {
	u, now := New(), time.Unix(1000, 500)
	for _, template := range []string{"tpl0", "ns/app", "a%b c?d\ne"} {
		link := u.URL("https://a.example:1", template, strings.Repeat("a", 64), "key-1", now)
		r := httptest.NewRequest("PUT", link, nil)
		for after, ok := range map[time.Duration]bool{0: true, LinkTime: true, LinkTime + time.Second: false, 48 * time.Hour: false} {
			key, err := u.Check(r, now.Add(after))
			if (err == nil) != ok || ok && key != "key-1" {
				t.Errorf("%s after %s: %q, %v", link, after, key, err)
			}
		}
		if _, err := New().Check(r, now); err == nil {
			t.Error("another process takes the link")
		}
	}
}

func TestUploadsAreRecognised(t *testing.T) {
	for target, want := range map[string]bool{
		"PUT /templates/a/files/b": true, "PUT /templates/a%2Fb/files/c?x": true, "GET /templates/a/files/b": false, "POST /templates/a/files/b": false,
		"PUT /templates/a/files": false, "PUT /templates/a/files/b/c": false, "PUT /templates/a/b/files/c": false, "PUT /x/templates/a/files/b": false, "PUT /files": false,
	} {
		method, path, _ := strings.Cut(target, " ")
		if got := Is(httptest.NewRequest(method, path, nil)); got != want {
			t.Errorf("%s: %v", target, got)
		}
	}
}
