package start

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// keepEnvironment stores the environment of a sandbox: the variables of its create over
// those of the snapshot that it was made from. A boot without its memory needs them.
func (t *Starter) keepEnvironment(ctx context.Context, id string, from claim.Origin, given map[string]string) error {
	env := map[string]string{}
	if from.Holder != "" {
		saved, err := t.cfg.Store.Environments.Get(ctx, from.ID)
		if err != nil {
			return err
		}
		maps.Copy(env, saved)
	}
	maps.Copy(env, given)
	if len(env) == 0 {
		return nil
	}
	// Else one snapshot of another would make it longer without end.
	if err := sandbox.CheckEnvironment(env); err != nil {
		return fmt.Errorf("with those of the snapshot: %w", err)
	}
	return t.cfg.Store.Environments.Put(ctx, id, env)
}

// spawned counts a sandbox that was created from a template. It runs in the background.
func (t *Starter) spawned(from claim.Origin) {
	if !from.Template {
		return
	}
	more := map[string]store.Spawns{from.Alias: {Count: 1, Last: time.Now()}}
	t.cfg.Background.Go(func() {
		if err := t.cfg.Store.SpawnCounts.Add(context.WithoutCancel(t.life), more); err != nil {
			t.cfg.Log.Warn("could not update the use count of a template", "template", from.Alias, "error", err)
		}
	})
}
