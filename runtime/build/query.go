package build

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rundlet/rundlet/runtime/build/lines"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/runtime/template"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/store/builds"
)

const baseName = template.BaseAlias

// BuildOrigin finds what the sandboxes of a template are made from, by NAME, NAME:TAG, or the same with its id;
// sandbox.ErrTemplateNotFound.
func (b *Builder) BuildOrigin(ctx context.Context, name string) (claim.Origin, error) {
	var from claim.Origin
	err := b.withTagged(ctx, name, func(t builds.Template, row builds.Build) error {
		snap, err := claim.ByID(ctx, b.cfg.Store.Snapshots, row.SnapshotID)
		from = claim.OfSnapshot(snap)
		return err
	})
	return from, err
}

// withTagged calls f with the build that a name means, and again if its claim is gone because the tag has moved since.
func (b *Builder) withTagged(ctx context.Context, name string, f func(builds.Template, builds.Build) error) error {
	for former := ""; ; {
		t, row, err := b.tagged(ctx, name)
		if err != nil {
			return err
		}
		if err = f(t, row); !errors.Is(err, store.ErrNotFound) {
			return fault.Classify(err)
		}
		if row.ID == former {
			return fmt.Errorf("%w: %w", sandbox.ErrTemplateNotFound, err)
		}
		former = row.ID
	}
}

// keep keeps machines of what the default tag of a template names. Calls take turns: the last one has the latest build, and a
// template that is deleted meanwhile is dropped afterwards. It is done also for a client that leaves: the tag has moved.
func (b *Builder) keep(ctx context.Context, templateID string) {
	ctx = context.WithoutCancel(ctx)
	b.keeping.Lock()
	defer b.keeping.Unlock()
	if from, err := b.BuildOrigin(ctx, templateID); err == nil {
		b.cfg.Keep(from)
	} else if !errors.Is(err, sandbox.ErrTemplateNotFound) {
		b.cfg.Log.Warn("could not keep machines of a template warm", "template_id", templateID, "error", err)
	}
}

// KeepBuild gives the pool what machines of a template are made from: the build with its default tag, if there is one. The template
// has the name: sandbox.ErrTemplateNotFound.
func (b *Builder) KeepBuild(ctx context.Context, name string) error {
	t, err := b.named(ctx, name)
	if err == nil {
		b.keep(ctx, t.ID)
	}
	return err
}

// tagged returns a template and the build that a name with a tag, or without one, means.
func (b *Builder) tagged(ctx context.Context, name string) (builds.Template, builds.Build, error) {
	bare, tag, found := strings.Cut(name, ":")
	if !found {
		tag = sandbox.DefaultTag
	}
	t, err := b.named(ctx, bare)
	if err != nil {
		return t, builds.Build{}, err
	}
	row, err := b.cfg.Store.Builds.Tagged(ctx, t.ID, tag)
	if errors.Is(err, store.ErrNotFound) {
		err = fmt.Errorf("template %.128q has no build with the tag %.128q: %w", t.Name, tag, sandbox.ErrTemplateNotFound)
	}
	return t, row, fault.Classify(err)
}

// GetBuild returns a build; sandbox.ErrBuildNotFound.
func (b *Builder) GetBuild(ctx context.Context, templateID, buildID string) (sandbox.Build, error) {
	t, row, err := b.find(ctx, templateID, buildID)
	if err != nil {
		return sandbox.Build{}, err
	}
	return view(t.Name, row), nil
}

// BuildLogs returns lines of the log of a build.
func (b *Builder) BuildLogs(ctx context.Context, templateID, buildID string, from, limit int) ([]sandbox.BuildLog, error) {
	_, row, err := b.find(ctx, templateID, buildID)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	j := b.jobs[row.TemplateID]
	waits := j != nil && slices.ContainsFunc(j.rows, func(r builds.Build) bool { return r.ID == row.ID })
	b.mu.Unlock()
	if row.State == sandbox.BuildBuilding && waits {
		return j.log.Lines(from, limit), nil
	}
	all, err := b.cfg.Store.Builds.Log(ctx, row.LogID)
	return lines.Part(all, from, limit), fault.Classify(err)
}

// TemplateBuilds returns the builds of a template, the newest first.
func (b *Builder) TemplateBuilds(ctx context.Context, idOrName string) ([]sandbox.Build, error) {
	t, err := b.named(ctx, idOrName)
	if err != nil {
		return nil, err
	}
	rows, err := b.cfg.Store.Builds.Of(ctx, t.ID)
	if err != nil {
		return nil, fault.Classify(err)
	}
	views := make([]sandbox.Build, 0, len(rows))
	for _, row := range rows {
		views = append(views, view(t.Name, row))
	}
	return views, nil
}

// DeleteTemplate removes a template with its builds. Its sandboxes go on.
func (b *Builder) DeleteTemplate(ctx context.Context, idOrName string) error {
	if idOrName == baseName {
		return fmt.Errorf("%w: the template %q is made by this machine, and stays", sandbox.ErrInvalid, baseName)
	}
	t, err := b.named(ctx, idOrName)
	if err != nil {
		return err
	}
	err = b.end(ctx, t.ID)
	var claims []string
	if err == nil {
		claims, err = b.claimsOf(ctx, t.ID)
	}
	if err == nil {
		err = fault.Classify(b.cfg.Store.Builds.Delete(ctx, t.ID))
	}
	if err != nil {
		return err
	}
	b.keeping.Lock()
	b.cfg.Drop(t.ID)
	b.keeping.Unlock()
	b.dropUnneeded(ctx, claims)
	return errors.Join(b.end(ctx, t.ID), fault.Classify(b.files.Remove(t.ID))) // One may have begun meanwhile.
}

// end ends the build of a template that is to be deleted, and waits for its outcome.
func (b *Builder) end(ctx context.Context, templateID string) error {
	b.mu.Lock()
	j := b.jobs[templateID]
	b.mu.Unlock()
	if j == nil {
		return nil
	}
	j.cancel(errDeleted)
	select {
	case <-j.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// SetPublic notes whether a template is public.
func (b *Builder) SetPublic(ctx context.Context, idOrName string, public bool) error {
	t, err := b.named(ctx, idOrName)
	if err == nil {
		err = fault.Classify(b.cfg.Store.Builds.SetPublic(ctx, t.ID, public))
	}
	return err
}

// Tag gives the build that target names more tags.
func (b *Builder) Tag(ctx context.Context, target string, tags []string) (sandbox.Build, error) {
	if err := sandbox.CheckTags(tags); err != nil {
		return sandbox.Build{}, err
	}
	var former []string
	var tagged sandbox.Build
	err := b.withTagged(ctx, target, func(t builds.Template, row builds.Build) (err error) {
		if former, err = b.claimsOf(ctx, t.ID); err == nil {
			err = b.cfg.Store.Builds.Tag(ctx, t.ID, row.ID, tags)
		}
		row.Tags = tags
		tagged = view(t.Name, row)
		return err
	})
	if err != nil {
		return sandbox.Build{}, err
	}
	if slices.Contains(tags, sandbox.DefaultTag) {
		b.keep(ctx, tagged.TemplateID)
	}
	b.dropUnneeded(ctx, former)
	return tagged, nil
}

// Untag takes tags away from a template. Builds without any are deleted.
func (b *Builder) Untag(ctx context.Context, idOrName string, tags []string) error {
	if slices.Contains(tags, sandbox.DefaultTag) {
		return fmt.Errorf("%w: the tag %q stays as long as its template", sandbox.ErrInvalid, sandbox.DefaultTag)
	}
	t, err := b.named(ctx, idOrName)
	if err != nil {
		return err
	}
	for _, tag := range tags {
		if _, err := b.cfg.Store.Builds.Tagged(ctx, t.ID, tag); errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("tag %.128q of template %s: %w", tag, t.Name, sandbox.ErrTagNotFound)
		} else if err != nil {
			return fault.Classify(err)
		}
	}
	former, err := b.claimsOf(ctx, t.ID)
	if err == nil {
		err = fault.Classify(b.cfg.Store.Builds.Untag(ctx, t.ID, tags))
	}
	if err == nil {
		b.dropUnneeded(ctx, former)
	}
	return err
}

// claimsOf returns the claims of the builds of a template.
func (b *Builder) claimsOf(ctx context.Context, templateID string) (claims []string, err error) {
	rows, err := b.cfg.Store.Builds.Of(ctx, templateID)
	for _, row := range rows {
		claims = append(claims, row.SnapshotID)
	}
	return claims, fault.Classify(err)
}

// Tags returns the tags of a template.
func (b *Builder) Tags(ctx context.Context, idOrName string) ([]sandbox.TemplateTag, error) {
	t, err := b.named(ctx, idOrName)
	if err != nil {
		return nil, err
	}
	tags, err := b.cfg.Store.Builds.Tags(ctx, t.ID)
	return tags, fault.Classify(err)
}
