package runtime

import (
	"context"
	"errors"

	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

// Template finds a template by id or alias, with or without a tag.
func (r *reads) Template(ctx context.Context, name string) (sandbox.Template, error) {
	t, err := r.templates.Get(ctx, name)
	if errors.Is(err, sandbox.ErrTemplateNotFound) {
		t, err = r.BuiltTemplate(ctx, name)
	}
	if err != nil {
		return t, err
	}
	one := []sandbox.Template{t}
	err = count(ctx, r, one)
	return one[0], err
}

// Templates returns the templates, the base also before its first use.
func (r *reads) Templates(ctx context.Context) ([]sandbox.Template, error) {
	all, err := r.templates.List(ctx)
	if err != nil {
		return nil, err
	}
	built, err := r.BuiltTemplates(ctx)
	if err != nil {
		return nil, err
	}
	all = append(all, built...)
	return all, count(ctx, r, all)
}

// count fills in how often templates were used.
func count(ctx context.Context, r *reads, all []sandbox.Template) error {
	spawns, err := r.cfg.Store.SpawnCounts.All(ctx)
	if err != nil {
		return fault.Classify(err)
	}
	for i, t := range all {
		all[i].SpawnCount, all[i].LastSpawnedAt = spawns[t.Aliases[0]].Count, spawns[t.Aliases[0]].Last
	}
	return nil
}

// Prepare makes the base template ready, so that the first create need not.
func (r *Runtime) Prepare(ctx context.Context) error {
	_, err := r.starter.Base(ctx)
	return err
}

// BaseSpec returns the spec by which a driver restores the prepared base, apart
// from the state that each sandbox adds. It is for measuring.
func (r *reads) BaseSpec(ctx context.Context) (vm.Spec, error) {
	return r.templates.BaseSpec(ctx)
}
