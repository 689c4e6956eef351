package build

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/rundlet/rundlet/runtime/build/layers"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// What is kept for later builds.
const (
	maxUploads = 16 << 30       // bytes of uploaded files
	maxPast    = 50             // builds of a template that no tag names
	maxWaiting = 24 * time.Hour // how long a build waits for its recipe

	// What a key may have.
	mostWaiting   = 200
	mostTemplates = 2000
)

// RecoverBuilds deals with the builds of an earlier process: those that it was doing have failed.
func (b *Builder) RecoverBuilds(ctx context.Context) error {
	rows, err := b.cfg.Store.Builds.Unfinished(ctx)
	if err != nil {
		return err
	}
	for _, row := range rows {
		why := errRestart
		if row.State == sandbox.BuildWaiting {
			if time.Since(row.CreatedAt) < maxWaiting {
				continue
			}
			why = errNoRecipe
		}
		row.State, row.Step, row.Message, row.FinishedAt = sandbox.BuildFailed, sandbox.StepBase, "the build was broken off: "+why.Error(), time.Now()
		// Stale: a pull has ended it, which runs in another process.
		if put := b.cfg.Store.Builds.Put(ctx, &row); put != nil && !errors.Is(put, store.ErrStale) {
			err = errors.Join(err, put)
		}
	}
	if err != nil {
		return err
	}
	unneeded, err := b.cfg.Store.Builds.Unneeded(ctx)
	if err != nil {
		return err
	}
	b.dropUnneeded(ctx, unneeded)
	b.layers.DropBut(ctx, layers.Most)
	templates, err := b.cfg.Store.Builds.Templates(ctx)
	if err != nil {
		return err
	}
	for _, t := range templates {
		b.keep(ctx, t.ID)
	}
	return b.files.Sweep()
}

// dropUnneeded drops claims that no tagged build has.
func (b *Builder) dropUnneeded(ctx context.Context, claims []string) {
	slices.Sort(claims)
	for _, id := range slices.Compact(claims) {
		if id == "" {
			continue
		}
		needed, err := b.cfg.Store.Builds.Needs(ctx, id)
		if err == nil && !needed {
			err = b.cfg.Site.Claims.Drop(ctx, id)
		}
		if err != nil && !errors.Is(err, store.ErrStale) { // Stale: a build has a tag again.
			b.cfg.Log.Warn("could not delete the snapshot of a former build", "snapshot_id", id, "error", err)
		}
	}
}
