package wire

import (
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
		UpdatedAt:   t.CreatedAt.UTC(),
		BuildCount:  1,
		EnvdVersion: envd.Version,
		BuildStatus: openapi.TemplateBuildStatusReady,

		SpawnCount:    t.SpawnCount,
		LastSpawnedAt: spawnedAt(t),
	}
}

// spawnedAt is null for a template that nothing was created from.
func spawnedAt(t sandbox.Template) *time.Time {
	if t.LastSpawnedAt.IsZero() {
		return nil
	}
	at := t.LastSpawnedAt.UTC()
	return &at
}

// TemplateWithBuilds has the build that made it.
func TemplateWithBuilds(t sandbox.Template) openapi.TemplateWithBuilds {
	w := oneTemplate(t)
	return openapi.TemplateWithBuilds{
		TemplateID:  w.TemplateID,
		BuildID:     w.BuildID,
		CpuCount:    w.CpuCount,
		MemoryMB:    w.MemoryMB,
		DiskSizeMB:  w.DiskSizeMB,
		Aliases:     w.Aliases,
		Names:       w.Names,
		CreatedAt:   w.CreatedAt,
		UpdatedAt:   w.UpdatedAt,
		BuildCount:  w.BuildCount,
		EnvdVersion: w.EnvdVersion,
		BuildStatus: w.BuildStatus,

		SpawnCount:    w.SpawnCount,
		LastSpawnedAt: w.LastSpawnedAt,
		Builds: []openapi.TemplateBuild{{
			BuildID:     w.BuildID,
			Status:      w.BuildStatus,
			CreatedAt:   w.CreatedAt,
			UpdatedAt:   w.UpdatedAt,
			FinishedAt:  &w.UpdatedAt,
			CpuCount:    w.CpuCount,
			MemoryMB:    w.MemoryMB,
			DiskSizeMB:  &w.DiskSizeMB,
			EnvdVersion: &w.EnvdVersion,
		}},
	}
}
