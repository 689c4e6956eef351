package bench

import (
	"context"
	"time"
)

// The rows of commands that objectives are about.
const (
	rowCommandStart = "start reported (API)"
	rowExecStdout   = "first stdout (API)"
	rowBatch        = "100 commands (API)"
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
	started := m.compare(rowCommandStart, "", 0)
	stdout := m.compare(rowExecStdout, "runsc exec", 0.6)
	done := m.compare("round trip to the exit code (API)", "runsc exec", 0)
	return m.rounds(ctx, 3*m.plan.Samples, func(int) error {
		first, all, err := m.server.Bare.Exec(ctx, sb.ID, nil, command...)
		if err != nil {
			return err
		}
		t, err := m.echo(ctx, sb)
		if err != nil {
			return err
		}
		m.bare(stdout, first)
		m.bare(done, all)
		m.ours(started, t.started)
		m.ours(stdout, t.first)
		m.ours(done, t.end)
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
	r := m.compare(rowBatch, "100 x runsc exec", 0)
	hundred := func(one func() error) (time.Duration, error) {
		begin := time.Now()
		for range 100 {
			if err := one(); err != nil {
				return 0, err
			}
		}
		return time.Since(begin), nil
	}
	return m.rounds(ctx, m.plan.Batches, func(i int) error {
		if i%bareBatches == m.plan.Warmup%bareBatches {
			took, err := hundred(func() error {
				_, _, err := m.server.Bare.Exec(ctx, sb.ID, nil, command...)
				return err
			})
			if err != nil {
				return err
			}
			m.bare(r, took)
		}
		took, err := hundred(func() error { _, err := m.echo(ctx, sb); return err })
		if err != nil {
			return err
		}
		m.ours(r, took)
		return nil
	})
}
