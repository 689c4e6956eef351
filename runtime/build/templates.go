package build

import (
	"context"
	"errors"
	"strings"

	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store/builds"
)

// Templates returns the templates, the base also before its first use.
func (b *Builder) Templates(ctx context.Context) ([]sandbox.Template, error) {
	all, err := b.cfg.Base.List(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := b.cfg.Store.Builds.Templates(ctx)
	if err != nil {
		return nil, fault.Classify(err)
	}
	for _, t := range rows {
		v, err := b.view(ctx, t)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, b.count(ctx, all)
}

// Template finds a template by id or name, with or without a tag that it has.
func (b *Builder) Template(ctx context.Context, name string) (sandbox.Template, error) {
	t, err := b.cfg.Base.Get(ctx, name)
	if errors.Is(err, sandbox.ErrTemplateNotFound) {
		t, err = b.built(ctx, name)
	}
	if err != nil {
		return t, err
	}
	one := []sandbox.Template{t}
	err = b.count(ctx, one)
	return one[0], err
}

func (b *Builder) built(ctx context.Context, name string) (sandbox.Template, error) {
	bare, tag, found := strings.Cut(name, ":")
	t, err := b.named(ctx, bare)
	if err != nil {
		return sandbox.Template{}, err
	}
	if found && tag != sandbox.DefaultTag {
		if _, _, err := b.tagged(ctx, name); err != nil {
			return sandbox.Template{}, err
		}
	}
	return b.view(ctx, t)
}

// count fills in how often templates were used.
func (b *Builder) count(ctx context.Context, all []sandbox.Template) error {
	spawns, err := b.cfg.Store.SpawnCounts.All(ctx)
	if err != nil {
		return fault.Classify(err)
	}
	for i, t := range all {
		all[i].SpawnCount, all[i].LastSpawnedAt = spawns[t.Aliases[0]].Count, spawns[t.Aliases[0]].Last
	}
	return nil
}

// view is a template with its latest build; a ready one comes before others.
func (b *Builder) view(ctx context.Context, t builds.Template) (sandbox.Template, error) {
	v := sandbox.Template{ID: t.ID, Aliases: []string{t.Name}, Public: t.Public, CreatedAt: t.CreatedAt, UpdatedAt: t.CreatedAt, BuildState: sandbox.BuildWaiting}
	builds, err := b.cfg.Store.Builds.Of(ctx, t.ID)
	if err != nil {
		return v, fault.Classify(err)
	}
	v.BuildCount = len(builds)
	for i, row := range builds {
		ready := row.State == sandbox.BuildReady
		if i == 0 || ready {
			v.BuildID, v.BuildState, v.VCPUs, v.MemoryMiB, v.DiskMiB = row.ID, row.State, row.VCPUs, row.MemoryMiB, row.DiskMiB
		}
		if ready {
			v.UpdatedAt = row.FinishedAt
			break
		}
	}
	return v, nil
}
