package e2b

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/rundlet/rundlet/e2b/internal/refusal"
)

// refused is a request that is refused.
type refused struct {
	method, path, body string
	header             []string
	// stranger sends no key.
	stranger bool
	// starting: it is for a server that is not open yet.
	starting bool
}

// browserHeader is what a browser sends for a person.
var browserHeader = []string{"User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
	"Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "Sec-Fetch-Mode", "navigate"}

// send asks a real server, or one that starts for ever.
func (q refused) send(n *node, header []string) reply {
	header = append(append([]string{}, q.header...), header...)
	if !q.starting {
		if q.stranger {
			return n.plain(q.method, q.path, header...)
		}
		return n.do(q.method, q.path, q.body, header...)
	}
	var r reply
	synctest.Test(n.t, func(t *testing.T) { // Its patience has a clock.
		s := NewStarting(Config{})
		defer s.Close()
		w, req := httptest.NewRecorder(), httptest.NewRequest(q.method, q.path, nil)
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		s.ServeHTTP(w, req)
		r = reply{w.Code, w.Header(), w.Body.String()}
	})
	return r
}

// The table of refusals is walked on a server: each row, for both generations of
// the API, and for a client and a person at a browser.
func TestEveryRefusalOfTheTable(t *testing.T) {
	named := map[string]bool{}
	for _, row := range refusal.Rows() {
		if named[row.Name] {
			t.Errorf("two rows have the name %q", row.Name)
		}
		named[row.Name] = true
		if inDataplane[row.Name] {
			continue
		}
		provoke, ok := provocations[row.Name]
		if !ok {
			t.Errorf("no request is refused with %q: add one", row.Name)
			continue
		}
		for _, generation := range []string{"", "/v2"} {
			t.Run(row.Name+generation, func(t *testing.T) {
				n := newNode(t, Config{})
				q := provoke(n, generation)
				checkRefusal(t, row, q.send(n, nil))
				checkPage(t, row, q.send(n, browserHeader))
				n.Fail(nil)
			})
		}
	}
	for name := range provocations {
		if !named[name] {
			t.Errorf("there is no row %q", name)
		}
	}
}

// pattern matches what a row's text may become.
func pattern(row *refusal.Row) *regexp.Regexp {
	verbs := regexp.MustCompile(`%(\\\.)?\d*[sqdv]`)
	return regexp.MustCompile("^" + verbs.ReplaceAllString(regexp.QuoteMeta(row.Text), ".+") + "$")
}

// checkRefusal checks the answer to a client.
func checkRefusal(t *testing.T, row *refusal.Row, r reply) {
	t.Helper()
	var body map[string]any
	if err := json.Unmarshal([]byte(r.body), &body); err != nil {
		t.Fatalf("%d %q: %v", r.code, r.body, err)
	}
	message, _ := body["message"].(string)
	if r.code != row.Status || body["code"] != float64(row.Status) || !pattern(row).MatchString(message) {
		t.Errorf("%d %s, want %d %q", r.code, r.body, row.Status, row.Text)
	}
	if cause, _ := body["error_code"].(string); cause != row.Cause {
		t.Errorf("error_code %q, want %q", cause, row.Cause)
	}
	if got := r.header.Get("Content-Type"); got != "application/json; charset=utf-8" {
		t.Errorf("Content-Type %q", got)
	}
	keys := map[string]bool{"code": true, "message": true, "error_code": row.Cause != "", "sandboxId": row.DataPlane, "port": row.ShowPort}
	for key := range body {
		if !keys[key] {
			t.Errorf("%s has %q", r.body, key)
		}
	}
	for key, there := range keys {
		if _, ok := body[key]; ok != there {
			t.Errorf("%s: %q is there: %v", r.body, key, ok)
		}
	}
}

// checkPage checks the answer to a person at a browser: the data plane has pages.
func checkPage(t *testing.T, row *refusal.Row, r reply) {
	t.Helper()
	if !row.DataPlane {
		checkRefusal(t, row, r)
		return
	}
	title := row.Title
	if title == "" {
		title = http.StatusText(row.Status)
	}
	text := regexp.MustCompile("(?s)<p>(.*?)</p>").FindStringSubmatch(r.body)
	if r.code != row.Status || r.header.Get("Content-Type") != "text/html; charset=utf-8" ||
		!strings.HasPrefix(r.body, "<html") || !strings.HasSuffix(r.body, "</html>") ||
		!strings.Contains(r.body, "<title>"+title+"</title>") || text == nil || !pattern(row).MatchString(html.UnescapeString(text[1])) {
		t.Errorf("%d %v %s, want %d and a page with the title %q", r.code, r.header, r.body, row.Status, title)
	}
}

// The texts of E2B that clients match, or people search for: they do not change.
func TestTextsOfE2B(t *testing.T) {
	known := map[*refusal.Row]string{
		refusal.Gone:                 `502 The sandbox was not found`,
		refusal.PortClosed:           `502 The sandbox is running but port is not open`,
		refusal.SandboxNotFound:      `404 Sandbox "%s" doesn't exist or you don't have access to it`,
		refusal.TemplateNotFound:     `404 template '%s' not found`,
		refusal.BuildNotFound:        `404 ` + refusal.BuildNotFound.Text, // The status only, as below.
		refusal.TagNotFound:          `404 ` + refusal.TagNotFound.Text,
		refusal.BuildStarted:         `400 ` + refusal.BuildStarted.Text,
		refusal.InvalidSandboxID:     `400 Invalid sandbox ID`,
		refusal.SignatureMissing:     `401 missing signature query parameter`,
		refusal.SignatureInvalid:     `401 invalid signature`,
		refusal.SignatureExpired:     `401 signature is already expired`,
		refusal.TrafficTokenMissing:  `403 Sandbox is secured with traffic access token. Token header '%s' is missing`,
		refusal.TrafficTokenInvalid:  `403 Sandbox is secured with traffic access token. Token in header '%s' is invalid`,
		refusal.ControlRoute:         `404 This route is reserved for the E2B control plane`,
		refusal.ResumeTokenMissing:   `403 ` + refusal.ResumeTokenMissing.Text, // The status only.
		refusal.ResumeTokenInvalid:   `403 ` + refusal.ResumeTokenInvalid.Text,
		refusal.Paused:               `409 ` + refusal.Paused.Text,
		refusal.Running:              `409 ` + refusal.Running.Text,
		refusal.BadRouting:           `400 ` + refusal.BadRouting.Text,
		refusal.Invalid:              `400 ` + refusal.Invalid.Text,
		refusal.KeyMissing:           `401 ` + refusal.KeyMissing.Text,
		refusal.KeyInvalid:           `401 ` + refusal.KeyInvalid.Text,
		refusal.GuestUnhealthy:       `503 ` + refusal.GuestUnhealthy.Text,
		refusal.GuestUnresponsive:    `409 ` + refusal.GuestUnresponsive.Text,
		refusal.IdempotencyMismatch:  `422 ` + refusal.IdempotencyMismatch.Text,
		refusal.NoFilesystemSnapshot: `400 ` + refusal.NoFilesystemSnapshot.Text,
		refusal.PrivateNeedsSecure:   `400 You cannot create a sandbox without public access unless you enable secure envd access via 'secure' flag.`,
	}
	for _, row := range refusal.Rows() {
		want, ok := known[row]
		if ok != row.E2B {
			t.Errorf("%s: E2B has it: %v; it is in this test: %v", row.Name, row.E2B, ok)
		}
		if !ok {
			continue
		}
		if got := fmt.Sprintf("%d %s", row.Status, row.Text); got != want {
			t.Errorf("%s: %s, want %s", row.Name, got, want)
		}
	}
}
