package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rundlet/rundlet/bench/rows"
	"github.com/rundlet/rundlet/client"
)

// sandboxMiB is what a sandbox is taken to use besides what it dirtied, when it
// is asked whether many of them fit.
const sandboxMiB = 64

// fork makes children of a running sandbox. The server answers when the last is
// ready, so the time of one is the share of it.
func fork(ctx context.Context, m *measurement) error {
	return m.bySize(ctx, func(p pair, mib, _ int) error {
		for _, n := range m.plan.Children {
			// Ours and the bare ones do not live at the same time.
			if need, free := n*(mib+sandboxMiB), m.setup.MemoryFree(); need > free*3/4 {
				m.Fact("not run: %d children of %d MiB need %d MiB, and this machine has %d MiB free", n, mib, need, free)
				continue
			}
			all := m.Row(fmt.Sprintf("fork, all children, %d MiB", mib), float64(n), "children")
			each := m.Row(fmt.Sprintf("fork, per child, %d MiB", mib), float64(n), "children")
			all.BareName, each.BareName = "driver: save once, restore each", "driver: save once, restore each"
			err := m.rounds(ctx, m.plan.Few(n), func(int) error {
				return m.forkRound(ctx, p, n, all, each)
			})
			if err != nil {
				return fmt.Errorf("%d children: %w", n, err)
			}
		}
		return nil
	})
}

func (m *measurement) forkRound(ctx context.Context, p pair, n int, all, each *rows.Row) (err error) {
	children, done, err := p.guest.Fork(ctx, n)
	for _, child := range children {
		end(ctx, child, &err)
	}
	if err != nil {
		return fmt.Errorf("bare: %w", err)
	}
	last := time.Duration(0)
	for _, d := range done {
		last = max(last, d)
	}
	m.Bare(all, last)
	m.Bare(each, last/time.Duration(n))
	begin := m.now()
	results, err := m.server.API.Fork(ctx, p.sb.ID, n, sandboxTimeout)
	took := m.since(begin)
	var made []client.Sandbox
	for _, r := range results {
		if r.Error != nil {
			err = errors.Join(err, r.Error)
		} else {
			made = append(made, *r.Sandbox)
		}
	}
	if err == nil && len(made) > 0 {
		_, err = m.echo(ctx, made[len(made)-1])
	}
	m.killAll(ctx, made, &err)
	if err != nil {
		return err
	}
	m.Ours(all, took)
	m.Ours(each, took.Part(n))
	return nil
}

// killAll ends sandboxes, a few at a time.
func (m *measurement) killAll(ctx context.Context, all []client.Sandbox, err *error) {
	var wg sync.WaitGroup
	errs := make([]error, len(all))
	turn := make(chan struct{}, 4)
	for i, sb := range all {
		turn <- struct{}{}
		wg.Go(func() {
			m.kill(ctx, sb.ID, &errs[i])
			<-turn
		})
	}
	wg.Wait()
	*err = errors.Join(*err, errors.Join(errs...))
}
