package control

import (
	"cmp"
	"net/http"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/e2b/internal/wire"
	"github.com/rundlet/rundlet/sandbox"
)

// GetSandboxFreshness serves GET /sandboxes/{sandboxID}/freshness.
func (o *operations) GetSandboxFreshness(w http.ResponseWriter, r *http.Request, id string) {
	sandboxID, err := wire.ParseID(id)
	var sb sandbox.Sandbox
	if err == nil {
		sb, err = o.runtime.Get(r.Context(), sandboxID)
	}
	f := sb.Freshness
	o.reply.Answer(w, r, openapi.SandboxFreshness{
		Phase: string(cmp.Or(f.Phase, sandbox.FreshnessReady)), Reason: f.Reason, Branch: f.Branch, Target: f.Target, Checkout: f.Checkout,
	}, err, id)
}

// ChangeSandboxFreshness serves POST /sandboxes/{sandboxID}/freshness/{action}.
func (o *operations) ChangeSandboxFreshness(w http.ResponseWriter, r *http.Request, id, action string) {
	var body openapi.SandboxFreshnessChange
	sandboxID, err := o.about(w, r, id, &body, true)
	if err == nil {
		switch action {
		case "sync":
			err = o.runtime.BeginSync(r.Context(), sandboxID)
		case "complete":
			err = o.runtime.CompleteSync(r.Context(), sandboxID)
		case "fail":
			err = o.runtime.FailSync(r.Context(), sandboxID, cmp.Or(body.Reason, "a client said so"))
		default:
			err = refusal.Invalidf("the action must be sync, complete or fail; got %.40q", action)
		}
	}
	o.reply.Done(w, r, err, id)
}
