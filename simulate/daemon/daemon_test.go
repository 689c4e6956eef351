package daemon

import (
	"testing"
	"time"

	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/simulate/world"
)

// booted is a daemon on an empty host. Its pool has no entries.
func booted() *Daemon {
	p := Default()
	p.Warm = warmpool.Target{}
	return Boot(world.New(1, p.Reserve()), p, time.Hour)
}

// play lets events happen until done.
func play(t *testing.T, d *Daemon, what string, done func() bool) {
	t.Helper()
	d.Settle()
	for !done() {
		e, ok := d.Clock.Next()
		if !ok {
			t.Fatalf("the end came before %s", what)
		}
		d.Handle(e.Kind, e.Subject)
		d.Settle()
	}
	if len(d.Record.Broken) > 0 {
		t.Fatal(d.Record.Broken)
	}
}

// request asks for a sandbox of a template that is not kept warm.
func request(d *Daemon, life time.Duration) *world.Machine {
	m := d.Host.Create(0, world.Templates-1)
	m.Life, m.Turn = life, d.Turns.Arrive(0)
	d.Request(m)
	return m
}

func TestASandboxLivesAndGivesEverythingBack(t *testing.T) {
	d := booted()
	m := request(d, time.Minute)
	m.Pauses = true
	for _, s := range []world.State{world.Creating, world.Running, world.Pausing, world.Suspended, world.Resuming, world.Running, world.Killing, world.Gone} {
		play(t, d, "the next state", func() bool { return m.State == s })
		switch active := d.Ledger().Usage().Active; s {
		case world.Creating, world.Resuming:
			if active != PerLaunch {
				t.Errorf("in state %d the ledger has %+v", s, active)
			}
		case world.Running:
			if active != PerSandbox {
				t.Errorf("running, the ledger has %+v", active)
			}
		case world.Suspended, world.Gone:
			if active.Sandboxes != 0 || d.Host.Memory != 0 {
				t.Errorf("in state %d the ledger has %+v, the host %d B", s, active, d.Host.Memory)
			}
		}
	}
	if len(d.Host.Machines) != 0 || d.Host.Disk != 0 || d.Host.Jobs != 0 {
		t.Errorf("left are %d machines, %d B of disk, %d jobs", len(d.Host.Machines), d.Host.Disk, d.Host.Jobs)
	}
}

func TestRequestsWaitInTheirOrder(t *testing.T) {
	d := booted()
	full := d.Ledger().Adopt(d.policy.Capacity())
	first, second := request(d, time.Minute), request(d, time.Minute)
	d.Settle()
	if waiting, pending := d.Waiting(); waiting != 2 || pending != 2 {
		t.Fatalf("%d requests wait, the queue has %d", waiting, pending)
	}
	full.Release()
	play(t, d, "both run", func() bool { return first.State == world.Running && second.State == world.Running })
	if waiting, pending := d.Waiting(); waiting != 0 || pending != 0 {
		t.Errorf("%d requests wait, the queue has %d", waiting, pending)
	}
}

func TestADaemonThatCrashedDoesNothing(t *testing.T) {
	d := booted()
	m := request(d, time.Minute)
	play(t, d, "it runs", func() bool { return m.State == world.Running })
	d.Down = true
	samples := d.sampleAt
	late := request(d, time.Minute)
	if late.State != world.Gone || d.Record.Refused != 1 {
		t.Errorf("a request is in state %d, %d are refused", late.State, d.Record.Refused)
	}
	for range 100 {
		if e, ok := d.Clock.Next(); ok {
			d.Handle(e.Kind, e.Subject)
			d.Settle()
		}
	}
	if m.State != world.Running || d.Clock.Now() < m.Ends || d.sampleAt != samples {
		t.Errorf("after %v it is in state %d; the next sample is at %v", d.Clock.Now(), m.State, d.sampleAt)
	}
	d.Down = false // Of what was put off nothing is lost.
	play(t, d, "it is ended", func() bool { return m.State == world.Gone })
}
