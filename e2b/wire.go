package e2b

import (
	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/dataplane"
	"github.com/rundlet/rundlet/sandbox"
)

// clientID is a required field of the protocol that means nothing any more. Old
// clients put it behind the sandbox id.
const clientID = "rundlet"

// presenter shows sandboxes to clients that may use them: with their tokens, by which
// they may sign URLs from then on, so the proxy is notified.
type presenter struct {
	domain string // Config.Domain
	proxy  *dataplane.Proxy
}

// sandbox is the answer to what creates or resumes one.
func (p presenter) sandbox(sb sandbox.Sandbox) openapi.Sandbox {
	p.proxy.Signer(sb.ID, sb.EnvdAccessToken)
	return wireSandbox(sb, p.domain)
}

// detail is all that there is to know of one.
func (p presenter) detail(sb sandbox.Sandbox) openapi.SandboxDetail {
	p.proxy.Signer(sb.ID, sb.EnvdAccessToken)
	return wireDetail(sb, p.domain)
}

// wireSandbox has the token of the sandbox.
func wireSandbox(sb sandbox.Sandbox, domain string) openapi.Sandbox {
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

// wireDetail has the token, too.
func wireDetail(sb sandbox.Sandbox, domain string) openapi.SandboxDetail {
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
		State:               wireState(sb.State),
		Alias:               sb.Alias,
		Metadata:            sb.Metadata,
		EnvdAccessToken:     sb.EnvdAccessToken,
		AllowInternetAccess: sb.AllowInternet,
		Domain:              domain,
		Lifecycle:           &openapi.SandboxLifecycle{OnTimeout: wireOnTimeout(sb.OnTimeout), AutoResume: sb.AutoResume},
		FollowUp:            wireFollowUp(sb.FollowsUp),
	}
}

func wireListed(sandboxes []sandbox.Sandbox) []openapi.ListedSandbox {
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
			State:       wireState(sb.State),
			Alias:       sb.Alias,
			Metadata:    sb.Metadata,
		})
	}
	return listed
}

// wireOnTimeout maps to the two policies that clients know.
func wireOnTimeout(o sandbox.OnTimeout) openapi.SandboxLifecycleOnTimeout {
	if o == sandbox.OnTimeoutPause || o == sandbox.OnTimeoutPauseFilesystem {
		return openapi.Pause
	}
	return openapi.Kill
}

// wireState maps to the two states that clients know.
func wireState(s sandbox.State) openapi.SandboxState {
	if s.Shown() == sandbox.StatePaused {
		return openapi.Paused
	}
	return openapi.Running
}

func wireMetric(m sandbox.Metric) openapi.SandboxMetric {
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
