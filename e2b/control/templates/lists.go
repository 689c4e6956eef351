package templates

import (
	"cmp"
	"context"
	"net/http"
	"slices"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/exchange"
	"github.com/rundlet/rundlet/e2b/internal/wire"
	"github.com/rundlet/rundlet/sandbox"
)

// ListAllTemplates serves the first generation of the template list.
func (o *Operations) ListAllTemplates(w http.ResponseWriter, r *http.Request) {
	templates, err := o.catalogue.templates(r.Context())
	o.reply.Answer(w, r, wire.Templates(templates), err, "")
}

// ListTemplates serves GET /v2/templates.
func (o *Operations) ListTemplates(w http.ResponseWriter, r *http.Request, p openapi.ListTemplatesParams) {
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
		w.Header().Set(exchange.HeaderNextToken, wire.FormatCursor(sandbox.Cursor{StartedAt: last.CreatedAt, ID: last.ID}, false))
	}
	exchange.JSON(w, http.StatusOK, wire.Templates(page))
}

// GetTemplate serves GET /templates/{templateID}: the template and a page of its builds.
func (o *Operations) GetTemplate(w http.ResponseWriter, r *http.Request, name string, p openapi.GetTemplateParams) {
	t, err := o.catalogue.template(r.Context(), name)
	var builds []sandbox.Build
	var next string
	if err == nil {
		builds, next, err = o.builds(r.Context(), t, p)
	}
	if next != "" {
		w.Header().Set(exchange.HeaderNextToken, next)
	}
	o.answer(w, r, http.StatusOK, wire.TemplateWithBuilds(t, builds), err, name)
}

// builds are a page of those of a template, and the token of the next one.
func (o *Operations) builds(ctx context.Context, t sandbox.Template, p openapi.GetTemplateParams) (page []sandbox.Build, next string, err error) {
	limit, err := wire.ParseLimit(p.Limit)
	if err != nil {
		return nil, "", err
	}
	after, err := wire.ParseCursor(p.NextToken, false)
	if err != nil {
		return nil, "", err
	}
	if page, err = o.runtime.TemplateBuilds(ctx, t.ID); err != nil {
		return nil, "", err
	}
	if len(page) == 0 { // It was made of the host, without a recipe.
		page = []sandbox.Build{{
			ID: t.BuildID, TemplateID: t.ID, State: cmp.Or(t.BuildState, sandbox.BuildReady), VCPUs: t.VCPUs, MemoryMiB: t.MemoryMiB, DiskMiB: t.DiskMiB,
			CreatedAt: t.CreatedAt, FinishedAt: cmp.Or(t.UpdatedAt, t.CreatedAt),
		}}
	}
	newest := func(a, b sandbox.Build) int { return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID)) }
	page = slices.SortedFunc(slices.Values(page), newest)
	if after != nil {
		at := sandbox.Build{CreatedAt: after.StartedAt, ID: after.ID}
		page = slices.DeleteFunc(page, func(b sandbox.Build) bool { return newest(b, at) <= 0 })
	}
	if len(page) > limit {
		page = page[:limit]
		last := page[limit-1]
		next = wire.FormatCursor(sandbox.Cursor{StartedAt: last.CreatedAt, ID: last.ID}, false)
	}
	return page, next, nil
}

// GetTemplateAlias serves GET /templates/aliases/{alias}.
func (o *Operations) GetTemplateAlias(w http.ResponseWriter, r *http.Request, alias string) {
	t, err := o.catalogue.template(r.Context(), alias)
	o.answer(w, r, http.StatusOK, openapi.TemplateAlias{TemplateID: t.ID, Public: t.Public}, err, alias)
}

// DeleteTemplate serves DELETE /templates/{templateID}, which is also how snapshots
// are deleted.
func (o *Operations) DeleteTemplate(w http.ResponseWriter, r *http.Request, name string) {
	o.done(w, r, o.catalogue.delete(r.Context(), name), name)
}

// UpdateTemplate serves the first generation of PATCH, whose answer is empty.
func (o *Operations) UpdateTemplate(w http.ResponseWriter, r *http.Request, name string) {
	_, err := o.update(w, r, name)
	o.empty(w, r, http.StatusOK, err, name)
}

// UpdateTemplateV2 serves PATCH /v2/templates/{templateID}.
func (o *Operations) UpdateTemplateV2(w http.ResponseWriter, r *http.Request, name string) {
	t, err := o.update(w, r, name)
	o.answer(w, r, http.StatusOK, openapi.UpdatedTemplate{Names: append([]string{}, t.Aliases...)}, err, name)
}

func (o *Operations) update(w http.ResponseWriter, r *http.Request, name string) (sandbox.Template, error) {
	var body openapi.TemplateUpdate
	if err := o.bodies.Decode(w, r, &body, false); err != nil {
		return sandbox.Template{}, err
	}
	t, err := o.catalogue.template(r.Context(), name)
	if err == nil && body.Public != nil {
		err = o.runtime.SetPublic(r.Context(), t.ID, *body.Public)
	}
	return t, err
}
