package e2b

import (
	"net/http"
	"slices"
	"time"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
)

// ListAllTemplates serves the first generation of the template list.
func (o *operations) ListAllTemplates(w http.ResponseWriter, r *http.Request) {
	templates, err := o.catalogue.templates(r.Context())
	o.reply.answer(w, r, wireTemplates(templates), err, "")
}

// ListTemplates serves GET /v2/templates.
func (o *operations) ListTemplates(w http.ResponseWriter, r *http.Request, p openapi.ListTemplatesParams) {
	limit, err := parseLimit(p.Limit)
	if err != nil {
		o.reply.fail(w, r, err, "")
		return
	}
	after, err := parseCursor(p.NextToken, false)
	if err != nil {
		o.reply.fail(w, r, err, "")
		return
	}
	page, err := o.catalogue.templates(r.Context())
	if err != nil {
		o.reply.fail(w, r, err, "")
		return
	}
	if after != nil {
		at := sandbox.Template{CreatedAt: after.StartedAt, ID: after.ID}
		page = slices.DeleteFunc(page, func(t sandbox.Template) bool { return newestFirst(t, at) <= 0 })
	}
	if len(page) > limit {
		page = page[:limit]
		last := page[limit-1]
		w.Header().Set(headerNextToken, formatCursor(sandbox.Cursor{StartedAt: last.CreatedAt, ID: last.ID}, false))
	}
	writeJSON(w, http.StatusOK, wireTemplates(page))
}

// GetTemplate serves GET /templates/{templateID}.
func (o *operations) GetTemplate(w http.ResponseWriter, r *http.Request, name string) {
	t, err := o.catalogue.template(r.Context(), name)
	o.reply.answer(w, r, wireTemplateWithBuilds(t), err, name)
}

// GetTemplateAlias serves GET /templates/aliases/{alias}.
func (o *operations) GetTemplateAlias(w http.ResponseWriter, r *http.Request, alias string) {
	t, err := o.catalogue.template(r.Context(), alias)
	o.reply.answer(w, r, openapi.TemplateAlias{TemplateID: t.ID}, err, alias)
}

func wireTemplates(templates []sandbox.Template) []openapi.Template {
	wire := make([]openapi.Template, 0, len(templates))
	for _, t := range templates {
		wire = append(wire, wireTemplate(t))
	}
	return wire
}

func wireTemplate(t sandbox.Template) openapi.Template {
	// Lists must be lists: null breaks clients.
	aliases := append([]string{}, t.Aliases...)
	return openapi.Template{
		TemplateID:  t.ID,
		BuildID:     t.BuildID,
		CpuCount:    int32(t.VCPUs),
		MemoryMB:    int32(t.MemoryMiB),
		DiskSizeMB:  int32(t.DiskMiB),
		Aliases:     aliases,
		Names:       aliases,
		CreatedAt:   t.CreatedAt.UTC(),
		UpdatedAt:   t.CreatedAt.UTC(),
		BuildCount:  1,
		EnvdVersion: envd.Version,
		BuildStatus: openapi.TemplateBuildStatusReady,

		SpawnCount:    t.SpawnCount,
		LastSpawnedAt: spawnedAt(t),
	}
}

// spawnedAt is null for a template that nothing was created from.
func spawnedAt(t sandbox.Template) *time.Time {
	if t.LastSpawnedAt.IsZero() {
		return nil
	}
	at := t.LastSpawnedAt.UTC()
	return &at
}

func wireTemplateWithBuilds(t sandbox.Template) openapi.TemplateWithBuilds {
	w := wireTemplate(t)
	return openapi.TemplateWithBuilds{
		TemplateID:  w.TemplateID,
		BuildID:     w.BuildID,
		CpuCount:    w.CpuCount,
		MemoryMB:    w.MemoryMB,
		DiskSizeMB:  w.DiskSizeMB,
		Aliases:     w.Aliases,
		Names:       w.Names,
		CreatedAt:   w.CreatedAt,
		UpdatedAt:   w.UpdatedAt,
		BuildCount:  w.BuildCount,
		EnvdVersion: w.EnvdVersion,
		BuildStatus: w.BuildStatus,

		SpawnCount:    w.SpawnCount,
		LastSpawnedAt: w.LastSpawnedAt,
		Builds: []openapi.TemplateBuild{{
			BuildID:     w.BuildID,
			Status:      w.BuildStatus,
			CreatedAt:   w.CreatedAt,
			UpdatedAt:   w.UpdatedAt,
			FinishedAt:  &w.UpdatedAt,
			CpuCount:    w.CpuCount,
			MemoryMB:    w.MemoryMB,
			DiskSizeMB:  &w.DiskSizeMB,
			EnvdVersion: &w.EnvdVersion,
		}},
	}
}
