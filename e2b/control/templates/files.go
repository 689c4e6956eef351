package templates

import (
	"net/http"
	"time"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/exchange"
	"github.com/rundlet/rundlet/e2b/internal/wire"
)

// GetTemplateFiles serves GET /templates/{templateID}/files/{hash}. The link is also for files that are there:
// SDKs have an option to send them again.
func (o *Operations) GetTemplateFiles(w http.ResponseWriter, r *http.Request, templateID, hash string) {
	id, err := files(templateID, hash)
	var answer openapi.TemplateFiles
	if err == nil {
		answer.Present, err = o.runtime.HasFiles(r.Context(), id, hash)
		answer.Url = o.uploads.URL(o.base(r), id, hash, exchange.KeyID(r.Context()), time.Now())
	}
	o.answer(w, r, http.StatusCreated, answer, err, templateID)
}

// files reads what is in the path of files.
func files(templateID, hash string) (id string, err error) {
	if id, err = wire.Template(templateID); err == nil {
		err = wire.CheckHash(hash)
	}
	return id, err
}

// PutTemplateFiles serves PUT /templates/{templateID}/files/{hash}, of a request whose signature was checked. The archive
// goes through to the runtime, which keeps all of it or nothing.
func (o *Operations) PutTemplateFiles(w http.ResponseWriter, r *http.Request, templateID, hash string) {
	if err := o.put(w, r, templateID, hash); err != nil {
		o.fail(w, r, err, templateID)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (o *Operations) put(w http.ResponseWriter, r *http.Request, templateID, hash string) error {
	id, err := files(templateID, hash)
	if err != nil {
		exchange.BoundBody(w, r)
		return err
	}
	body, end, err := o.uploads.Begin(w, r)
	if err != nil {
		exchange.BoundBody(w, r)
		return err
	}
	defer end()
	err = o.runtime.PutFiles(r.Context(), id, hash, body)
	if broken := body.Err(); broken != nil {
		return broken
	}
	if err != nil {
		exchange.BoundBody(w, r)
		return err
	}
	return body.Finish()
}
