package templates

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/exchange"
	"github.com/rundlet/rundlet/e2b/internal/idempotency"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/e2b/internal/wire"
	"github.com/rundlet/rundlet/sandbox"
)

// RequestTemplateBuild serves POST /v3/templates.
func (o *Operations) RequestTemplateBuild(w http.ResponseWriter, r *http.Request, p openapi.RequestTemplateBuildParams) {
	b, name, err := o.request(w, r, p.IdempotencyKey)
	o.answer(w, r, http.StatusAccepted, wire.RequestedBuild(b), err, name)
}

// RequestTemplateBuildV2 serves the generation before, whose answer is a template.
func (o *Operations) RequestTemplateBuildV2(w http.ResponseWriter, r *http.Request) {
	b, name, err := o.request(w, r, nil)
	o.answer(w, r, http.StatusAccepted, wire.TemplateOfBuild(b), err, name)
}

func (o *Operations) request(w http.ResponseWriter, r *http.Request, key *string) (b sandbox.Build, name string, err error) {
	var body openapi.TemplateBuildRequest
	if err := o.bodies.Decode(w, r, &body, false); err != nil {
		return b, "", err
	}
	keyID := exchange.KeyID(r.Context())
	req, err := wire.NewBuild(body, keyID)
	if err == nil {
		err = o.catalogue.notASnapshot(r.Context(), req.Name)
	}
	if err != nil {
		return b, req.Name, err
	}
	b, err = idempotency.Once(r.Context(), o.answers, keyID, key, "build", req, func() (sandbox.Build, error) {
		return o.runtime.BeginBuild(r.Context(), req)
	})
	return b, req.Name, err
}

// StartTemplateBuild serves POST /v2/templates/{templateID}/builds/{buildID}.
func (o *Operations) StartTemplateBuild(w http.ResponseWriter, r *http.Request, templateID, buildID string) {
	var body openapi.TemplateRecipe
	id, err := about(templateID, buildID)
	if err == nil {
		err = o.bodies.Decode(w, r, &body, false)
	}
	var recipe sandbox.Recipe
	if err == nil {
		recipe, err = wire.Recipe(body)
	}
	if err == nil {
		err = o.runtime.StartBuild(r.Context(), id, buildID, recipe)
		if errors.Is(err, sandbox.ErrConflict) {
			err = refusal.BuildStarted.With()
		}
	}
	o.empty(w, r, http.StatusAccepted, err, subject(err, templateID, buildID))
}

// about reads the ids of a template and a build.
func about(templateID, buildID string) (id string, err error) {
	id, err = wire.Template(templateID)
	if err == nil && !sandbox.ValidBuildID(buildID) {
		err = fmt.Errorf("read the id of a build: %w", sandbox.ErrBuildNotFound)
	}
	return id, err
}

// subject is which of the two an error is about.
func subject(err error, templateID, buildID string) string {
	if errors.Is(err, sandbox.ErrBuildNotFound) {
		return buildID
	}
	return templateID
}

// GetTemplateBuildStatus serves GET /templates/{templateID}/builds/{buildID}/status. Clients ask again from behind
// the lines that they received, until none come of a build that has ended.
func (o *Operations) GetTemplateBuildStatus(w http.ResponseWriter, r *http.Request, templateID, buildID string, p openapi.GetTemplateBuildStatusParams) {
	info, err := o.status(r.Context(), templateID, buildID, p)
	o.answer(w, r, http.StatusOK, info, err, subject(err, templateID, buildID))
}

func (o *Operations) status(ctx context.Context, templateID, buildID string, p openapi.GetTemplateBuildStatusParams) (info openapi.TemplateBuildInfo, err error) {
	query, err := wire.StatusLogs(p)
	if err != nil {
		return info, err
	}
	id, err := about(templateID, buildID)
	if err != nil {
		return info, err
	}
	// The state first: a build that has ended gets no more lines.
	b, err := o.runtime.GetBuild(ctx, id, buildID)
	if err != nil {
		return info, err
	}
	lines, err := o.lines(ctx, id, buildID, query)
	if err != nil {
		return info, err
	}
	var last []sandbox.BuildLog
	if b.Failure != nil && b.Failure.Step != "" {
		last, err = o.lastOfStep(ctx, id, buildID, b.Failure.Step)
	}
	return wire.BuildInfo(b, lines, last), err
}

// GetTemplateBuildLogs serves GET /templates/{templateID}/builds/{buildID}/logs.
func (o *Operations) GetTemplateBuildLogs(w http.ResponseWriter, r *http.Request, templateID, buildID string, p openapi.GetTemplateBuildLogsParams) {
	query, err := wire.BuildLogs(p)
	id := ""
	if err == nil {
		id, err = about(templateID, buildID)
	}
	var lines []sandbox.BuildLog
	if err == nil {
		lines, err = o.lines(r.Context(), id, buildID, query)
	}
	o.answer(w, r, http.StatusOK, openapi.TemplateBuildLogs{Logs: wire.LogEntries(lines)}, err, subject(err, templateID, buildID))
}

const (
	// logPage is how many lines are read of the runtime at a time: all, since each time a log is read from its beginning.
	logPage = 1 << 15
	// lastLines is how many lines of the step that failed are in the reason.
	lastLines = 20
)

// lines are those that a client wants to see.
func (o *Operations) lines(ctx context.Context, templateID, buildID string, q wire.LogQuery) (found []sandbox.BuildLog, err error) {
	if q.All() && !q.Backward {
		return o.runtime.BuildLogs(ctx, templateID, buildID, q.Skip, q.Limit)
	}
	err = o.each(ctx, templateID, buildID, func(l sandbox.BuildLog) bool {
		if !q.Matches(l) {
			return true
		}
		if q.Skip > 0 {
			q.Skip--
			return true
		}
		found = append(found, l)
		if q.Backward && len(found) > q.Limit {
			found = slices.Delete(found, 0, 1)
		}
		return q.Backward || len(found) < q.Limit
	})
	found = found[:min(len(found), q.Limit)]
	if q.Backward {
		slices.Reverse(found)
	}
	return found, err
}

// lastOfStep are the last lines of a step, the oldest first.
func (o *Operations) lastOfStep(ctx context.Context, templateID, buildID, step string) (last []sandbox.BuildLog, err error) {
	err = o.each(ctx, templateID, buildID, func(l sandbox.BuildLog) bool {
		if l.Step == step {
			last = append(last, l)
		}
		if len(last) > lastLines {
			last = slices.Delete(last, 0, 1)
		}
		return true
	})
	return last, err
}

// each calls yield with the lines of a build's log, the oldest first, until it returns false.
func (o *Operations) each(ctx context.Context, templateID, buildID string, yield func(sandbox.BuildLog) bool) error {
	for from := 0; ; from += logPage {
		page, err := o.runtime.BuildLogs(ctx, templateID, buildID, from, logPage)
		if err != nil {
			return err
		}
		for _, l := range page {
			if !yield(l) {
				return nil
			}
		}
		if len(page) < logPage {
			return nil
		}
	}
}
