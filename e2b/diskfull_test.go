package e2b

import (
	"net/http"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/sandbox"
)

// recorded is a mux that says which patterns it was given.
type recorded struct {
	*http.ServeMux
	patterns *[]string
}

func (r recorded) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	*r.patterns = append(*r.patterns, pattern)
	r.ServeMux.HandleFunc(pattern, handler)
}

// Every route of the protocol answers 507 when the runtime says that the disk is
// full, also one that is added later.
func TestEveryRouteTellsThatTheDiskIsFull(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	var patterns []string
	openapi.HandlerWithOptions(struct{ openapi.ServerInterface }{}, openapi.StdHTTPServerOptions{BaseRouter: recorded{http.NewServeMux(), &patterns}})
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
	}
	// What does not ask the runtime, with the status that it has.
	other := map[string]int{"GET /health": 200, "GET /sandboxes/metrics": 200} // The double measures nothing.
	n.Fail(sandbox.ErrDiskFull)
	for _, pattern := range patterns {
		t.Run(pattern, func(t *testing.T) {
			n.t = t
			pattern := strings.NewReplacer("{sandboxID}", "{id}", "{templateID}", "{id}", "{alias}", "{id}").Replace(pattern)
			method, path, _ := strings.Cut(strings.ReplaceAll(pattern, "{id}", id), " ")
			if strings.HasSuffix(path, "/metrics") && !strings.Contains(path, id) {
				path += "?sandbox_ids=" + id
			}
			want := http.StatusInsufficientStorage
			if code, ok := other[pattern]; ok {
				want = code
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
