package control

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/e2b/internal/wire"
	"github.com/rundlet/rundlet/sandbox"
)

// catalogue is what a sandbox can be created from: templates, and snapshots, whose
// names clients use alike. It is safe for concurrent use.
type catalogue struct{ runtime Runtime }

// templates are all of them, newest first.
func (c catalogue) templates(ctx context.Context) ([]sandbox.Template, error) {
	templates, err := c.runtime.Templates(ctx)
	templates = slices.Clone(templates)
	slices.SortFunc(templates, newestFirst)
	return templates, err
}

func newestFirst(a, b sandbox.Template) int {
	return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID))
}

// template finds one by id or alias.
func (c catalogue) template(ctx context.Context, name string) (sandbox.Template, error) {
	if len(name) > maxTemplateName {
		return sandbox.Template{}, refusal.Invalidf("template name is longer than %d bytes", maxTemplateName)
	}
	return c.runtime.Template(ctx, name)
}

// notATemplate refuses the name of a template for a snapshot: a create would
// take the template.
func (c catalogue) notATemplate(ctx context.Context, name string) error {
	_, err := c.runtime.Template(ctx, wire.WithoutTag(name))
	switch {
	case err == nil:
		return refusal.Invalidf("%q is the name of a template", wire.WithoutTag(name))
	case errors.Is(err, sandbox.ErrTemplateNotFound):
		return nil
	}
	return err
}

// deleteSnapshot removes a snapshot by id or name. Templates stay.
func (c catalogue) deleteSnapshot(ctx context.Context, name string) error {
	bare, err := wire.ParseName(name)
	if err != nil {
		return err
	}
	err = c.runtime.DeleteSnapshot(ctx, bare)
	if !errors.Is(err, sandbox.ErrSnapshotNotFound) {
		return err
	}
	if _, templateErr := c.runtime.Template(ctx, bare); templateErr == nil {
		return refusal.Unsupported.With("deleting a template")
	}
	return err
}
