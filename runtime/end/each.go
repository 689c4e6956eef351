package end

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/sandbox"
)

// AtOnce bounds the calls of Each. Each has a separate bound, so that
// one that hangs holds up no other for long.
const AtOnce = 32

// Each admits nothing new and calls one for every sandbox.
func (e *Ender) Each(ctx context.Context, one func(*live.Sandbox) error) error {
	all := slices.DeleteFunc(e.cfg.Live.Close(), func(sb *live.Sandbox) bool { return sb.Elsewhere != nil })
	errs := make([]error, len(all))
	var group errgroup.Group
	group.SetLimit(AtOnce)
	for i, sb := range all {
		group.Go(func() error {
			if err := one(sb); !errors.Is(err, sandbox.ErrNotFound) && !errors.Is(err, ErrUnwritten) {
				errs[i] = err
			}
			return nil
		})
	}
	_ = group.Wait()
	return errors.Join(errs...)
}
