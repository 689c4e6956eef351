// Package networks reads what a request says of the network of a sandbox. It knows what the API accepts, and not
// which addresses, names and headers there are: the runtime checks those.
package networks

import (
	"math"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
)

// Of reads the network of a new sandbox. An option that is not known is refused, unless it asks for nothing.
func Of(n *openapi.SandboxNetwork) (out sandbox.Egress, in sandbox.Ingress, err error) {
	if err = refuseUnknown("network.", n.AdditionalProperties); err != nil {
		return out, in, err
	}
	if out, err = egressOf(n.AllowOut, n.DenyOut, n.Rules, n.EgressProxy); err != nil {
		return out, in, err
	}
	in, err = ingressOf(n)
	return out, in, err
}

// OfUpdate reads that of a running one.
func OfUpdate(n *openapi.SandboxNetworkUpdate) (sandbox.Egress, error) {
	if n.AdditionalProperties["allowPublicTraffic"] != nil { // Also false asks for something.
		return sandbox.Egress{}, refusal.Unsupported.With("allowPublicTraffic of a running sandbox")
	}
	if err := refuseUnknown("network.", n.AdditionalProperties); err != nil {
		return sandbox.Egress{}, err
	}
	return egressOf(n.AllowOut, n.DenyOut, n.Rules, n.EgressProxy)
}

// egressOf reads what a sandbox may reach. The runtime checks what is in it.
func egressOf(allow, deny []string, rules *openapi.SandboxNetworkRules, through *openapi.SandboxEgressProxy) (sandbox.Egress, error) {
	headers, err := headersOf(rules)
	if err != nil {
		return sandbox.Egress{}, err
	}
	proxy, err := proxyOf(through)
	return sandbox.Egress{Allow: allow, Deny: deny, Headers: headers, Proxy: proxy}, err
}

// proxyOf reads the proxy of a sandbox; nil if there is none. No error has the password.
func proxyOf(p *openapi.SandboxEgressProxy) (*sandbox.Proxy, error) {
	if p == nil {
		return nil, nil
	}
	out := &sandbox.Proxy{Address: p.Address, Username: textOf(p.Username), Password: textOf(p.Password)}
	err := refuseUnknown("network.egressProxy.", p.AdditionalProperties)
	if t := p.Tls; t != nil && err == nil {
		err = refuseUnknown("network.egressProxy.tls.", t.AdditionalProperties)
		switch {
		case t.Enabled:
			out.TLS = &sandbox.ProxyTLS{ServerName: textOf(t.ServerName), CACert: textOf(t.CaCert)}
		case textOf(t.ServerName) != "" || textOf(t.CaCert) != "":
			err = refusal.Invalidf("network.egressProxy.tls is not enabled, and has other fields")
		}
	}
	return out, err
}

// headersOf reads the rules of hosts, whose names are in lower case afterwards. No error has a value: it may be a secret.
func headersOf(rules *openapi.SandboxNetworkRules) (map[string]map[string]string, error) {
	if rules == nil || len(*rules) == 0 {
		return nil, nil
	}
	out := map[string]map[string]string{}
	for entry, list := range *rules {
		host := strings.ToLower(entry)
		if _, twice := out[host]; twice {
			return nil, refusal.Invalidf("network.rules has %.80q twice", host)
		}
		if len(list) > 1 {
			return nil, refusal.Invalidf("network.rules: %.80q has %d rules, and at most one is accepted", host, len(list))
		}
		out[host] = map[string]string{}
		for _, rule := range list {
			if err := refuseUnknown("network.rules.", rule.AdditionalProperties); err != nil {
				return nil, err
			}
			if rule.Transform == nil {
				continue
			}
			if err := refuseUnknown("network.rules.transform.", rule.Transform.AdditionalProperties); err != nil {
				return nil, err
			}
			if rule.Transform.Headers != nil {
				out[host] = rule.Transform.Headers
			}
		}
	}
	return out, nil
}

func textOf(s *string) string {
	if s == nil {
		return ""
	}
	return *s
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

// refuseUnknown refuses options that this server does not have, unless they ask for nothing. They are below where.
func refuseUnknown(where string, options map[string]any) error {
	for name, value := range options {
		if !isEmpty(value) {
			return refusal.Unsupported.With(where + name)
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
