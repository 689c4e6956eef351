package templates

import (
	"net/http"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
)

// ListWarmTemplates serves GET /warm.
func (o *Operations) ListWarmTemplates(w http.ResponseWriter, r *http.Request) {
	all, err := o.runtime.WarmTemplates(r.Context())
	list := []openapi.WarmTemplate{}
	for _, t := range all {
		list = append(list, openapi.WarmTemplate{Name: t.Name, Ready: t.Ready, Now: t.Now, Set: t.Set, Missing: t.Missing})
	}
	o.answer(w, r, http.StatusOK, list, err, "")
}

// KeepTemplateWarm serves PUT /warm/{name}.
func (o *Operations) KeepTemplateWarm(w http.ResponseWriter, r *http.Request, name string) {
	var body openapi.WarmTarget
	err := o.bodies.Decode(w, r, &body, false)
	if err == nil && body.Ready == nil {
		err = refusal.Invalidf("ready is missing: how many sandboxes of the template to keep")
	}
	if err == nil {
		err = o.runtime.KeepWarm(r.Context(), name, body.Ready)
	}
	o.done(w, r, err, name)
}

// ResetWarmTemplate serves DELETE /warm/{name}.
func (o *Operations) ResetWarmTemplate(w http.ResponseWriter, r *http.Request, name string) {
	o.done(w, r, o.runtime.KeepWarm(r.Context(), name, nil), name)
}
