package wire

import (
	"cmp"
	"strings"
	"time"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
)

// Snapshots are as lists show them.
func Snapshots(snapshots []sandbox.Snapshot) []openapi.Snapshot {
	list := make([]openapi.Snapshot, 0, len(snapshots))
	for _, s := range snapshots {
		list = append(list, Snapshot(s))
	}
	return list
}

// Snapshot has its name, or else its id, with a tag.
func Snapshot(s sandbox.Snapshot) openapi.Snapshot {
	// Lists must be lists: null breaks clients.
	id, names := s.ID, []string{}
	if s.Name != "" {
		id, names = s.Name, append(names, WithoutTag(s.Name))
	}
	if !strings.Contains(id, ":") {
		id += ":" + defaultTag
	}
	return openapi.Snapshot{SnapshotID: id, Names: names}
}

// Templates are as lists show them.
func Templates(templates []sandbox.Template) []openapi.Template {
	list := make([]openapi.Template, 0, len(templates))
	for _, t := range templates {
		list = append(list, oneTemplate(t))
	}
	return list
}

func oneTemplate(t sandbox.Template) openapi.Template {
	// Lists must be lists: null breaks clients.
	aliases := append([]string{}, t.Aliases...)
	return openapi.Template{
		TemplateID:  t.ID,
		BuildID:     t.BuildID,
		CpuCount:    int32(t.VCPUs),
		MemoryMB:    int32(t.MemoryMiB),
		DiskSizeMB:  int32(t.DiskMiB),
		Aliases:     aliases,
		Names:       aliases,
		CreatedAt:   t.CreatedAt.UTC(),
		UpdatedAt:   later(t.CreatedAt, t.UpdatedAt).UTC(),
		BuildCount:  int32(max(t.BuildCount, 1)),
		EnvdVersion: envd.Version,
		BuildStatus: openapi.TemplateBuildStatus(cmp.Or(t.BuildState, sandbox.BuildReady)),
		Public:      t.Public,

		SpawnCount:    t.SpawnCount,
		LastSpawnedAt: spawnedAt(t),
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// spawnedAt is null for a template that nothing was created from.
func spawnedAt(t sandbox.Template) *time.Time {
	if t.LastSpawnedAt.IsZero() {
		return nil
	}
	at := t.LastSpawnedAt.UTC()
	return &at
}
