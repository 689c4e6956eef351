package start

import (
	"context"
	"errors"
	"fmt"

	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/template"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// Resolve finds the origin of a create: a template, which is prepared if this
// process has not checked it yet, or a snapshot.
func (t *Starter) Resolve(ctx context.Context, name string) (claim.Origin, error) {
	found, err := t.cfg.Templates.Get(ctx, name)
	if err != nil && !errors.Is(err, sandbox.ErrTemplateNotFound) {
		return claim.Origin{}, err
	}
	if err == nil {
		if found.Aliases[0] != template.BaseAlias {
			return claim.Origin{}, fmt.Errorf("template %.128q: %w", name, sandbox.ErrTemplateNotFound)
		}
		tpl, err := t.Base(ctx)
		return claim.OfTemplate(tpl), err
	}
	from, berr := t.cfg.Built(ctx, name)
	if !errors.Is(berr, sandbox.ErrTemplateNotFound) {
		return from, berr
	}
	n, serr := t.cfg.Claims.Find(ctx, name, claim.KindSnapshot)
	if errors.Is(serr, sandbox.ErrSnapshotNotFound) {
		return claim.Origin{}, berr // It says which tags there are not.
	}
	return claim.OfSnapshot(n), serr
}

// deletedMeanwhile says so if the snapshot was deleted while a sandbox was being
// created from it, whatever it was that failed for that.
func (t *Starter) deletedMeanwhile(ctx context.Context, from claim.Origin, err error) error {
	if err == nil || from.Holder == "" {
		return err
	}
	ctx, cancel := background.Detached(ctx)
	defer cancel()
	if _, gone := claim.ByID(ctx, t.cfg.Store.Snapshots, from.ID); !errors.Is(gone, store.ErrNotFound) {
		return err
	}
	return fmt.Errorf("%w: %s was deleted (%w)", sandbox.ErrSnapshotNotFound, from.ID, err)
}

// Base returns the prepared base, unless the runtime is closing.
func (t *Starter) Base(ctx context.Context) (store.Template, error) {
	if !t.cfg.Live.IfOpen(func() {}) {
		return store.Template{}, fmt.Errorf("prepare the base template: %w: the daemon is shutting down", sandbox.ErrUnavailable)
	}
	return t.cfg.Templates.Base(ctx)
}
