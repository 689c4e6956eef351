package simulate

import (
	"time"

	"github.com/rundlet/rundlet/policy/disk"
	"github.com/rundlet/rundlet/policy/pressure"
)

// lifecycle is what the daemon does with one machine, from the launch to the end,
// whether it is one of a tenant or of the pool.
type lifecycle struct {
	*world
	policy   policy
	reserved *reservations
	space    diskSpace
}

// launch runs the job that ends creating, resuming, launching or raising. It
// can fail, and it can hang until its owner gives up.
func (l *lifecycle) launch(m *machine, cost time.Duration) {
	switch {
	case l.draw.happens(0.0005):
		l.clock.After(hangTime, landFailed, m)
	case l.draw.happens(l.images.failures(m.template)):
		l.host.job(m, cost, landFailed)
	default:
		l.host.job(m, cost, landed)
	}
}

// grow starts to use memory and disk of the host for something new, which must
// leave the reserve alone.
func (l *lifecycle) grow(m *machine, memory, disk int64) {
	l.host.use(m, memory, disk)
	if !l.host.reserved() {
		l.record.FloorViolations++
		l.record.Violate("%s was started below the reserve: %d MiB of memory, %d MiB of disk are left", m.id, l.host.availableMemory()/mib, l.host.freeDisk()/mib)
	}
	if since := l.host.deep; since > 0 && l.clock.Now()-since > noticed {
		l.record.Violate("%s was started %v after half of a reserve was gone", m.id, l.clock.Now()-since)
	}
}

// noticed is how long the daemon may take to refuse new work once half of a reserve
// is gone: it knows the disk by a figure of CacheTTL ago.
const noticed = disk.CacheTTL + pressure.Interval

// run lets a machine that was launched work for its tenant.
func (l *lifecycle) run(m *machine) {
	if l.over {
		l.kill(m)
		return
	}
	l.host.enter(m, running)
	m.row, m.ends = true, l.clock.Now()+m.life
	l.clock.After(2*time.Second, grown, m)
	if m.pauses {
		l.clock.After(m.life/2, pauseNow, m)
	}
	l.clock.After(m.life, leave, m)
}

// work lets a sandbox use some of what it was promised.
func (l *lifecycle) work(m *machine) {
	l.host.use(m, min(int64(l.draw.spread(110*mib, 0.5)), memoryMost), min(int64(l.draw.spread(30*mib, 0.5)), 64*mib))
}

// pause is asked for by the owner of m. Without room on the disk it is refused, and m
// runs on.
func (l *lifecycle) pause(m *machine) {
	m.pauses = false
	if l.space.above(l.policy.floors.Save) {
		l.save(m)
	}
}

// save pauses m and gives its capacity back; it is resumed later.
func (l *lifecycle) save(m *machine) {
	m.life = max(m.ends-l.clock.Now(), time.Second)
	l.host.enter(m, pausing)
	l.host.job(m, costPause, paused)
}

// backToPaused ends the machine of a sandbox whose snapshot is there.
func (l *lifecycle) backToPaused(m *machine) {
	l.host.enter(m, pausing)
	m.saved = true
	l.host.job(m, costKill, paused)
}

// suspend is the end of a pause.
func (l *lifecycle) suspend(m *machine) {
	l.host.use(m, 0, max(m.disk, diskFresh+m.memory))
	l.reserved.free(m)
	m.saved = false
	if l.over {
		l.kill(m)
		return
	}
	l.host.enter(m, suspended)
	l.clock.After(l.draw.gap(10*time.Minute), resumeNow, m)
}

// kill ends a machine; its capacity is held until it is gone.
func (l *lifecycle) kill(m *machine) {
	l.host.enter(m, killing)
	m.tries = 0
	l.tryKill(m)
}

func (l *lifecycle) tryKill(m *machine) {
	do := killed
	if l.draw.happens(0.01) {
		do = killFailed
	}
	l.host.job(m, costKill, do)
}

func (l *lifecycle) killFailed(m *machine) {
	l.record.KillRetries++
	l.host.stopJob(m)
	m.tries++
	if l.policy.retryKill {
		l.clock.After(min(100*time.Millisecond<<min(m.tries, 10), 30*time.Second), retry, m)
	}
}

// bury is the end of a kill.
func (l *lifecycle) bury(m *machine) {
	l.host.use(m, 0, 0)
	l.reserved.free(m)
	l.host.enter(m, gone)
}
