package control

import (
	"net/http"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/sandbox"
)

// SetSandboxNetwork serves PUT /sandboxes/{sandboxID}/network. What the body does not name is cleared.
func (o *operations) SetSandboxNetwork(w http.ResponseWriter, r *http.Request, id string) {
	var body openapi.SandboxNetworkUpdate
	sandboxID, err := o.bodies.about(w, r, id, &body, false)
	if err == nil {
		err = refuseUnknown(body.AdditionalProperties)
	}
	if err == nil {
		err = o.runtime.SetEgress(r.Context(), sandboxID, body.AllowInternetAccess, sandbox.Egress{Allow: body.AllowOut, Deny: body.DenyOut})
	}
	o.reply.done(w, r, err, id)
}

// refuseUnknown refuses options of a network that this server does not have, unless they
// ask for nothing.
func refuseUnknown(options map[string]any) error {
	for name, value := range options {
		if !isEmpty(value) {
			return refusal.Unsupported.With("network." + name)
		}
	}
	return nil
}

// isEmpty reports a JSON value that asks for nothing.
func isEmpty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case bool:
		return !v
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}
