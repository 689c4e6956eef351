package client

import (
	"context"
	"maps"
	"net/http"
	"time"

	"github.com/rundlet/rundlet/api/gen/openapi"
)

// Network is what a sandbox may reach. The zero value is everything but private addresses, which none reaches.
type Network struct {
	// Internet false denies everything that Allow does not have; nil is true.
	Internet *bool
	// Allow and Deny have addresses and CIDR blocks. What is allowed wins. If everything else is denied, Allow also has host
	// names, "*." and a name for all names below it, "*" for all, and bundles of names such as "bundle:pypi".
	// All but bundles may end with a port of TCP and UDP, as in "0.0.0.0/0:25" or "[2a00::1]:443".
	Allow, Deny []string
	// Headers are set in the requests to hosts on ports 80 and 443: by host name, or "*." and a name for all names below it,
	// then by header. The sandbox does not see the values. They permit nothing.
	Headers map[string]map[string]string
	// Proxy is where the sandbox's TCP goes through; nil is nowhere.
	Proxy *Proxy
}

// Proxy is a SOCKS5 proxy.
type Proxy struct {
	// Address is HOST:PORT. The host is a name, or an address that is not private.
	Address string
	// Username and Password may be empty. The server does not return the password.
	Username, Password string
	// TLS is whether the connection to the proxy is encrypted. ServerName is what its certificate must be for, and CACert what it is
	// checked by, as PEM; if they are empty, the host of Address and the authorities of the server. CACert is not returned.
	TLS                bool
	ServerName, CACert string
}

// body is the proxy as the API has it.
func (p *Proxy) body() *openapi.SandboxEgressProxy {
	if p == nil {
		return nil
	}
	out := &openapi.SandboxEgressProxy{Address: p.Address, Username: &p.Username, Password: &p.Password}
	if p.TLS {
		out.Tls = &openapi.SandboxEgressProxyTLS{Enabled: true, ServerName: &p.ServerName, CaCert: &p.CACert}
	}
	return out
}

// proxyOf is a proxy as Network has it.
func proxyOf(p *openapi.SandboxEgressProxy) *Proxy {
	if p == nil {
		return nil
	}
	out := &Proxy{Address: p.Address}
	if p.Username != nil {
		out.Username = *p.Username
	}
	if p.Tls != nil && p.Tls.Enabled {
		out.TLS = true
		if p.Tls.ServerName != nil {
			out.ServerName = *p.Tls.ServerName
		}
	}
	return out
}

// rules are headers as the API has them.
func rules(headers map[string]map[string]string) *openapi.SandboxNetworkRules {
	if len(headers) == 0 {
		return nil
	}
	out := openapi.SandboxNetworkRules{}
	for host, set := range headers {
		out[host] = []openapi.SandboxNetworkRule{{Transform: &openapi.SandboxNetworkTransform{Headers: set}}}
	}
	return &out
}

// headers are rules as Network has them.
func headers(rules *openapi.SandboxNetworkRules) map[string]map[string]string {
	if rules == nil || len(*rules) == 0 {
		return nil
	}
	out := map[string]map[string]string{}
	for host, list := range *rules {
		out[host] = map[string]string{}
		for _, rule := range list {
			if rule.Transform != nil {
				maps.Copy(out[host], rule.Transform.Headers)
			}
		}
	}
	return out
}

// Network returns the rules of a sandbox.
func (a API) Network(ctx context.Context, id string) (Network, error) {
	var detail openapi.SandboxDetail
	if _, err := a.call(ctx, http.MethodGet, sandboxPath(id), nil, &detail); err != nil {
		return Network{}, err
	}
	n := Network{Internet: detail.AllowInternetAccess}
	if detail.Network != nil {
		n.Allow, n.Deny, n.Headers = detail.Network.AllowOut, detail.Network.DenyOut, headers(detail.Network.Rules)
		n.Proxy = proxyOf(detail.Network.EgressProxy)
	}
	return n, nil
}

// SetNetwork replaces the rules of a running sandbox. They are in force when it returns: connections that they do
// not allow are cut, and the others go on.
func (a API) SetNetwork(ctx context.Context, id string, n Network) error {
	body := openapi.SandboxNetworkUpdate{AllowInternetAccess: n.Internet, AllowOut: n.Allow, DenyOut: n.Deny, Rules: rules(n.Headers), EgressProxy: n.Proxy.body()}
	_, err := a.call(ctx, http.MethodPut, sandboxPath(id)+"/network", body, nil)
	return err
}

// Refusal is a destination that a sandbox was refused.
type Refusal struct {
	// Protocol is "tcp", "udp", "icmp", a number, or "dns" for a name that was asked for.
	Protocol string `json:"protocol"`
	// Address is empty for "dns".
	Address string `json:"address"`
	// Name is the host that was asked for, where that is known.
	Name string `json:"name,omitempty"`
	// Port is 0 if the protocol has none.
	Port int `json:"port"`
	// Count is the least number of packets: not all are seen.
	Count   int       `json:"count"`
	FirstAt time.Time `json:"firstAt"`
	LastAt  time.Time `json:"lastAt"`
}

// Refused returns what a sandbox was refused, the latest first. It is forgotten when the sandbox is paused, and when the
// daemon ends.
func (a API) Refused(ctx context.Context, id string) ([]Refusal, error) {
	var list []Refusal
	_, err := a.call(ctx, http.MethodGet, sandboxPath(id)+"/network/refused", nil, &list)
	return list, err
}

// Traffic is what a sandbox sent, received, reached and was refused, since it was created or resumed last.
type Traffic struct {
	// BytesOut and PacketsOut left the sandbox, and BytesIn and PacketsIn came to it, headers included: to and from the internet,
	// and the clients of the sandbox. A packet may have many segments of TCP.
	BytesOut   uint64 `json:"bytesOut"`
	PacketsOut uint64 `json:"packetsOut"`
	BytesIn    uint64 `json:"bytesIn"`
	PacketsIn  uint64 `json:"packetsIn"`
	// Connections were opened by the names of their hosts, and RefusedConnections refused by name. RefusedQueries are those for
	// names, and RefusedPackets all others, as far as the kernel reported them. They begin again when the daemon is started.
	Connections        uint64 `json:"connections"`
	RefusedConnections uint64 `json:"refusedConnections"`
	RefusedQueries     uint64 `json:"refusedQueries"`
	RefusedPackets     uint64 `json:"refusedPackets"`
	// Hosts are those that were reached by name, in the order of their names: at most 256, since the sandbox was created or
	// resumed, or the daemon was started. ForgottenHosts is how many gave way to others.
	Hosts          []ReachedHost `json:"hosts"`
	ForgottenHosts uint64        `json:"forgottenHosts"`
}

// ReachedHost is one that a sandbox reached by its name, which the sandbox chose.
type ReachedHost struct {
	Name string `json:"name"`
	// Ports are those of connections that were opened by the name. Only 80 and 443 are seen.
	Ports []int `json:"ports"`
	// Queries counts those for the name that had an answer, and Connections those that were opened by it.
	Queries     int       `json:"queries"`
	Connections int       `json:"connections"`
	FirstAt     time.Time `json:"firstAt"`
	LastAt      time.Time `json:"lastAt"`
}

// Traffic returns the counters of a sandbox, and the hosts that it reached by name; nothing if it does not run.
func (a API) Traffic(ctx context.Context, id string) (Traffic, error) {
	var t Traffic
	_, err := a.call(ctx, http.MethodGet, sandboxPath(id)+"/network/traffic", nil, &t)
	return t, err
}
