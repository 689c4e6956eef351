package e2b

import (
	"context"
	"errors"
	"net/http"
	"path"
	"strings"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/e2b/internal/wire"
)

// notBuilt are operations of the protocol that this server does not have yet.
var notBuilt = map[string]string{
	"PUT /sandboxes/{id}/network":            "changing the network of a running sandbox",
	"PATCH /templates/{id}":                  "changing templates",
	"PATCH /v2/templates/{id}":               "changing templates",
	"POST /templates":                        "building templates",
	"POST /v2/templates":                     "building templates",
	"POST /v3/templates":                     "building templates",
	"POST /v2/templates/{id}/builds/{build}": "building templates",
	// One pattern for files, builds and tags: "/templates/{id}/tags" would
	// conflict with "/templates/aliases/{alias}".
	"GET /templates/{id}/{rest...}": "builds, files and tags of templates",
	"POST /templates/tags":          "tagging templates",
	"DELETE /templates/tags":        "tagging templates",
	"GET /volumes":                  "volumes",
	"POST /volumes":                 "volumes",
	"GET /volumes/{id}":             "volumes",
	"DELETE /volumes/{id}":          "volumes",
	"/volumecontent/":               "volumes",
	"GET /secrets":                  "secrets",
	"POST /secrets":                 "secrets",
	"GET /secrets/{id}":             "secrets",
	"POST /secrets/{id}":            "secrets",
	"DELETE /secrets/{id}":          "secrets",
	"GET /teams":                    "teams",
}

// control is the control plane, for requests that are authenticated: it reads what all of them
// have alike, and routes them to the operations.
type control struct {
	operations *operations
	mux        *http.ServeMux
}

// newControl returns the control plane. metrics may be nil.
func newControl(o *operations, metrics http.Handler) *control {
	c := &control{o, http.NewServeMux()}
	openapi.HandlerWithOptions(o, openapi.StdHTTPServerOptions{
		BaseRouter: c.mux,
		ErrorHandlerFunc: func(w http.ResponseWriter, r *http.Request, err error) {
			c.operations.reply.fail(w, r, refusal.Invalidf("%s", paramProblem(err)), "")
		},
	})
	for pattern, feature := range notBuilt {
		c.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			c.operations.reply.fail(w, r, refusal.Unsupported.With(feature), "")
		})
	}
	if metrics != nil {
		c.mux.Handle("GET "+metricsPath, metrics)
	}
	return c
}

// ServeHTTP serves a request whose context has the id of its API key.
func (c *control) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The mux would redirect to the clean path; no client means such a path.
	if p := r.URL.EscapedPath(); path.Clean(p) != p {
		c.operations.reply.fail(w, r, notFound(r), "")
		return
	}
	if err := wire.ReadQuery(r); err != nil {
		c.operations.reply.fail(w, r, err, "")
		return
	}
	if _, pattern := c.mux.Handler(r); pattern == "" {
		c.operations.reply.fail(w, r, c.unrouted(w, r), "")
		return
	}
	c.mux.ServeHTTP(w, r)
}

type keyIDKey struct{}

// keyID is the API key that made the request.
func keyID(ctx context.Context) string {
	id, _ := ctx.Value(keyIDKey{}).(string)
	return id
}

// unrouted is the error for a request that no pattern matches.
func (c *control) unrouted(w http.ResponseWriter, r *http.Request) error {
	var allowed []string
	for _, method := range []string{"DELETE", "GET", "PATCH", "POST", "PUT"} {
		probe := r.Clone(r.Context())
		probe.Method = method
		if _, pattern := c.mux.Handler(probe); pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if allowed == nil {
		return notFound(r)
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	return refusal.NoMethod.With(r.Method)
}

func notFound(r *http.Request) error {
	return refusal.NoRoute.With(r.Method, r.URL.Path)
}

// paramProblem describes the error in a parameter, without Go types.
func paramProblem(err error) string {
	var format *openapi.InvalidParamFormatError
	if errors.As(err, &format) {
		return "parameter " + format.ParamName + " has the wrong form or is out of range"
	}
	return err.Error()
}
