package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/sandbox"
)

// Freshness says whether the checkout of a repository in a sandbox is up to date.
type Freshness struct {
	Phase sandbox.FreshnessPhase `json:"phase"`
	// Reason is why the sync failed; empty in the other phases.
	Reason   string `json:"reason,omitempty"`
	Branch   string `json:"branch,omitempty"`
	Target   string `json:"target,omitempty"`
	Checkout string `json:"checkout,omitempty"`
}

// Freshness returns the state of a sandbox's checkout: ready if it has none that must be up to date.
func (a API) Freshness(ctx context.Context, id string) (Freshness, error) {
	var f Freshness
	_, err := a.call(ctx, http.MethodGet, sandboxPath(id)+"/freshness", nil, &f)
	return f, err
}

// The actions of ChangeFreshness.
const (
	SyncAgain    = "sync"     // begins a sync again that has failed
	SyncComplete = "complete" // lets clients write to the checkout as it is
	SyncFail     = "fail"     // keeps it read-only, for a reason
)

// ChangeFreshness changes the state of a sandbox's checkout by one of the actions. The reason is that of SyncFail.
func (a API) ChangeFreshness(ctx context.Context, id, action, reason string) error {
	_, err := a.call(ctx, http.MethodPost, sandboxPath(id)+"/freshness/"+url.PathEscape(action), openapi.SandboxFreshnessChange{Reason: reason}, nil)
	return err
}
