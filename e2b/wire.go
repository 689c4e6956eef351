package e2b

import (
	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/runtime"
)

// clientID is a required field of the protocol that means nothing any more. Old
// clients put it behind the sandbox id.
const clientID = "rundlet"

func (s *Server) wireSandbox(sb runtime.Sandbox) openapi.Sandbox {
	return openapi.Sandbox{
		TemplateID:         sb.TemplateID,
		SandboxID:          sb.ID,
		ClientID:           clientID,
		EnvdVersion:        sb.EnvdVersion,
		Alias:              sb.Alias,
		EnvdAccessToken:    sb.EnvdAccessToken,
		TrafficAccessToken: sb.TrafficAccessToken,
		Domain:             s.cfg.Domain,
	}
}

func (s *Server) wireDetail(sb runtime.Sandbox) openapi.SandboxDetail {
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
		Domain:              s.cfg.Domain,
		Lifecycle:           &openapi.SandboxLifecycle{OnTimeout: openapi.Kill},
	}
}

func wireListed(sandboxes []runtime.Sandbox) []openapi.ListedSandbox {
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

// wireState maps to the two states that clients know.
func wireState(s runtime.State) openapi.SandboxState {
	if s == runtime.StatePaused || s == runtime.StatePausing {
		return openapi.Paused
	}
	return openapi.Running
}

func wireMetric(m runtime.Metric) openapi.SandboxMetric {
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
