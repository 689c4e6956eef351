package control

import (
	"net/http"
	"slices"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/exchange"
	"github.com/rundlet/rundlet/e2b/internal/wire"
	"github.com/rundlet/rundlet/sandbox"
)

// ListAllTemplates serves the first generation of the template list.
func (o *operations) ListAllTemplates(w http.ResponseWriter, r *http.Request) {
	templates, err := o.catalogue.templates(r.Context())
	o.reply.Answer(w, r, wire.Templates(templates), err, "")
}

// ListTemplates serves GET /v2/templates.
func (o *operations) ListTemplates(w http.ResponseWriter, r *http.Request, p openapi.ListTemplatesParams) {
	limit, err := wire.ParseLimit(p.Limit)
	if err != nil {
		o.reply.Fail(w, r, err, "")
		return
	}
	after, err := wire.ParseCursor(p.NextToken, false)
	if err != nil {
		o.reply.Fail(w, r, err, "")
		return
	}
	page, err := o.catalogue.templates(r.Context())
	if err != nil {
		o.reply.Fail(w, r, err, "")
		return
	}
	if after != nil {
		at := sandbox.Template{CreatedAt: after.StartedAt, ID: after.ID}
		page = slices.DeleteFunc(page, func(t sandbox.Template) bool { return newestFirst(t, at) <= 0 })
	}
	if len(page) > limit {
		page = page[:limit]
		last := page[limit-1]
		w.Header().Set(headerNextToken, wire.FormatCursor(sandbox.Cursor{StartedAt: last.CreatedAt, ID: last.ID}, false))
	}
	exchange.JSON(w, http.StatusOK, wire.Templates(page))
}

// GetTemplate serves GET /templates/{templateID}.
func (o *operations) GetTemplate(w http.ResponseWriter, r *http.Request, name string) {
	t, err := o.catalogue.template(r.Context(), name)
	o.reply.Answer(w, r, wire.TemplateWithBuilds(t), err, name)
}

// GetTemplateAlias serves GET /templates/aliases/{alias}.
func (o *operations) GetTemplateAlias(w http.ResponseWriter, r *http.Request, alias string) {
	t, err := o.catalogue.template(r.Context(), alias)
	o.reply.Answer(w, r, openapi.TemplateAlias{TemplateID: t.ID}, err, alias)
}
