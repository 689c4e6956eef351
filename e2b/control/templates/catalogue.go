package templates

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/e2b/internal/wire"
	"github.com/rundlet/rundlet/sandbox"
)

// Catalogue is what a sandbox can be created from: templates, and snapshots, whose
// names clients use alike. It is safe for concurrent use.
type Catalogue struct{ Runtime Runtime }

// templates are all of them, newest first.
func (c Catalogue) templates(ctx context.Context) ([]sandbox.Template, error) {
	templates, err := c.Runtime.Templates(ctx)
	templates = slices.Clone(templates)
	slices.SortFunc(templates, newestFirst)
	return templates, err
}

func newestFirst(a, b sandbox.Template) int {
	return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID))
}

// template finds one by id or alias, with or without a tag.
func (c Catalogue) template(ctx context.Context, name string) (sandbox.Template, error) {
	name, err := wire.Template(name)
	if err != nil {
		return sandbox.Template{}, err
	}
	return c.Runtime.Template(ctx, name)
}

// NotATemplate refuses the name of a template for a snapshot: a create would
// take the template.
func (c Catalogue) NotATemplate(ctx context.Context, name string) error {
	_, err := c.Runtime.Template(ctx, wire.WithoutTag(name))
	switch {
	case err == nil:
		return refusal.Invalidf("%q is the name of a template", wire.WithoutTag(name))
	case errors.Is(err, sandbox.ErrTemplateNotFound):
		return nil
	}
	return err
}

// notASnapshot refuses the name of snapshots for a template: a create would not take them any more.
func (c Catalogue) notASnapshot(ctx context.Context, name string) error {
	found, err := c.Runtime.Snapshots(ctx, sandbox.SnapshotFilter{Name: name, AllTags: true, Limit: 1})
	if err == nil && len(found) > 0 {
		return refusal.Invalidf("%q is the name of a snapshot", name)
	}
	return err
}

// delete removes a snapshot by id or name or, if there is none, a template with its builds. Snapshots have tags,
// and a template is only removed as a whole, so with a tag it is not meant.
func (c Catalogue) delete(ctx context.Context, text string) error {
	name, tag, err := wire.ParseTemplate(text)
	if err != nil {
		return err
	}
	full, err := wire.Template(text)
	if err != nil {
		return err
	}
	err = c.Runtime.DeleteSnapshot(ctx, full)
	if !errors.Is(err, sandbox.ErrSnapshotNotFound) {
		return err
	}
	if tag == "" {
		return c.Runtime.DeleteTemplate(ctx, name)
	}
	if _, templateErr := c.Runtime.Template(ctx, name); templateErr == nil {
		return refusal.Invalidf("%q is a template, which is deleted without a tag; a tag is removed by DELETE /templates/tags", name)
	}
	return err
}
