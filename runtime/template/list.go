package template

import (
	"context"
	"fmt"
	"strings"

	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/sandbox"
)

// BaseAlias is the name of the template that is made without a download.
const BaseAlias = "base"

// Get finds a template by id or alias, with or without the tag "default".
func (t *Templates) Get(ctx context.Context, name string) (sandbox.Template, error) {
	all, err := t.List(ctx)
	if err != nil {
		return sandbox.Template{}, err
	}
	return named(all, name)
}

func named(all []sandbox.Template, name string) (sandbox.Template, error) {
	bare := strings.TrimSuffix(name, ":default")
	for _, t := range all {
		if t.ID == bare || t.Aliases[0] == bare {
			return t, nil
		}
	}
	return sandbox.Template{}, fmt.Errorf("template %.128q: %w", name, sandbox.ErrTemplateNotFound)
}

// List returns the templates, the base also before its first use.
func (t *Templates) List(ctx context.Context) ([]sandbox.Template, error) {
	rows, err := t.cfg.Store.Templates.All(ctx)
	if err != nil {
		return nil, fault.Classify(err)
	}
	var out []sandbox.Template
	base := false
	for _, t := range rows {
		base = base || t.Alias == BaseAlias
		out = append(out, sandbox.Template{ID: t.ID, Aliases: []string{t.Alias}, BuildID: t.BuildID,
			VCPUs: t.VCPUs, MemoryMiB: t.MemoryMiB, DiskMiB: t.DiskMiB, CreatedAt: t.CreatedAt, UpdatedAt: t.CreatedAt,
			BuildState: sandbox.BuildReady, BuildCount: 1})
	}
	if !base {
		s := t.cfg.Size
		out = append(out, sandbox.Template{ID: BaseAlias, Aliases: []string{BaseAlias}, VCPUs: s.VCPUs, MemoryMiB: s.MemoryMiB, DiskMiB: s.DiskMiB,
			BuildState: sandbox.BuildReady, BuildCount: 1})
	}
	return out, nil
}
