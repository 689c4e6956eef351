package bench

import (
	"context"

	"github.com/rundlet/rundlet/bench/objectives"

	"github.com/rundlet/rundlet/bench/cost"
	"github.com/rundlet/rundlet/bench/guest"
)

// execs runs a command in a sandbox that is warm in every way.
func execs(ctx context.Context, m *measurement) (err error) {
	if err := m.open(ctx, Config{}); err != nil {
		return err
	}
	sb, err := m.create(ctx)
	if err != nil {
		return err
	}
	defer m.kill(ctx, sb.ID, &err)
	started := m.Compare(objectives.CommandStart, "", 0)
	stdout := m.Compare(objectives.ExecStdout, "runsc exec", 0.6)
	done := m.Compare("round trip to the exit code (API)", "runsc exec", 0)
	floor := m.Compare("round trip to the exit code (API), beside the guest's own", "the same spawn inside the guest", 0)
	return m.rounds(ctx, 3*m.plan.Samples, func(int) error {
		first, all, err := m.server.Bare.Exec(ctx, sb.ID, nil, guest.Command...)
		if err != nil {
			return err
		}
		t, err := m.echo(ctx, sb)
		if err != nil {
			return err
		}
		m.Bare(stdout, first)
		m.Bare(done, all)
		m.Ours(started, t.Started)
		m.Ours(stdout, t.First)
		m.Ours(done, t.End)
		m.Ours(floor, t.End)
		spawned, err := guest.Spawn(ctx, m.server.API.Agent(sb))
		if err != nil {
			return err
		}
		m.Bare(floor, spawned)
		return nil
	})
}

// bareBatches: the bare batch takes twice as long, so it is run in every fifth
// round only.
const bareBatches = 5

// batch runs 100 small commands, one after the other.
func batch(ctx context.Context, m *measurement) (err error) {
	if err := m.open(ctx, Config{}); err != nil {
		return err
	}
	sb, err := m.create(ctx)
	if err != nil {
		return err
	}
	defer m.kill(ctx, sb.ID, &err)
	r := m.Compare(objectives.Batch, "100 x runsc exec", 0)
	hundred := func(one func() error) (cost.Cost, error) {
		begin := m.now()
		for range 100 {
			if err := one(); err != nil {
				return cost.Cost{}, err
			}
		}
		return m.since(begin), nil
	}
	return m.rounds(ctx, m.plan.Batches, func(i int) error {
		if i%bareBatches == m.plan.Warmup%bareBatches {
			took, err := hundred(func() error {
				_, _, err := m.server.Bare.Exec(ctx, sb.ID, nil, guest.Command...)
				return err
			})
			if err != nil {
				return err
			}
			m.Bare(r, took.Wall)
		}
		took, err := hundred(func() error { _, err := m.echo(ctx, sb); return err })
		if err != nil {
			return err
		}
		m.Ours(r, took)
		return nil
	})
}
