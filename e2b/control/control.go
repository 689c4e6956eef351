package control

import (
	"errors"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/dataplane"
	"github.com/rundlet/rundlet/e2b/internal/exchange"
	"github.com/rundlet/rundlet/e2b/internal/idempotency"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/e2b/internal/wire"
)

// MetricsPath is the route of Config.Metrics.
const MetricsPath = "/metrics"

// notBuilt are operations of the protocol that this server does not have yet.
var notBuilt = map[string]string{
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

// Config is the configuration of a control plane. Its fields are those of e2b.Config.
type Config struct {
	Domain        string
	MaxTimeout    time.Duration
	RequireSecure bool
	Metrics       http.Handler
	Log           *slog.Logger
}

// Plane is the control plane, for requests that are authenticated: it reads what all of them
// have alike, and routes them to the operations of the API. It is safe for concurrent use.
type Plane struct {
	// Answers and Bodies bound the memory that it takes. Their budgets are set before use.
	Answers *idempotency.Answers
	Bodies  *exchange.Bodies

	mux   *http.ServeMux
	reply exchange.Replier
}

// New returns the control plane of a runtime. proxy is the data plane beside it.
func New(cfg Config, runtime Runtime, proxy *dataplane.Proxy) *Plane {
	c := &Plane{
		Answers: idempotency.New(),
		Bodies:  exchange.NewBodies(),
		mux:     http.NewServeMux(),
		reply:   exchange.Replier{Log: cfg.Log},
	}
	o := &operations{
		runtime:   runtime,
		metrics:   metricsOf(runtime),
		life:      lifecycle{runtime, proxy, cfg.Log},
		catalogue: catalogue{runtime},
		answers:   c.Answers,
		bodies:    c.Bodies,
		rules:     rules{cfg.MaxTimeout, cfg.RequireSecure},
		show:      presenter{cfg.Domain, proxy},
		reply:     c.reply,
		log:       cfg.Log,
	}
	openapi.HandlerWithOptions(o, openapi.StdHTTPServerOptions{
		BaseRouter: c.mux,
		ErrorHandlerFunc: func(w http.ResponseWriter, r *http.Request, err error) {
			c.reply.Fail(w, r, refusal.Invalidf("%s", paramProblem(err)), "")
		},
	})
	for pattern, feature := range notBuilt {
		c.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			c.reply.Fail(w, r, refusal.Unsupported.With(feature), "")
		})
	}
	if cfg.Metrics != nil {
		c.mux.Handle("GET "+MetricsPath, cfg.Metrics)
	}
	return c
}

// Fail answers a request that gets no further than the server, with an error.
func (c *Plane) Fail(w http.ResponseWriter, r *http.Request, err error) {
	c.reply.Fail(w, r, err, "")
}

// ServeHTTP serves a request whose context is one of exchange.WithKey, if its route needs a key.
func (c *Plane) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The mux would redirect to the clean path; no client means such a path.
	if p := r.URL.EscapedPath(); path.Clean(p) != p {
		c.reply.Fail(w, r, notFound(r), "")
		return
	}
	if err := wire.ReadQuery(r); err != nil {
		c.reply.Fail(w, r, err, "")
		return
	}
	if _, pattern := c.mux.Handler(r); pattern == "" {
		c.reply.Fail(w, r, c.unrouted(w, r), "")
		return
	}
	c.mux.ServeHTTP(w, r)
}

// unrouted is the error for a request that no pattern matches.
func (c *Plane) unrouted(w http.ResponseWriter, r *http.Request) error {
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
