package bench

import (
	"context"
	"fmt"

	"github.com/rundlet/rundlet/bench/guest"
	"github.com/rundlet/rundlet/bench/rows"
	"github.com/rundlet/rundlet/client"
)

// pair is a sandbox of the server and a machine of the driver alone, with the
// same amount of memory dirtied.
type pair struct {
	sb    client.Sandbox
	guest Guest
}

func (m *measurement) pair(ctx context.Context, mib int) (p pair, err error) {
	if p.guest, _, err = m.server.Bare.Restore(ctx); err != nil {
		return p, err
	}
	defer func() {
		if err != nil {
			end(ctx, p.guest, &err)
		}
	}()
	if p.sb, err = m.create(ctx); err != nil {
		return p, err
	}
	if mib == 0 {
		return p, nil
	}
	m.setup.Progress(fmt.Sprintf("%s: dirtying %d MiB", m.name, mib))
	if _, err = m.run(ctx, p.sb, nil, guest.Dirty(mib)...); err == nil {
		_, _, err = p.guest.Exec(ctx, nil, guest.Dirty(mib)...)
	}
	if err != nil {
		m.kill(ctx, p.sb.ID, &err)
	}
	return p, err
}

func (m *measurement) unpair(ctx context.Context, p pair, err *error) {
	m.kill(ctx, p.sb.ID, err)
	end(ctx, p.guest, err)
}

// bySize runs measure with pairs of every size.
func (m *measurement) bySize(ctx context.Context, measure func(p pair, mib, n int) error) error {
	if err := m.open(ctx, Config{}); err != nil {
		return err
	}
	for _, mib := range m.plan.DirtyMiB {
		p, err := m.pair(ctx, mib)
		if err != nil {
			return err
		}
		err = measure(p, mib, m.plan.Repeats(mib))
		if err == nil && mib > 0 {
			_, err = m.run(ctx, p.sb, nil, "/usr/bin/test", "-s", "/dev/shm/rundlet-bench")
		}
		if m.unpair(ctx, p, &err); err != nil {
			return fmt.Errorf("%d MiB: %w", mib, err)
		}
	}
	return nil
}

// pause pauses and resumes the same sandbox again and again.
func pause(ctx context.Context, m *measurement) error {
	return m.bySize(ctx, func(p pair, mib, n int) error {
		paused, resumed := m.Row("pause", float64(mib), "MiB"), m.Row("resume", float64(mib), "MiB")
		paused.BareName, resumed.BareName = "driver: freeze, save, destroy", "driver: restore"
		return m.cycles(ctx, p, true, n, paused, resumed)
	})
}

// filesystemPause leaves the memory behind: to resume is to boot.
func filesystemPause(ctx context.Context, m *measurement) (err error) {
	if err := m.open(ctx, Config{}); err != nil {
		return err
	}
	p, err := m.pair(ctx, 0)
	if err != nil {
		return err
	}
	defer m.unpair(ctx, p, &err)
	paused := m.Compare("pause", "driver: freeze, save files, destroy", 0)
	resumed := m.Compare("resume", "driver: boot with the files", 0)
	return m.cycles(ctx, p, false, m.plan.Repeats(0), paused, resumed)
}

func (m *measurement) cycles(ctx context.Context, p pair, memory bool, n int, paused, resumed *rows.Row) error {
	return m.rounds(ctx, n, func(int) error {
		bare, err := p.guest.Pause(ctx, memory)
		if err != nil {
			return err
		}
		m.Bare(paused, bare)
		begin := m.now()
		if err := m.server.API.Pause(ctx, p.sb.ID, memory); err != nil {
			return err
		}
		m.Ours(paused, m.since(begin))
		if bare, err = p.guest.Resume(ctx); err != nil {
			return err
		}
		m.Bare(resumed, bare)
		begin = m.now()
		if _, _, err := m.server.API.Connect(ctx, p.sb.ID, sandboxTimeout); err != nil {
			return err
		}
		m.Ours(resumed, m.since(begin))
		return nil
	})
}

// snapshot saves a sandbox that keeps running.
func snapshot(ctx context.Context, m *measurement) error {
	return m.bySize(ctx, func(p pair, mib, n int) error {
		r := m.Row("snapshot", float64(mib), "MiB")
		r.BareName = "driver: save"
		return m.rounds(ctx, n, func(int) error {
			bare, err := p.guest.Save(ctx)
			if err != nil {
				return err
			}
			m.Bare(r, bare)
			begin := m.now()
			saved, err := m.server.API.Snapshot(ctx, p.sb.ID, "")
			if err != nil {
				return err
			}
			m.Ours(r, m.since(begin))
			return m.server.API.DeleteSnapshot(ctx, saved.ID)
		})
	})
}
