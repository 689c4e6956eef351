package e2b

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/sandbox"
)

const (
	headerNextToken    = "X-Next-Token"
	headerTotalRunning = "X-Total-Running"
	maxLimit           = 100
)

// ListRunningSandboxes serves the first generation of list: all that run.
func (o *operations) ListRunningSandboxes(w http.ResponseWriter, r *http.Request, p openapi.ListRunningSandboxesParams) {
	metadata, err := parseMetadata(p.Metadata)
	var sandboxes []sandbox.Sandbox
	if err == nil {
		sandboxes, err = o.adapter.List(r.Context(), sandbox.ListFilter{
			States: []sandbox.State{sandbox.StateRunning}, Metadata: metadata,
		})
	}
	o.reply.answer(w, r, wireListed(sandboxes), err, "")
}

// ListSandboxes serves GET /v2/sandboxes.
func (o *operations) ListSandboxes(w http.ResponseWriter, r *http.Request, p openapi.ListSandboxesParams) {
	f, err := listFilter(p)
	if err != nil {
		o.reply.fail(w, r, err, "")
		return
	}
	limit := f.Limit
	// One more shows whether there is a next page.
	f.Limit++
	sandboxes, err := o.adapter.List(r.Context(), f)
	if err != nil {
		o.reply.fail(w, r, err, "")
		return
	}
	// The count is of all pages, if the filter selects running ones.
	if len(f.States) == 0 || slices.Contains(f.States, sandbox.StateRunning) {
		total, err := o.adapter.CountRunning(r.Context(), f)
		if err != nil {
			o.reply.fail(w, r, err, "")
			return
		}
		w.Header().Set(headerTotalRunning, strconv.Itoa(total))
	}
	if len(sandboxes) > limit {
		sandboxes = sandboxes[:limit]
		last := sandboxes[limit-1]
		w.Header().Set(headerNextToken, formatCursor(sandbox.Cursor{StartedAt: last.StartedAt, ID: last.ID}, f.Ascending))
	}
	writeJSON(w, http.StatusOK, wireListed(sandboxes))
}

func listFilter(p openapi.ListSandboxesParams) (sandbox.ListFilter, error) {
	var f sandbox.ListFilter
	var err error
	if f.Metadata, err = parseMetadata(p.Metadata); err != nil {
		return f, err
	}
	if p.State != nil {
		for _, st := range *p.State {
			if !st.Valid() {
				return f, badRequest("state must be running or paused, got %q", string(st))
			}
			f.States = append(f.States, sandbox.State(st))
		}
	}
	if p.Order != nil {
		if !p.Order.Valid() {
			return f, badRequest("order must be asc or desc, got %q", string(*p.Order))
		}
		f.Ascending = *p.Order == openapi.Asc
	}
	if p.StartedAfter != nil {
		f.StartedAfter = *p.StartedAfter
	}
	if p.Template != nil {
		if strings.Contains(*p.Template, ":") {
			return f, badRequest("the template filter must not have a tag")
		}
		f.Template = *p.Template
	}
	if f.Limit, err = parseLimit(p.Limit); err != nil {
		return f, err
	}
	f.After, err = parseCursor(p.NextToken, f.Ascending)
	return f, err
}

func parseLimit(limit *int32) (int, error) {
	if limit == nil {
		return maxLimit, nil
	}
	if *limit < 1 || *limit > maxLimit {
		return 0, badRequest("limit must be from 1 to %d, got %d", maxLimit, *limit)
	}
	return int(*limit), nil
}

// parseMetadata reads a query string whose keys and values are URL-encoded once
// more, as SDKs send it.
func parseMetadata(raw *string) (map[string]string, error) {
	if raw == nil || *raw == "" {
		return nil, nil
	}
	query, err := url.ParseQuery(*raw)
	if err != nil {
		return nil, badRequest("metadata is not a query string")
	}
	metadata := make(map[string]string, len(query))
	for k, v := range query {
		key, keyErr := url.PathUnescape(k)
		value, valueErr := url.PathUnescape(v[0])
		if keyErr != nil || valueErr != nil || len(v) > 1 {
			return nil, badRequest("metadata pair %q is not valid", k)
		}
		metadata[key] = value
	}
	return metadata, nil
}
