package control

import (
	"cmp"
	"errors"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/control/events"
	"github.com/rundlet/rundlet/e2b/control/templates"
	"github.com/rundlet/rundlet/e2b/dataplane"
	"github.com/rundlet/rundlet/e2b/internal/exchange"
	"github.com/rundlet/rundlet/e2b/internal/idempotency"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/e2b/internal/uploads"
	"github.com/rundlet/rundlet/e2b/internal/wire"
)

// MetricsPath is the route of Config.Metrics.
const MetricsPath = "/metrics"

// notBuilt are operations of the protocol that this server does not have yet.
var notBuilt = map[string]string{
	"GET /templates/{id}/tags/{rest...}": "groups of tags",
	"GET /volumes":                       "volumes",
	"POST /volumes":                      "volumes",
	"GET /volumes/{id}":                  "volumes",
	"DELETE /volumes/{id}":               "volumes",
	"/volumecontent/":                    "volumes",
	"GET /secrets":                       "secrets",
	"POST /secrets":                      "secrets",
	"GET /secrets/{id}":                  "secrets",
	"POST /secrets/{id}":                 "secrets",
	"DELETE /secrets/{id}":               "secrets",
	"GET /teams":                         "teams",
}

// pushed are the operations of the first generation of builds, of images that clients push.
var pushed = []string{"POST /templates", "POST /templates/{id}", "POST /templates/{id}/builds/{build}"}

// Config is the configuration of a control plane. Its fields are those of e2b.Config.
type Config struct {
	Domain        string
	MaxTimeout    time.Duration
	RequireSecure bool
	Metrics       http.Handler
	// MaxUpload is the most bytes of the files of one COPY.
	MaxUpload int64
	// Base is the URL by which the client of a request reached the server, without a path.
	Base func(*http.Request) string
	Log  *slog.Logger
}

// Plane is the control plane, for requests that are authenticated: it reads what all of them
// have alike, and routes them to the operations of the API. It is safe for concurrent use.
type Plane struct {
	// Answers and Bodies bound the memory that it takes. Their budgets are set before use.
	Answers *idempotency.Answers
	Bodies  *exchange.Bodies
	// Uploads checks the links of uploads, which have no key.
	Uploads *uploads.Uploads
	// Events are the operations on events, whose streams are bounded.
	Events *events.Operations

	mux   *router
	reply exchange.Replier
}

// New returns the control plane of a runtime. proxy is the data plane beside it.
func New(cfg Config, runtime Runtime, proxy *dataplane.Proxy) *Plane {
	c := &Plane{
		Answers: idempotency.New(),
		Bodies:  exchange.NewBodies(),
		Uploads: uploads.New(),
		mux:     newRouter(),
		reply:   exchange.Replier{Log: cfg.Log},
	}
	c.Uploads.Max = cmp.Or(cfg.MaxUpload, uploads.DefaultMax)
	c.Events = events.New(runtime, c.reply)
	o := &operations{
		Events:     c.Events,
		Operations: templates.New(runtime, c.Uploads, cfg.Base, c.Answers, c.Bodies, c.reply),

		runtime:   runtime,
		metrics:   metricsOf(runtime),
		life:      lifecycle{runtime, proxy, cfg.Log},
		catalogue: templates.Catalogue{Runtime: runtime},
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
	for _, pattern := range pushed {
		c.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			c.reply.Fail(w, r, refusal.DockerPush.With(), "")
		})
	}
	if cfg.Metrics != nil {
		c.mux.HandleFunc("GET "+MetricsPath, cfg.Metrics.ServeHTTP)
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
	if !c.mux.matches(r) {
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
		if c.mux.matches(probe) {
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
