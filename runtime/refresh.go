package runtime

import (
	"cmp"

	"github.com/rundlet/rundlet/runtime/refresh"
)

func newRefresher(r *parts) *refresh.Refresher {
	return refresh.New(refresh.Config{
		Live: r.live, Rows: r.rows, Guest: r.machines, Steps: r.steps, Background: r.background,
		Timeout: cmp.Or(r.cfg.SyncTimeout, refresh.DefaultTimeout), Log: r.log,
	})
}
