package control

import (
	"net/http"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/networks"
	"github.com/rundlet/rundlet/e2b/internal/wire"
	"github.com/rundlet/rundlet/sandbox"
)

// SetSandboxNetwork serves PUT /sandboxes/{sandboxID}/network. What the body does not name is cleared.
func (o *operations) SetSandboxNetwork(w http.ResponseWriter, r *http.Request, id string) {
	var body openapi.SandboxNetworkUpdate
	sandboxID, err := o.about(w, r, id, &body, false)
	var rules sandbox.Egress
	if err == nil {
		rules, err = networks.OfUpdate(&body)
	}
	if err == nil {
		err = o.runtime.SetEgress(r.Context(), sandboxID, body.AllowInternetAccess, rules)
	}
	o.reply.Done(w, r, err, id)
}

// GetSandboxTraffic serves GET /sandboxes/{sandboxID}/network/traffic.
func (o *operations) GetSandboxTraffic(w http.ResponseWriter, r *http.Request, id string) {
	sandboxID, err := wire.ParseID(id)
	var traffic sandbox.Traffic
	if err == nil {
		traffic, err = o.runtime.Traffic(r.Context(), sandboxID)
	}
	o.reply.Answer(w, r, wire.Traffic(traffic), err, id)
}

// ListSandboxRefusals serves GET /sandboxes/{sandboxID}/network/refused.
func (o *operations) ListSandboxRefusals(w http.ResponseWriter, r *http.Request, id string) {
	sandboxID, err := wire.ParseID(id)
	var list []sandbox.Refusal
	if err == nil {
		list, err = o.runtime.Refused(r.Context(), sandboxID)
	}
	o.reply.Answer(w, r, wire.Refusals(list), err, id)
}
