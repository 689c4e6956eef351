package e2b

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/sandbox"
)

// recorded is a mux that only says which patterns it was given.
type recorded struct{ patterns *[]string }

func (r recorded) HandleFunc(pattern string, _ func(http.ResponseWriter, *http.Request)) {
	*r.patterns = append(*r.patterns, pattern)
}

func (recorded) ServeHTTP(http.ResponseWriter, *http.Request) {}

// Every route of the protocol answers 507 when the runtime says that the disk is
// full, also one that is added later.
func TestEveryRouteTellsThatTheDiskIsFull(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	var patterns []string
	openapi.HandlerWithOptions(struct{ openapi.ServerInterface }{}, openapi.StdHTTPServerOptions{BaseRouter: recorded{&patterns}})
	hash, build := strings.Repeat("a", 64), "00000000-0000-4000-8000-000000000000"
	bodies := map[string]string{
		"POST /sandboxes":                    `{"templateID":"base"}`,
		"POST /v2/sandboxes":                 `{"templateID":"base"}`,
		"POST /sandboxes/{id}/connect":       `{"timeout":60}`,
		"POST /v2/sandboxes/{id}/connect":    `{"timeout":60}`,
		"POST /sandboxes/{id}/timeout":       `{"timeout":60}`,
		"POST /sandboxes/{id}/refreshes":     `{"duration":60}`,
		"PUT /sandboxes/{id}/network":        `{}`,
		"POST /sandboxes/{id}/continuations": `{"reason":"idle"}`,
		"POST /sandboxes/followups":          `{"snapshotID":"abcdefghijklmnopqrst"}`,

		"POST /v2/templates":                     `{"alias":"app"}`,
		"POST /v3/templates":                     `{"name":"app"}`,
		"POST /v2/templates/{id}/builds/{build}": `{"fromTemplate":"base"}`,
		"PATCH /templates/{id}":                  `{"public":true}`,
		"PATCH /v2/templates/{id}":               `{"public":true}`,
		"POST /templates/tags":                   `{"target":"app","tags":["v1"]}`,
		"DELETE /templates/tags":                 `{"name":"app","tags":["v1"]}`,
		"PUT /templates/{id}/files/{hash}":       "x",
		"PUT /warm/{name}":                       `{"ready":1}`,
	}
	// What does not ask the runtime, with the status that it has.
	other := map[string]int{"GET /health": 200, "GET /sandboxes/metrics": 200} // The double measures nothing.
	n.Fail(sandbox.ErrDiskFull)
	for _, pattern := range patterns {
		t.Run(pattern, func(t *testing.T) {
			n.t = t
			pattern := strings.NewReplacer("{sandboxID}", "{id}", "{templateID}", "{id}", "{alias}", "{id}", "{buildID}", "{build}").Replace(pattern)
			method, path, _ := strings.Cut(strings.NewReplacer("{id}", id, "{build}", build, "{hash}", hash, "{action}", "sync").Replace(pattern), " ")
			if strings.HasSuffix(path, "/metrics") && !strings.Contains(path, id) {
				path += "?sandbox_ids=" + id
			}
			want := http.StatusInsufficientStorage
			if code, ok := other[pattern]; ok {
				want = code
			}
			if method == "PUT" && strings.Contains(path, "/files/") {
				path = strings.TrimPrefix(n.server.control.Uploads.URL("", id, hash, "", time.Now()), n.url)
			}
			if r := n.do(method, path, bodies[pattern]); r.code != want {
				t.Errorf("%d %s, want %d", r.code, r.body, want)
			}
		})
	}
	if len(patterns) < 20 {
		t.Errorf("there are %d routes only", len(patterns))
	}
	n.Fail(nil)
}
