package e2b

import (
	"context"
	"errors"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/dataplane"
	"github.com/rundlet/rundlet/e2b/internal/conns"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
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

// routes is the control plane behind authentication.
func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	openapi.HandlerWithOptions(s, openapi.StdHTTPServerOptions{
		BaseRouter: mux,
		ErrorHandlerFunc: func(w http.ResponseWriter, r *http.Request, err error) {
			s.fail(w, r, badRequest("%s", paramProblem(err)), "")
		},
	})
	for pattern, feature := range notBuilt {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			s.fail(w, r, unsupported(feature), "")
		})
	}
	if s.cfg.Metrics != nil {
		mux.Handle("GET "+metricsPath, s.cfg.Metrics)
	}
	return mux
}

type keyIDKey struct{}

// keyID is the API key that made the request.
func keyID(ctx context.Context) string {
	id, _ := ctx.Value(keyIDKey{}).(string)
	return id
}

// serveControl checks the key and serves the control plane.
func (s *Server) serveControl(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		// Also for a handler that never reads it: net/http does, before it
		// answers.
		setReadDeadline(w, time.Now().Add(bodyTime))
	}
	if !isPublic(r) {
		key, err := s.authenticate(r)
		if err != nil {
			s.fail(w, r, err, "")
			return
		}
		s.conns.Raise(r.Context(), conns.Keyed)
		r = r.WithContext(context.WithValue(r.Context(), keyIDKey{}, key.ID))
	}
	// The mux would redirect to the clean path; no client means such a path.
	if p := r.URL.EscapedPath(); path.Clean(p) != p {
		s.fail(w, r, notFound(r), "")
		return
	}
	if err := readQuery(r); err != nil {
		s.fail(w, r, err, "")
		return
	}
	if _, pattern := s.control.Handler(r); pattern == "" {
		s.fail(w, r, s.unrouted(w, r), "")
		return
	}
	s.control.ServeHTTP(w, r)
}

func (s *Server) authenticate(r *http.Request) (Key, error) {
	text := apiKey(r)
	if text == "" {
		return Key{}, refusal.KeyMissing.With()
	}
	key, err := s.verify(r.Context(), text)
	if errors.Is(err, ErrBadKey) {
		// Only after the check: others behind the same address may have a key.
		if wait, ok := s.peers.rate.Take(s.peers.of(r), 1, time.Now()); !ok {
			return Key{}, tooMuch(wait)
		}
		return Key{}, refusal.KeyInvalid.With()
	}
	return key, err
}

// verify returns the key of this text, or ErrBadKey.
func (s *Server) verify(ctx context.Context, text string) (Key, error) {
	if len(text) > maxKeyLength {
		return Key{}, ErrBadKey
	}
	return s.keys.Verify(ctx, text)
}

// tooMuch refuses a request that a client without a key sent too often.
func tooMuch(wait time.Duration) error {
	return refusal.TooMuchWithoutKey.With(&dataplane.LimitError{}).After(wait)
}

// unrouted is the error for a request that no pattern matches.
func (s *Server) unrouted(w http.ResponseWriter, r *http.Request) error {
	var allowed []string
	for _, method := range []string{"DELETE", "GET", "PATCH", "POST", "PUT"} {
		probe := r.Clone(r.Context())
		probe.Method = method
		if _, pattern := s.control.Handler(probe); pattern != "" {
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
