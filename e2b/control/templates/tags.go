package templates

import (
	"errors"
	"net/http"
	"strings"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/wire"
	"github.com/rundlet/rundlet/sandbox"
)

// AssignTemplateTags serves POST /templates/tags.
func (o *Operations) AssignTemplateTags(w http.ResponseWriter, r *http.Request) {
	var body openapi.NewTemplateTags
	err := o.bodies.Decode(w, r, &body, false)
	var target string
	if err == nil {
		target, err = wire.Template(body.Target)
	}
	var answer openapi.AssignedTemplateTags
	if err == nil {
		answer.Tags, err = wire.ParseTags(body.Tags)
	}
	if err == nil {
		var b sandbox.Build
		b, err = o.runtime.Tag(r.Context(), target, answer.Tags)
		answer.BuildID = b.ID
	}
	o.answer(w, r, http.StatusCreated, answer, err, body.Target)
}

// DeleteTemplateTags serves DELETE /templates/tags.
func (o *Operations) DeleteTemplateTags(w http.ResponseWriter, r *http.Request) {
	var body openapi.OldTemplateTags
	err := o.bodies.Decode(w, r, &body, false)
	var name string
	if err == nil {
		name, _, err = wire.ParseTemplate(body.Name)
	}
	var tags []string
	if err == nil {
		tags, err = wire.RemovedTags(body.Tags)
	}
	if err == nil {
		err = o.runtime.Untag(r.Context(), name, tags)
	}
	about := body.Name
	if errors.Is(err, sandbox.ErrTagNotFound) {
		about = strings.Join(tags, ", ")
	}
	o.done(w, r, err, about)
}

// ListTemplateTags serves GET /templates/{templateID}/tags.
func (o *Operations) ListTemplateTags(w http.ResponseWriter, r *http.Request, name string) {
	id, err := wire.Template(name)
	var tags []sandbox.TemplateTag
	if err == nil {
		tags, err = o.runtime.Tags(r.Context(), id)
	}
	o.answer(w, r, http.StatusOK, wire.TemplateTags(tags), err, name)
}
