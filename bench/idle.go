package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/policy/latency"
)

// aged is of how many the memory is looked at as they age: so few that each look is in time.
const aged = 5

// infant is a sandbox and when it was ready.
type infant struct {
	client.Sandbox
	born time.Time
}

// asleep has many sandboxes that nothing uses, and measures their memory as they age, and
// then what this process and they do while nothing happens.
func asleep(ctx context.Context, m *measurement) (err error) {
	n := m.plan.Asleep
	if need, free := n*sandboxMiB, m.setup.MemoryFree(); need > free {
		return fmt.Errorf("%d sandboxes may need %d MiB, and this machine has %d MiB free", n, need, free)
	}
	if err := m.open(ctx, Config{}); err != nil {
		return err
	}
	var all []client.Sandbox
	var young []infant
	defer func() { m.killAll(ctx, all, &err) }()
	for range n {
		sb, err := m.create(ctx)
		if err != nil {
			return err
		}
		all = append(all, sb)
		if len(young) < aged {
			young = append(young, infant{sb, time.Now()})
		}
		if len(all) == min(n, aged) {
			if err := m.age(ctx, young); err != nil {
				return err
			}
		}
	}
	var pids []int
	for _, sb := range all {
		own, err := m.server.Bare.Processes(sb.ID)
		if err != nil {
			return err
		}
		pids = append(pids, own...)
	}
	return m.quiet(ctx, pids, n)
}

// age looks at the memory of new sandboxes at each of the planned ages.
func (m *measurement) age(ctx context.Context, all []infant) error {
	for _, at := range m.plan.Ages {
		r := m.Row("one sandbox that was never used: PSS", at.Seconds(), "s after its start")
		r.Unit = latency.MiB
		for _, sb := range all {
			if err := m.pause(ctx, at-time.Since(sb.born)); err != nil {
				return err
			}
			pids, err := m.server.Bare.Processes(sb.ID)
			if err != nil {
				return err
			}
			mib, err := m.setup.Usage.PSS(pids)
			if err != nil {
				return err
			}
			r.Mine = append(r.Mine, mib)
		}
	}
	return nil
}

// pause waits, or until ctx ends.
func (m *measurement) pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// quiet measures what this process, with the server in it, and n sandboxes do while they are
// left alone: the share of one processor, and how often a thread is woken.
func (m *measurement) quiet(ctx context.Context, pids []int, n int) error {
	m.setup.Progress(fmt.Sprintf("%s: leaving %d sandboxes alone for %s", m.name, n, m.plan.Idle))
	looks := []struct {
		name string
		cpu  func() (time.Duration, error)
		pids []int
	}{
		{"this process", func() (time.Duration, error) { used, _, err := m.setup.Usage.Self(); return used, err }, nil},
		{"all sandboxes", func() (time.Duration, error) { return m.setup.Usage.CPU(pids) }, pids},
	}
	type look struct {
		at      time.Time
		cpu     time.Duration
		wakeups int
	}
	var before [2]look
	for round := range 2 {
		for i, l := range looks {
			cpu, err := l.cpu()
			if err != nil {
				return err
			}
			wakeups, err := m.setup.Usage.Wakeups(l.pids...)
			if err != nil {
				return err
			}
			now := look{time.Now(), cpu, wakeups}
			if round == 0 {
				before[i] = now
				continue
			}
			took := now.at.Sub(before[i].at)
			share := m.Row(l.name+", idle: processor", float64(n), "sandboxes")
			share.Unit = latency.Percent
			share.Mine = append(share.Mine, 100*float64(now.cpu-before[i].cpu)/float64(took))
			woken := m.Row(l.name+", idle: wake-ups of threads", float64(n), "sandboxes")
			woken.Unit = latency.Hertz
			woken.Mine = append(woken.Mine, float64(now.wakeups-before[i].wakeups)/took.Seconds())
		}
		if round == 0 {
			if err := m.pause(ctx, m.plan.Idle); err != nil {
				return err
			}
		}
	}
	return nil
}
