package vmtest_test

import (
	"context"
	"sync"

	"github.com/rundlet/rundlet/vm"
)

// hangMutants do with a machine that hangs what a driver must not do.
var hangMutants = []mutant{
	{"a hung stop holds its caller", "hang/stop-returns-when-its-context-ends", func(b *broken) {
		b.stop = func(ctx context.Context, id string) error {
			return b.Driver.Stop(context.WithoutCancel(ctx), id)
		}
	}},
	{"destroy waits for a hung call", "hang/destroy-wins-over-snapshot", func(b *broken) {
		var mu sync.Mutex
		b.snapshot = func(ctx context.Context, id, name string) error {
			mu.Lock()
			defer mu.Unlock()
			return b.Driver.Snapshot(ctx, id, name)
		}
		b.destroy = func(ctx context.Context, id string) error {
			mu.Lock()
			defer mu.Unlock()
			return b.Driver.Destroy(ctx, id)
		}
	}},
	{"adopt gives up what does not answer", "hang/adopt-takes-over-what-does-not-answer", func(b *broken) {
		b.adopt = func(ctx context.Context) ([]vm.View, map[string]string, error) {
			views, lost, err := b.Driver.Adopt(ctx)
			for _, v := range views {
				if v.Busy != "" {
					lost[v.ID] = "it does not answer"
				}
			}
			return views, lost, err
		}
	}},
}
