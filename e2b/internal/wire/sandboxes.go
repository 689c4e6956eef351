package wire

import (
	"math"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/sandbox"
)

// FollowUp is what a sandbox goes on from; nil for most.
func FollowUp(c *sandbox.Continuation) *openapi.FollowUp {
	if c == nil {
		return nil
	}
	return &openapi.FollowUp{SnapshotID: c.ID, Reason: openapi.ContinuationReason(c.Reason)}
}

// clientID is a required field of the protocol that means nothing any more. Old
// clients put it behind the sandbox id.
const clientID = "rundlet"

// Sandbox is the answer to what makes or resumes a sandbox. It has the token of the sandbox.
func Sandbox(sb sandbox.Sandbox, domain string) openapi.Sandbox {
	return openapi.Sandbox{
		TemplateID:         sb.TemplateID,
		SandboxID:          sb.ID,
		ClientID:           clientID,
		EnvdVersion:        sb.EnvdVersion,
		Alias:              sb.Alias,
		EnvdAccessToken:    sb.EnvdAccessToken,
		TrafficAccessToken: sb.TrafficAccessToken,
		Domain:             domain,
	}
}

// Detail is all that there is to know of a sandbox, with its token.
func Detail(sb sandbox.Sandbox, domain string) openapi.SandboxDetail {
	return openapi.SandboxDetail{
		TemplateID:          sb.TemplateID,
		SandboxID:           sb.ID,
		ClientID:            clientID,
		StartedAt:           sb.StartedAt.UTC(),
		EndAt:               sb.EndAt.UTC(),
		EnvdVersion:         sb.EnvdVersion,
		CpuCount:            int32(sb.VCPUs),
		MemoryMB:            int32(sb.MemoryMiB),
		DiskSizeMB:          int32(sb.DiskMiB),
		State:               state(sb.State),
		Alias:               sb.Alias,
		Metadata:            sb.Metadata,
		EnvdAccessToken:     sb.EnvdAccessToken,
		AllowInternetAccess: sb.AllowInternet,
		Network:             network(sb),
		Domain:              domain,
		Lifecycle:           &openapi.SandboxLifecycle{OnTimeout: OnTimeout(sb.OnTimeout), AutoResume: sb.AutoResume},
		FollowUp:            FollowUp(sb.FollowsUp),
	}
}

// network has what was asked for; nil if that is nothing.
func network(sb sandbox.Sandbox) *openapi.SandboxNetwork {
	if sb.Egress.Empty() && sb.Ingress.Empty() && sb.TrafficAccessToken == "" {
		return nil
	}
	n := &openapi.SandboxNetwork{AllowOut: sb.Egress.Allow, DenyOut: sb.Egress.Deny, Rules: rules(sb.Egress.Headers), EgressProxy: proxy(sb.Egress.Proxy)}
	if mask := sb.Ingress.MaskHost; mask != "" {
		n.MaskRequestHost = &mask
	}
	for _, port := range sb.Ingress.HTTPSPorts {
		n.HttpsPorts = append(n.HttpsPorts, int32(port))
	}
	if sb.TrafficAccessToken != "" {
		n.AllowPublicTraffic = new(bool)
	}
	return n
}

// rules are headers as E2B has them; nil if there are none.
func rules(headers map[string]map[string]string) *openapi.SandboxNetworkRules {
	if len(headers) == 0 {
		return nil
	}
	out := openapi.SandboxNetworkRules{}
	for host, set := range headers {
		out[host] = []openapi.SandboxNetworkRule{}
		if len(set) > 0 {
			out[host] = append(out[host], openapi.SandboxNetworkRule{Transform: &openapi.SandboxNetworkTransform{Headers: set}})
		}
	}
	return &out
}

// proxy is what is shown of a proxy: neither its password nor its authorities.
func proxy(p *sandbox.Proxy) *openapi.SandboxEgressProxy {
	if p == nil {
		return nil
	}
	out := &openapi.SandboxEgressProxy{Address: p.Address, Username: given(p.Username)}
	if p.TLS != nil {
		out.Tls = &openapi.SandboxEgressProxyTLS{Enabled: true, ServerName: given(p.TLS.ServerName)}
	}
	return out
}

// given is a text that may be left out.
func given(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// Refusals are what a sandbox was refused, in their order.
func Refusals(list []sandbox.Refusal) []openapi.SandboxRefusal {
	out := make([]openapi.SandboxRefusal, len(list))
	for i, r := range list {
		out[i] = openapi.SandboxRefusal{
			Protocol: r.Proto, Address: r.Address, Name: r.Name, Port: int32(r.Port), Count: int32(min(r.Count, math.MaxInt32)), FirstAt: r.First.UTC(), LastAt: r.Last.UTC(),
		}
	}
	return out
}

// Traffic is what a sandbox sent, received and reached.
func Traffic(t sandbox.Traffic) openapi.SandboxTraffic {
	count := func(n uint64) int64 { return int64(min(n, math.MaxInt64)) }
	hosts := make([]openapi.SandboxReachedHost, len(t.Hosts))
	for i, h := range t.Hosts {
		hosts[i] = openapi.SandboxReachedHost{
			Name: h.Name, Ports: make([]int32, len(h.Ports)), Queries: int32(min(h.Queries, math.MaxInt32)), Connections: int32(min(h.Connections, math.MaxInt32)),
			FirstAt: h.First.UTC(), LastAt: h.Last.UTC(),
		}
		for j, port := range h.Ports {
			hosts[i].Ports[j] = int32(port)
		}
	}
	return openapi.SandboxTraffic{
		Hosts: hosts, ForgottenHosts: count(t.ForgottenHosts),
		BytesOut: count(t.BytesOut), PacketsOut: count(t.PacketsOut), BytesIn: count(t.BytesIn), PacketsIn: count(t.PacketsIn), Connections: count(t.Connections),
		RefusedConnections: count(t.RefusedConnections), RefusedQueries: count(t.RefusedQueries), RefusedPackets: count(t.RefusedPackets),
	}
}

// Listed are sandboxes as lists show them, without their tokens.
func Listed(sandboxes []sandbox.Sandbox) []openapi.ListedSandbox {
	listed := make([]openapi.ListedSandbox, 0, len(sandboxes))
	for _, sb := range sandboxes {
		listed = append(listed, openapi.ListedSandbox{
			TemplateID:  sb.TemplateID,
			SandboxID:   sb.ID,
			ClientID:    clientID,
			StartedAt:   sb.StartedAt.UTC(),
			EndAt:       sb.EndAt.UTC(),
			EnvdVersion: sb.EnvdVersion,
			CpuCount:    int32(sb.VCPUs),
			MemoryMB:    int32(sb.MemoryMiB),
			DiskSizeMB:  int32(sb.DiskMiB),
			State:       state(sb.State),
			Alias:       sb.Alias,
			Metadata:    sb.Metadata,
		})
	}
	return listed
}

// OnTimeout maps to the two policies that clients know.
func OnTimeout(o sandbox.OnTimeout) openapi.SandboxLifecycleOnTimeout {
	if o == sandbox.OnTimeoutPause || o == sandbox.OnTimeoutPauseFilesystem {
		return openapi.Pause
	}
	return openapi.Kill
}

// state maps to the two states that clients know.
func state(s sandbox.State) openapi.SandboxState {
	if s.Shown() == sandbox.StatePaused {
		return openapi.Paused
	}
	return openapi.Running
}

// Metrics are measurements, in their order.
func Metrics(metrics []sandbox.Metric) []openapi.SandboxMetric {
	list := make([]openapi.SandboxMetric, 0, len(metrics))
	for _, m := range metrics {
		list = append(list, Metric(m))
	}
	return list
}

// Metric is one measurement.
func Metric(m sandbox.Metric) openapi.SandboxMetric {
	return openapi.SandboxMetric{
		Timestamp:     m.Time.UTC(),
		TimestampUnix: m.Time.Unix(),
		CpuUsedPct:    m.CPUUsedPct,
		CpuCount:      int32(m.CPUCount),
		MemUsed:       m.MemUsed,
		MemTotal:      m.MemTotal,
		MemCache:      m.MemCache,
		DiskUsed:      m.DiskUsed,
		DiskTotal:     m.DiskTotal,
	}
}
