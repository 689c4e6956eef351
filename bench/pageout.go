package bench

import (
	"context"
	"errors"
	"slices"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/policy/latency"
)

// leastWakeUps is how many answers of paged out sandboxes are measured at least.
const leastWakeUps = 30

// pagedOut pages idle sandboxes out and measures what is left of them, and how soon they
// answer then.
func (m *measurement) pagedOut(ctx context.Context, all []client.Sandbox) error {
	if need, free := len(all)*sandboxMiB, m.setup.SwapFree(); need > free {
		m.Fact("paged out: not measured, since %d sandboxes may need %d MiB of swap, and this host has %d MiB free (rundlet doctor)", len(all), need, free)
		return nil
	}
	memory, swap := m.Compare("one sandbox paged out: PSS", "", 0), m.Compare("one sandbox paged out: swap", "", 0)
	memory.Unit, swap.Unit = latency.MiB, latency.MiB
	answer := m.Compare("one sandbox paged out: first stdout (API)", "awake", 0)
	for range (leastWakeUps + len(all) - 1) / len(all) {
		for _, sb := range all {
			pids, err := m.server.Bare.Processes(sb.ID)
			if err = errors.Join(err, m.server.Bare.PageOut(ctx, sb.ID)); err != nil {
				return err
			}
			mib, pssErr := m.setup.Usage.PSS(pids)
			swapped, swapErr := m.setup.Usage.Swapped(pids)
			paged, pagedErr := m.echo(ctx, sb)
			awake, awakeErr := m.echo(ctx, sb)
			if err := errors.Join(pssErr, swapErr, pagedErr, awakeErr); err != nil {
				return err
			}
			memory.Mine, swap.Mine = append(memory.Mine, mib), append(swap.Mine, swapped)
			m.Ours(answer, paged.First)
			m.Bare(answer, awake.First.Wall)
		}
	}
	m.Fact("paged out: the first stdout took at most %.1f ms, awake %.1f ms, each in %d attempts", slices.Max(answer.Mine), slices.Max(answer.Other), len(answer.Mine))
	return nil
}
