package bench

import (
	"context"

	"github.com/rundlet/rundlet/bench/objectives"
	"github.com/rundlet/rundlet/bench/rows"

	"github.com/rundlet/rundlet/bench/cost"
	"github.com/rundlet/rundlet/bench/guest"
)

// poolOf is how many are kept warm where one at a time is taken: enough that
// the next one does not wait for the refill.
const poolOf = 3

// warm takes sandboxes out of a full pool. Beside it is the least that any way
// to a first line of output takes: a command in a machine that runs already.
func warm(ctx context.Context, m *measurement) (err error) {
	c := Config{Warm: poolOf}
	if err := m.open(ctx, c); err != nil {
		return err
	}
	running, err := m.create(ctx)
	if err != nil {
		return err
	}
	defer m.kill(ctx, running.ID, &err)
	ready := m.Compare(objectives.Ready, "", 0)
	stdout := m.Compare(objectives.FirstStdout, "runsc exec in a running machine", 0)
	first := m.Compare("first command to first stdout (API)", "runsc exec in a running machine", 0)
	second := m.Compare("second command to first stdout (API)", "runsc exec in a running machine", 0)
	killed := m.Compare("kill (REST)", "", 0)
	return m.rounds(ctx, m.plan.Checkouts, func(int) error {
		if err := m.filled(ctx, c); err != nil {
			return err
		}
		bare, _, err := m.server.Bare.Exec(ctx, running.ID, nil, guest.Command...)
		if err != nil {
			return err
		}
		t, err := m.life(ctx, true)
		if err != nil {
			return err
		}
		for _, r := range []*rows.Row{stdout, first, second} {
			m.Bare(r, bare)
		}
		m.Ours(ready, t.ready)
		m.Ours(stdout, t.ready.Plus(t.first))
		m.Ours(first, t.first)
		m.Ours(second, t.second)
		m.Ours(killed, t.killed)
		return nil
	})
}

// lifetimes are the parts of a sandbox's short life.
type lifetimes struct{ ready, first, second, killed cost.Cost }

// life creates a sandbox, runs one command in it, or two, and kills it.
func (m *measurement) life(ctx context.Context, again bool) (t lifetimes, err error) {
	begin := m.now()
	sb, err := m.create(ctx)
	if err != nil {
		return t, err
	}
	t.ready = m.since(begin)
	out, err := m.echo(ctx, sb)
	t.first = out.First
	if err == nil && again {
		out, err = m.echo(ctx, sb)
		t.second = out.First
	}
	begin = m.now()
	m.kill(ctx, sb.ID, &err)
	t.killed = m.since(begin)
	return t, err
}
