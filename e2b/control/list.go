package control

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/exchange"
	"github.com/rundlet/rundlet/e2b/internal/wire"
	"github.com/rundlet/rundlet/sandbox"
)

const headerTotalRunning = "X-Total-Running"

// ListRunningSandboxes serves the first generation of list: all that run.
func (o *operations) ListRunningSandboxes(w http.ResponseWriter, r *http.Request, p openapi.ListRunningSandboxesParams) {
	metadata, err := wire.ParseMetadata(p.Metadata)
	var sandboxes []sandbox.Sandbox
	if err == nil {
		sandboxes, err = o.runtime.List(r.Context(), sandbox.ListFilter{
			States: []sandbox.State{sandbox.StateRunning}, Metadata: metadata,
		})
	}
	o.reply.Answer(w, r, wire.Listed(sandboxes), err, "")
}

// ListSandboxes serves GET /v2/sandboxes.
func (o *operations) ListSandboxes(w http.ResponseWriter, r *http.Request, p openapi.ListSandboxesParams) {
	f, err := wire.ListFilter(p)
	if err != nil {
		o.reply.Fail(w, r, err, "")
		return
	}
	limit := f.Limit
	// One more shows whether there is a next page.
	f.Limit++
	sandboxes, err := o.runtime.List(r.Context(), f)
	if err != nil {
		o.reply.Fail(w, r, err, "")
		return
	}
	// The count is of all pages, if the filter selects running ones.
	if len(f.States) == 0 || slices.Contains(f.States, sandbox.StateRunning) {
		total, err := o.runtime.CountRunning(r.Context(), f)
		if err != nil {
			o.reply.Fail(w, r, err, "")
			return
		}
		w.Header().Set(headerTotalRunning, strconv.Itoa(total))
	}
	if len(sandboxes) > limit {
		sandboxes = sandboxes[:limit]
		last := sandboxes[limit-1]
		w.Header().Set(exchange.HeaderNextToken, wire.FormatCursor(sandbox.Cursor{StartedAt: last.StartedAt, ID: last.ID}, f.Ascending))
	}
	exchange.JSON(w, http.StatusOK, wire.Listed(sandboxes))
}
