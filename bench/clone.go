package bench

import (
	"context"
	"time"

	"github.com/rundlet/rundlet/bench/objectives"

	"github.com/rundlet/rundlet/bench/cost"
)

// clone restores the template for each sandbox: there is no pool.
func clone(ctx context.Context, m *measurement) error {
	if err := m.open(ctx, Config{}); err != nil {
		return err
	}
	driver := m.compare("restore (driver)", "restore by library", 0)
	ready := m.compare(objectives.Ready, "restore by library", 1.25)
	stdout := m.compare(objectives.FirstStdout, "restore by library", 0)
	killed := m.compare("kill (REST)", "destroy by library", 0)
	return m.rounds(ctx, m.plan.Samples, func(int) error {
		bare, destroyed, err := m.bareLife(ctx, m.server.Bare.LibraryRestore)
		if err != nil {
			return err
		}
		guest, restored, err := m.server.Bare.Restore(ctx)
		if err != nil {
			return err
		}
		if end(ctx, guest, &err); err != nil {
			return err
		}
		t, err := m.life(ctx, false)
		if err != nil {
			return err
		}
		for _, r := range []*row{driver, ready, stdout} {
			m.bare(r, bare)
		}
		m.bare(killed, destroyed)
		m.ours(driver, cost.WallOnly(restored))
		m.ours(ready, t.ready)
		m.ours(stdout, t.ready.Plus(t.first))
		m.ours(killed, t.killed)
		return nil
	})
}

// bareLife starts a machine by the library and ends it.
func (m *measurement) bareLife(ctx context.Context, start func(context.Context) (Machine, time.Duration, error)) (started, destroyed time.Duration, err error) {
	machine, started, err := start(ctx)
	if err != nil {
		return 0, 0, err
	}
	destroyed, err = machine.Destroy(context.WithoutCancel(ctx))
	return started, destroyed, err
}
