package site

import (
	"context"
	"time"

	"github.com/rundlet/rundlet/internal/retry"
	"github.com/rundlet/rundlet/runtime/background"
)

// Retries are the pauses between attempts to free a machine.
var Retries = retry.Pauses{First: 100 * time.Millisecond, Most: 30 * time.Second}

// Opened returns an open site. A driver that hangs, whatever its context says, holds up nothing but a goroutine. On an
// error nothing is left, in a while.
func Opened(ctx context.Context, cfg Config, group *background.Group, plan Plan) (*Site, error) {
	end := func(s *Site) { s.End(group) }
	return background.Deliver(ctx, group, func() (*Site, error) {
		s := New(cfg, plan)
		if err := s.Open(ctx); err != nil {
			end(s)
			return nil, err
		}
		return s, nil
	}, end)
}

// End closes a site, and tries again in the group until it is closed.
func (s *Site) End(group *background.Group) {
	life := group.Context()
	err := s.Close(life)
	if err == nil {
		return
	}
	s.cfg.Log.Warn("could not free the machine of a build yet", "template", s.plan.Name, "error", err)
	group.Go(func() { _ = Retries.Again(life, func() error { return s.Close(life) }, nil) })
}
