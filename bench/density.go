package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rundlet/rundlet/bench/objectives"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/policy/latency"
)

// use is what a sandbox is used for before its memory is looked at.
var use = []string{"/bin/sh", "-c", "ls -lR /etc /usr/bin >/dev/null 2>&1; dd if=/dev/urandom of=/tmp/used bs=64k count=64 status=none; sync"}

// density has sandboxes and machines of the driver alone side by side, uses
// them and leaves them alone.
func density(ctx context.Context, m *measurement) (err error) {
	n := m.plan.Density
	if need, free := 2*n*sandboxMiB*2, m.setup.MemoryFree(); need > free {
		return fmt.Errorf("%d sandboxes and as many machines may need %d MiB, and this machine has %d MiB free", n, need, free)
	}
	if err := m.open(ctx, Config{}); err != nil {
		return err
	}
	var ours []client.Sandbox
	var bare []Guest
	defer func() {
		m.killAll(ctx, ours, &err)
		for _, guest := range bare {
			end(ctx, guest, &err)
		}
	}()
	for range n {
		guest, _, err := m.server.Bare.Restore(ctx)
		if err != nil {
			return err
		}
		bare = append(bare, guest)
		sb, err := m.create(ctx)
		if err != nil {
			return err
		}
		ours = append(ours, sb)
		if _, err := m.run(ctx, sb, nil, use...); err != nil {
			return err
		}
		if _, _, err := guest.Exec(ctx, nil, use...); err != nil {
			return err
		}
	}
	var oursPIDs, barePIDs [][]int
	for i := range n {
		ourPIDs, oursErr := m.server.Bare.Processes(ours[i].ID)
		pids, bareErr := bare[i].Processes()
		if err := errors.Join(oursErr, bareErr); err != nil {
			return err
		}
		oursPIDs, barePIDs = append(oursPIDs, ourPIDs), append(barePIDs, pids)
	}
	if err := m.memory(objectives.PSS, oursPIDs, barePIDs); err != nil {
		return err
	}
	if err := m.idle(ctx, oursPIDs, barePIDs); err != nil {
		return err
	}
	if err := m.memory(fmt.Sprintf("one sandbox after %s idle: PSS", m.plan.Idle), oursPIDs, barePIDs); err != nil {
		return err
	}
	return m.pagedOut(ctx, ours)
}

const driverAlone = "a machine of the driver alone"

// memory adds the memory of each sandbox to a row.
func (m *measurement) memory(name string, ours, bare [][]int) error {
	r := m.Compare(name, driverAlone, 0)
	r.Unit = latency.MiB
	for i := range ours {
		ourMiB, oursErr := m.setup.Usage.PSS(ours[i])
		mib, bareErr := m.setup.Usage.PSS(bare[i])
		if err := errors.Join(oursErr, bareErr); err != nil {
			return err
		}
		r.Mine, r.Other = append(r.Mine, ourMiB), append(r.Other, mib)
	}
	return nil
}

// idleSample is how often this process is looked at while it is idle.
const idleSample = 500 * time.Millisecond

// idle measures what the idle sandboxes and this process use.
func (m *measurement) idle(ctx context.Context, ours, bare [][]int) error {
	m.setup.Progress(fmt.Sprintf("%s: leaving %d sandboxes and as many machines alone for %s", m.name, len(ours), m.plan.Idle))
	begin := time.Now()
	before, err := m.cpu(slices.Concat(ours, bare))
	if err != nil {
		return err
	}
	cpu, rss := m.Compare(objectives.IdleCPU, "", 0), m.Compare(objectives.IdleRSS, "", 0)
	cpu.Unit, rss.Unit = latency.Percent, latency.MiB
	tick := time.NewTicker(idleSample)
	defer tick.Stop()
	last, _, err := m.setup.Usage.Self()
	if err != nil {
		return err
	}
	for at := begin; at.Sub(begin) < m.plan.Idle; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		used, mib, err := m.setup.Usage.Self()
		if err != nil {
			return err
		}
		now := time.Now()
		cpu.Mine = append(cpu.Mine, 100*float64(used-last)/float64(now.Sub(at)))
		rss.Mine = append(rss.Mine, mib)
		last, at = used, now
	}
	after, err := m.cpu(slices.Concat(ours, bare))
	if err != nil {
		return err
	}
	r := m.Compare("one sandbox, idle: processor", driverAlone, 0)
	r.Unit = latency.Percent
	took := float64(time.Since(begin))
	for i := range after {
		percent := 100 * float64(after[i]-before[i]) / took
		if i < len(ours) {
			r.Mine = append(r.Mine, percent)
		} else {
			r.Other = append(r.Other, percent)
		}
	}
	return nil
}

func (m *measurement) cpu(all [][]int) (out []time.Duration, err error) {
	for _, pids := range all {
		used, err := m.setup.Usage.CPU(pids)
		if err != nil {
			return nil, err
		}
		out = append(out, used)
	}
	return out, nil
}
