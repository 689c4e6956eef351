package runtime

import (
	"encoding/json"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// view is the row as others see it.
func view(r *parts, row store.Sandbox) sandbox.Sandbox {
	sb := sandbox.Sandbox{
		ID: row.ID, TemplateID: row.TemplateID, Alias: row.Alias, State: row.State, Reason: row.Reason,
		Metadata: row.Metadata, StartedAt: row.StartedAt, EndAt: row.EndAt, KilledAt: row.KilledAt,
		VCPUs: row.VCPUs, MemoryMiB: row.MemoryMiB, DiskMiB: row.DiskMiB,
		EnvdVersion: envd.Version, AllowInternet: row.AllowInternet, Egress: row.Egress, Ingress: row.Ingress, KeyID: row.KeyID,
		OnTimeout: sandbox.OnTimeout(row.OnTimeout), AutoResume: row.AutoResume,
		Freshness:      row.Freshness,
		FilesystemOnly: row.SnapshotID != "" && row.FilesystemOnly,
	}
	if row.FollowsUp != "" {
		var c sandbox.Continuation
		if json.Unmarshal([]byte(row.FollowsUp), &c) == nil {
			sb.FollowsUp = &c
		}
	}
	if row.Secure {
		sb.EnvdAccessToken = r.tokens.Envd(row.ID)
	}
	if row.PrivatePorts {
		sb.TrafficAccessToken = r.tokens.Traffic(row.ID)
	}
	return sb
}
