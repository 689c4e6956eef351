package daemon

import (
	"time"

	"github.com/rundlet/rundlet/policy/disk"
	"github.com/rundlet/rundlet/policy/pressure"
	"github.com/rundlet/rundlet/simulate/world"
)

// lifecycle is what the daemon does with one machine, from the launch to the end,
// whether it is one of a tenant or of the pool.
type lifecycle struct {
	*world.World
	policy   Policy
	reserved *reservations
	space    diskSpace
}

// launch runs the job that ends creating, resuming, launching or raising. It
// can fail, and it can hang until its owner gives up.
func (l *lifecycle) launch(m *world.Machine, cost time.Duration) {
	switch {
	case l.Draw.Happens(0.0005):
		l.Clock.After(hangTime, world.LandFailed, m)
	case l.Draw.Happens(l.Images.Failures(m.Template)):
		l.Host.Job(m, cost, world.LandFailed)
	default:
		l.Host.Job(m, cost, world.Landed)
	}
}

// grow starts to use memory and disk of the host for something new, which must
// leave the reserve alone.
func (l *lifecycle) grow(m *world.Machine, memory, disk int64) {
	l.Host.Use(m, memory, disk)
	if !l.Host.Safe() {
		l.Record.FloorViolations++
		l.Record.Violate("%s was started below the reserve: %d MiB of memory, %d MiB of disk are left", m.ID, l.Host.AvailableMemory()/world.MiB, l.Host.FreeDisk()/world.MiB)
	}
	if since := l.Host.Deep; since > 0 && l.Clock.Now()-since > noticed {
		l.Record.Violate("%s was started %v after half of a reserve was gone", m.ID, l.Clock.Now()-since)
	}
}

// noticed is how long the daemon may take to refuse new work once half of a reserve
// is gone: it knows the disk by a figure of CacheTTL ago.
const noticed = disk.CacheTTL + pressure.Interval

// run lets a machine that was launched work for its tenant.
func (l *lifecycle) run(m *world.Machine) {
	if l.Over {
		l.kill(m)
		return
	}
	l.Host.Enter(m, world.Running)
	m.Row, m.Ends = true, l.Clock.Now()+m.Life
	l.Clock.After(2*time.Second, world.Grown, m)
	if m.Pauses {
		l.Clock.After(m.Life/2, world.PauseNow, m)
	}
	l.Clock.After(m.Life, world.Leave, m)
}

// work lets a sandbox use some of what it was promised.
func (l *lifecycle) work(m *world.Machine) {
	l.Host.Use(m, min(int64(l.Draw.Spread(110*world.MiB, 0.5)), memoryMost), min(int64(l.Draw.Spread(30*world.MiB, 0.5)), 64*world.MiB))
}

// pause is asked for by the owner of m. Without room on the disk it is refused, and m
// runs on.
func (l *lifecycle) pause(m *world.Machine) {
	m.Pauses = false
	if l.space.above(l.policy.Floors.Save) {
		l.save(m)
	}
}

// save pauses m and gives its capacity back; it is resumed later.
func (l *lifecycle) save(m *world.Machine) {
	m.Life = max(m.Ends-l.Clock.Now(), time.Second)
	l.Host.Enter(m, world.Pausing)
	l.Host.Job(m, costPause, world.Paused)
}

// backToPaused ends the machine of a sandbox whose snapshot is there.
func (l *lifecycle) backToPaused(m *world.Machine) {
	l.Host.Enter(m, world.Pausing)
	m.Saved = true
	l.Host.Job(m, costKill, world.Paused)
}

// suspend is the end of a pause.
func (l *lifecycle) suspend(m *world.Machine) {
	l.Host.Use(m, 0, max(m.Disk, diskFresh+m.Memory))
	l.reserved.free(m)
	m.Saved = false
	if l.Over {
		l.kill(m)
		return
	}
	l.Host.Enter(m, world.Suspended)
	l.Clock.After(l.Draw.Gap(10*time.Minute), world.ResumeNow, m)
}

// kill ends a machine; its capacity is held until it is gone.
func (l *lifecycle) kill(m *world.Machine) {
	l.Host.Enter(m, world.Killing)
	m.Tries = 0
	l.tryKill(m)
}

func (l *lifecycle) tryKill(m *world.Machine) {
	do := world.Killed
	if l.Draw.Happens(0.01) {
		do = world.KillFailed
	}
	l.Host.Job(m, costKill, do)
}

func (l *lifecycle) killFailed(m *world.Machine) {
	l.Record.KillRetries++
	l.Host.StopJob(m)
	m.Tries++
	if l.policy.RetryKill {
		l.Clock.After(min(100*time.Millisecond<<min(m.Tries, 10), 30*time.Second), world.Retry, m)
	}
}

// bury is the end of a kill.
func (l *lifecycle) bury(m *world.Machine) {
	l.Host.Use(m, 0, 0)
	l.reserved.free(m)
	l.Host.Enter(m, world.Gone)
}
