package bench

import (
	"context"
	"time"

	"github.com/rundlet/rundlet/bench/objectives"
	"github.com/rundlet/rundlet/bench/rows"

	"github.com/rundlet/rundlet/bench/cost"
)

// clone restores the template for each sandbox: there is no pool.
func clone(ctx context.Context, m *measurement) error {
	if err := m.open(ctx, Config{}); err != nil {
		return err
	}
	driver := m.Compare("restore (driver)", "restore by library", 0)
	ready := m.Compare(objectives.Ready, "restore by library", 1.25)
	stdout := m.Compare(objectives.FirstStdout, "restore by library", 0)
	killed := m.Compare("kill (REST)", "destroy by library", 0)
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
		for _, r := range []*rows.Row{driver, ready, stdout} {
			m.Bare(r, bare)
		}
		m.Bare(killed, destroyed)
		m.Ours(driver, cost.WallOnly(restored))
		m.Ours(ready, t.ready)
		m.Ours(stdout, t.ready.Plus(t.first))
		m.Ours(killed, t.killed)
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
