package sandbox

import "time"

// Sandbox is a copy of a sandbox's record. The caller owns it.
type Sandbox struct {
	// ID is "i" and 20 characters of [a-z0-9].
	ID string
	// TemplateID is the id of the template; Alias the name it was asked by.
	TemplateID string
	Alias      string
	State      State
	// Reason says why a killed sandbox was killed: "killed by request",
	// "timeout", "oom", "exited: 1", "lost: host rebooted", ...
	Reason   string
	Metadata map[string]string
	// StartedAt begins the current run (it moves on resume).
	StartedAt time.Time
	// EndAt is when the timeout takes effect.
	EndAt time.Time
	// KilledAt is zero unless killed.
	KilledAt  time.Time
	VCPUs     int
	MemoryMiB int
	DiskMiB   int
	// EnvdVersion is the agent's protocol version.
	EnvdVersion string
	// EnvdAccessToken guards the agent; empty for a sandbox created without
	// secure.
	EnvdAccessToken string
	// TrafficAccessToken guards the other ports; empty: public.
	TrafficAccessToken string
	// AllowInternet is nil if the request did not say (allowed).
	AllowInternet *bool
	Egress        Egress
	Ingress       Ingress
	// KeyID is the API key that created it.
	KeyID string
	// OnTimeout is the action at EndAt.
	OnTimeout OnTimeout
	// AutoResume: traffic to a paused sandbox resumes it.
	AutoResume bool
	// FilesystemOnly: the sandbox is paused without its memory. It boots afresh
	// when it is resumed, and traffic does not resume it.
	FilesystemOnly bool
	// Freshness is the gate of its checkout of a repository.
	Freshness Freshness
	// FollowsUp is the continuation that the sandbox was started from, or nil.
	FollowsUp *Continuation
}

// Egress are the rules of a sandbox for what it may reach, as they were given: addresses, CIDR blocks, host names and
// bundles of host names. What is allowed wins over what is denied. The slices and maps are shared, and must not be changed.
type Egress struct {
	Allow []string `json:"allow,omitempty"`
	Deny  []string `json:"deny,omitempty"`
	// Headers are set in the requests to hosts: by host name, or "*." and a name for all below it, then by header. Their
	// values are secrets. They permit nothing.
	Headers map[string]map[string]string `json:"headers,omitempty"`
	// Proxy is where connections go through, if it is given.
	Proxy *Proxy `json:"proxy,omitempty"`
}

// Proxy is a SOCKS5 proxy, as it was given.
type Proxy struct {
	Address  string `json:"address"` // HOST:PORT.
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"` // A secret.
	// TLS is whether, and how, the connection to the proxy is encrypted.
	TLS *ProxyTLS `json:"tls,omitempty"`
}

// ProxyTLS is what a proxy's certificate is checked by: the name, or the host of the address if it is empty, and authorities as
// PEM, or those of the node if they are empty.
type ProxyTLS struct {
	ServerName string `json:"server_name,omitempty"`
	CACert     string `json:"ca_cert,omitempty"`
}

// Empty reports whether there are no rules.
func (e Egress) Empty() bool { return len(e.Allow)+len(e.Deny)+len(e.Headers) == 0 && e.Proxy == nil }

// WithoutValues is the same rules without the values of headers and the password of the proxy, which are secrets, and
// without the proxy's authorities, which are long.
func (e Egress) WithoutValues() Egress {
	if e.Proxy != nil {
		proxy := *e.Proxy
		proxy.Password = ""
		if proxy.TLS != nil {
			proxy.TLS = &ProxyTLS{ServerName: proxy.TLS.ServerName}
		}
		e.Proxy = &proxy
	}
	headers := e.Headers
	e.Headers = nil
	for host, set := range headers {
		if e.Headers == nil {
			e.Headers = map[string]map[string]string{}
		}
		e.Headers[host] = map[string]string{}
		for name := range set {
			e.Headers[host][name] = ""
		}
	}
	return e
}

// Refusal is a destination that a sandbox was refused.
type Refusal struct {
	// Proto is "tcp", "udp", "icmp", the number of the protocol, or "dns" for a name that was asked for.
	Proto string
	// Address is that of the destination, or "", and Port its port; 0 if there is none.
	Address string
	Port    uint16
	// Name is the host that was asked for, where that is known. A guest chose it; it is printable.
	Name string
	// Count is the least number of packets: not all are seen.
	Count       int
	First, Last time.Time
}

// Traffic is what a sandbox sent, received, reached and was refused, since it was created or resumed last. What is
// counted by name or refused begins again when the daemon is started.
type Traffic struct {
	// BytesOut and PacketsOut left the sandbox, and BytesIn and PacketsIn came to it, headers included: to and from
	// the internet, and the clients of the sandbox. A packet may have many segments of TCP.
	BytesOut, PacketsOut, BytesIn, PacketsIn uint64
	// Connections were opened by the names of their hosts. RefusedConnections were refused by name, RefusedQueries are those
	// for names, and RefusedPackets all others, as far as the kernel reported them.
	Connections, RefusedConnections, RefusedQueries, RefusedPackets uint64
	// Hosts are those that were reached by name, in the order of their names, and ForgottenHosts is how many gave way to others.
	Hosts          []ReachedHost
	ForgottenHosts uint64
}

// ReachedHost is one that a sandbox reached by its name. A guest chose the name, of lower case letters, digits, "-", "_" and ".".
type ReachedHost struct {
	Name string
	// Ports are those of connections that were opened by the name, in ascending order. Only 80 and 443 are seen.
	Ports []uint16
	// Queries counts those for the name that had an answer, and Connections those that were opened by it.
	Queries, Connections int
	First, Last          time.Time
}

// Ingress says how requests reach the programs on the ports of a sandbox, except its agent. The slice is shared, and
// must not be changed.
type Ingress struct {
	// MaskHost is the Host that programs see, with "${PORT}" for the port; empty is that of the client.
	MaskHost string `json:"mask_host,omitempty"`
	// HTTPSPorts are the ports whose programs speak HTTPS.
	HTTPSPorts []uint16 `json:"https_ports,omitempty"`
}

// Empty reports whether it is as without an Ingress.
func (i Ingress) Empty() bool { return i.MaskHost == "" && len(i.HTTPSPorts) == 0 }

// OnTimeout is the action on a sandbox when its timeout ends.
type OnTimeout string

// What a timeout does. The empty value is OnTimeoutKill.
const (
	OnTimeoutKill            OnTimeout = "kill"
	OnTimeoutPause           OnTimeout = "pause"
	OnTimeoutPauseFilesystem OnTimeout = "pause_filesystem"
)
