package bench

import (
	"context"

	"github.com/rundlet/rundlet/bench/objectives"
)

// prepared misses the pool, but finds a machine that needs only to be started.
func prepared(ctx context.Context, m *measurement) error {
	c := Config{Prepared: 2}
	if err := m.open(ctx, c); err != nil {
		return err
	}
	ready := m.Compare(objectives.Ready, "restore by library", 1.25)
	stdout := m.Compare(objectives.FirstStdout, "restore by library", 0)
	return m.rounds(ctx, m.plan.Samples, func(int) error {
		if err := m.filled(ctx, c); err != nil {
			return err
		}
		machine, bare, err := m.server.Bare.LibraryRestore(ctx)
		if err != nil {
			return err
		}
		if end(ctx, machine, &err); err != nil {
			return err
		}
		t, err := m.life(ctx, false)
		if err != nil {
			return err
		}
		m.Bare(ready, bare)
		m.Bare(stdout, bare)
		m.Ours(ready, t.ready)
		m.Ours(stdout, t.ready.Plus(t.first))
		return nil
	})
}
