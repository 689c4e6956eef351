package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/policy/latency"
)

// refill takes all that a pool has at once, and waits until it is full again.
// Beside it are as many bare restores, one after the other: a refill leaves
// processors to waiting requests.
func refill(ctx context.Context, m *measurement) error {
	n := m.plan.Pool
	c := Config{Warm: n}
	if err := m.open(ctx, c); err != nil {
		return err
	}
	drained := m.Row("the pool is taken", float64(n), "sandboxes")
	full := m.Row("empty to full", float64(n), "sandboxes")
	full.BareName = "restores by library, one by one"
	err := m.rounds(ctx, m.plan.Dear, func(int) error {
		machines, done, err := many(n, 1, func() (Machine, error) {
			machine, _, err := m.server.Bare.LibraryRestore(ctx)
			return machine, err
		})
		for _, machine := range machines {
			end(ctx, machine, &err)
		}
		if err != nil {
			return fmt.Errorf("bare: %w", err)
		}
		if err := m.filled(ctx, c); err != nil {
			return err
		}
		begin := m.now()
		made, _, err := many(n, n, func() (client.Sandbox, error) { return m.create(ctx) })
		taken := m.since(begin)
		if err == nil {
			err = m.filled(ctx, c)
		}
		took := m.since(begin)
		if m.killAll(ctx, made, &err); err != nil {
			return err
		}
		m.Bare(full, done[len(done)-1])
		m.Ours(drained, taken)
		m.Ours(full, took)
		return m.filled(ctx, c)
	})
	if err != nil {
		return err
	}
	return m.pressed(ctx, 4*n)
}

// pressed creates and kills one sandbox after the other, without a pause, and
// returns how many of them the pool served.
func (m *measurement) pressed(ctx context.Context, n int) error {
	before := m.server.Load()
	begin := time.Now()
	for range n {
		if _, err := m.life(ctx, false); err != nil {
			return err
		}
	}
	after := m.server.Load()
	if percent, ok := latency.HitRate(after.Hits-before.Hits, after.Misses-before.Misses); ok {
		m.Fact("%d sandboxes one after the other, without a pause: %.1f each second, %.0f %% out of the pool",
			n, float64(n)/time.Since(begin).Seconds(), percent)
	}
	return nil
}
