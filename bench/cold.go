package bench

import (
	"context"

	"github.com/rundlet/rundlet/bench/cost"
	"github.com/rundlet/rundlet/bench/rows"
)

// cold boots: a sandbox that was paused without its memory is the one that a
// client sees booting.
func cold(ctx context.Context, m *measurement) (err error) {
	if err := m.open(ctx, Config{}); err != nil {
		return err
	}
	sb, err := m.create(ctx)
	if err != nil {
		return err
	}
	defer m.kill(ctx, sb.ID, &err)
	driver := m.Compare("boot (driver)", "boot by library", 0)
	ready := m.Compare("resume without memory to ready (REST)", "boot by library", 0)
	stdout := m.Compare("resume without memory to first stdout (REST)", "boot by library", 0)
	return m.rounds(ctx, m.plan.Samples, func(int) error {
		if err := m.server.API.Pause(ctx, sb.ID, false); err != nil {
			return err
		}
		bare, _, err := m.bareLife(ctx, m.server.Bare.LibraryBoot)
		if err != nil {
			return err
		}
		guest, booted, err := m.server.Bare.Boot(ctx)
		if err != nil {
			return err
		}
		if end(ctx, guest, &err); err != nil {
			return err
		}
		begin := m.now()
		sb, _, err = m.server.API.Connect(ctx, sb.ID, sandboxTimeout)
		if err != nil {
			return err
		}
		resumed := m.since(begin)
		out, err := m.echo(ctx, sb)
		if err != nil {
			return err
		}
		for _, r := range []*rows.Row{driver, ready, stdout} {
			m.Bare(r, bare)
		}
		m.Ours(driver, cost.WallOnly(booted))
		m.Ours(ready, resumed)
		m.Ours(stdout, resumed.Plus(out.First))
		return nil
	})
}
