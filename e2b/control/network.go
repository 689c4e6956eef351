package control

import (
	"math"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/e2b/internal/wire"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
)

// SetSandboxNetwork serves PUT /sandboxes/{sandboxID}/network. What the body does not name is cleared.
func (o *operations) SetSandboxNetwork(w http.ResponseWriter, r *http.Request, id string) {
	var body openapi.SandboxNetworkUpdate
	sandboxID, err := o.bodies.about(w, r, id, &body, false)
	if body.AdditionalProperties["allowPublicTraffic"] != nil && err == nil { // Also false asks for something.
		err = refusal.Unsupported.With("allowPublicTraffic of a running sandbox")
	}
	if err == nil {
		err = refuseUnknown(body.AdditionalProperties)
	}
	if err == nil {
		err = o.runtime.SetEgress(r.Context(), sandboxID, body.AllowInternetAccess, sandbox.Egress{Allow: body.AllowOut, Deny: body.DenyOut})
	}
	o.reply.done(w, r, err, id)
}

// ListSandboxRefusals serves GET /sandboxes/{sandboxID}/network/refused.
func (o *operations) ListSandboxRefusals(w http.ResponseWriter, r *http.Request, id string) {
	sandboxID, err := wire.ParseID(id)
	var list []sandbox.Refusal
	if err == nil {
		list, err = o.runtime.Refused(r.Context(), sandboxID)
	}
	o.reply.answer(w, r, wire.Refusals(list), err, id)
}

const (
	// maxMask is the longest mask of a Host, and maxHTTPSPorts the most ports that speak HTTPS.
	maxMask       = 255
	maxHTTPSPorts = 128
)

// ingressOf reads how requests are to reach programs.
func ingressOf(n *openapi.SandboxNetwork) (in sandbox.Ingress, err error) {
	if n.MaskRequestHost != nil {
		in.MaskHost = *n.MaskRequestHost
	}
	if len(in.MaskHost) > maxMask || in.MaskHost != "" && !isHost(strings.ReplaceAll(in.MaskHost, "${PORT}", "65535")) {
		return in, refusal.Invalidf("network.maskRequestHost %.80q is not a host name, with or without a port", in.MaskHost)
	}
	if len(n.HttpsPorts) > maxHTTPSPorts {
		return in, refusal.Invalidf("network.httpsPorts has %d ports, and at most %d are accepted", len(n.HttpsPorts), maxHTTPSPorts)
	}
	for _, port := range n.HttpsPorts {
		if port < 1 || port > math.MaxUint16 || port == envd.Port {
			return in, refusal.Invalidf("network.httpsPorts: %d is not a port of a program", port)
		}
		in.HTTPSPorts = append(in.HTTPSPorts, uint16(port))
	}
	return in, nil
}

// isHost reports what can be a Host: a name or an address, and perhaps a port.
func isHost(s string) bool {
	u, err := url.Parse("http://" + s)
	return err == nil && u.Host == s && u.User == nil && u.Hostname() != "" && httpguts.ValidHostHeader(s)
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
