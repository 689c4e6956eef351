package templates

import (
	"errors"
	"net/http"

	"github.com/rundlet/rundlet/e2b/internal/exchange"
	"github.com/rundlet/rundlet/e2b/internal/idempotency"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/e2b/internal/uploads"
	"github.com/rundlet/rundlet/sandbox"
)

// Operations are those of api/openapi.yaml on templates. They are safe for concurrent use.
type Operations struct {
	runtime   Runtime
	catalogue Catalogue
	uploads   *uploads.Uploads
	base      func(*http.Request) string
	answers   *idempotency.Answers
	bodies    *exchange.Bodies
	reply     exchange.Replier
}

// New returns the operations of a runtime. base is the URL by which the client of a request reached the server, without a path.
func New(runtime Runtime, up *uploads.Uploads, base func(*http.Request) string, answers *idempotency.Answers, bodies *exchange.Bodies, reply exchange.Replier) *Operations {
	return &Operations{runtime, Catalogue{runtime}, up, base, answers, bodies, reply}
}

// fail answers with an error. subject is the name of the template, build or tag that it is about.
func (o *Operations) fail(w http.ResponseWriter, r *http.Request, err error, subject string) {
	var refused *refusal.Error
	if !errors.As(err, &refused) && errors.Is(err, sandbox.ErrConflict) {
		err = refusal.TemplateConflict.With(subject)
	}
	o.reply.Fail(w, r, err, subject)
}

// answer writes v with a status, or the error.
func (o *Operations) answer(w http.ResponseWriter, r *http.Request, status int, v any, err error, subject string) {
	if err != nil {
		o.fail(w, r, err, subject)
		return
	}
	exchange.JSON(w, status, v)
}

// empty answers with a status and without a body, or with the error. Clients take a body without a length for one with JSON.
func (o *Operations) empty(w http.ResponseWriter, r *http.Request, status int, err error, subject string) {
	if err != nil {
		o.fail(w, r, err, subject)
		return
	}
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(status)
}

// done answers 204, or the error.
func (o *Operations) done(w http.ResponseWriter, r *http.Request, err error, subject string) {
	if err != nil {
		o.fail(w, r, err, subject)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
