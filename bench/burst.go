package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/rundlet/rundlet/bench/cost"
	"github.com/rundlet/rundlet/bench/rows"
	"github.com/rundlet/rundlet/client"
)

// burst asks for many sandboxes at once, without and with a pool. Beside it are
// as many bare restores, which no more can be made at a time than there are
// processors: the limit that the machine sets.
func burst(ctx context.Context, m *measurement) error {
	for _, pool := range []int{0, m.plan.Pool} {
		c := Config{Warm: pool, Pending: 1000}
		if err := m.open(ctx, c); err != nil {
			return err
		}
		for _, n := range m.plan.Bursts {
			// The bare ones are ended before ours begin.
			if need, free := (n+pool)*sandboxMiB, m.setup.MemoryFree(); need > free*3/4 {
				m.Fact("not run: %d sandboxes need %d MiB, and this machine has %d MiB free", n, need, free)
				continue
			}
			each := m.Row(fmt.Sprintf("create to ready, pool %d", pool), float64(n), "at once")
			all := m.Row(fmt.Sprintf("all are ready, pool %d", pool), float64(n), "at once")
			each.BareName, all.BareName = "restores by library", "restores by library"
			for i := range m.plan.Few(n) {
				m.setup.Progress(fmt.Sprintf("%s: %d at once, pool %d, round %d", m.name, n, pool, i+1))
				if err := m.burstRound(ctx, c, n, each, all); err != nil {
					return fmt.Errorf("%d at once, pool %d: %w", n, pool, err)
				}
			}
		}
	}
	return nil
}

func (m *measurement) burstRound(ctx context.Context, c Config, n int, each, all *rows.Row) error {
	machines, times, err := many(n, runtime.NumCPU(), func() (Machine, error) {
		machine, _, err := m.server.Bare.LibraryRestore(ctx)
		return machine, err
	})
	for _, machine := range machines {
		end(ctx, machine, &err)
	}
	if err != nil {
		return fmt.Errorf("bare: %w", err)
	}
	last := time.Duration(0)
	for _, d := range times {
		m.Bare(each, d)
		last = max(last, d)
	}
	m.Bare(all, last)
	if err := m.filled(ctx, c); err != nil {
		return err
	}
	begin := m.now()
	made, times, err := many(n, n, func() (client.Sandbox, error) { return m.create(ctx) })
	used := m.since(begin)
	m.killAll(ctx, made, &err)
	if err != nil {
		return err
	}
	last = 0
	for _, d := range times {
		m.Ours(each, cost.WallOnly(d))
		last = max(last, d)
	}
	m.Ours(all, cost.Cost{Wall: last, Processor: used.Processor})
	return m.filled(ctx, c)
}

// many calls f n times, so many at a time, and returns what was made, and when
// since the beginning.
func many[T any](n, at int, f func() (T, error)) (made []T, done []time.Duration, err error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	turn := make(chan struct{}, at)
	begin := time.Now()
	for range n {
		wg.Go(func() {
			turn <- struct{}{}
			one, failed := f()
			took := time.Since(begin)
			<-turn
			mu.Lock()
			defer mu.Unlock()
			if failed != nil {
				err = errors.Join(err, failed)
				return
			}
			made, done = append(made, one), append(done, took)
		})
	}
	wg.Wait()
	return made, done, err
}
