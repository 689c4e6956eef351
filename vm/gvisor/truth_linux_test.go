package gvisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"gvisor.dev/gvisor/runsc/container"

	"github.com/rundlet/rundlet/internal/durable"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/vmtest"
)

// says checks what a machine's sentry says about itself.
func says(t *testing.T, d *Driver, id string, want sentryState) {
	t.Helper()
	got, err := mustFind(t, d, id).ask()
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("the sentry of %s says %+v, want %+v", id, got, want)
	}
}

var (
	isUnstarted = sentryState{}
	isRunning   = sentryState{started: true}
	isFrozen    = sentryState{started: true, frozen: true}
)

// TestTheSentryTellsItsState shows that what readStacks looks for is there, in
// this version of gVisor and this build, whatever the guest does.
func TestTheSentryTellsItsState(t *testing.T) {
	d, ctx := newDriver(t), testContext(t)
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(d.Create(ctx, "a", guestSpec(t)))
	says(t, d, "a", isUnstarted)
	do(d.Start(ctx, "a"))
	do(client{d}.Write(ctx, "a", "k", "v"))
	says(t, d, "a", isRunning)
	do(d.Stop(ctx, "a"))
	says(t, d, "a", isFrozen)
	do(d.Snapshot(ctx, "a", "memory"))
	do(d.SnapshotFilesystem(ctx, "a", "files"))
	says(t, d, "a", isFrozen)
	do(d.Start(ctx, "a"))
	says(t, d, "a", isRunning)
	do(d.Snapshot(ctx, "a", "more"))
	says(t, d, "a", isRunning)
	for i, name := range []string{"memory", "files"} {
		id := fmt.Sprint("restored", i)
		spec := resumed(t, "a", name)
		if name == "files" {
			spec = cold(t, guestSpec(t), "a", name)
		}
		spec.RestoreFrom.ResumeImmediately = false
		do(d.Create(ctx, id, spec))
		says(t, d, id, isUnstarted)
		do(d.Start(ctx, id))
		says(t, d, id, isRunning)
		do(d.Stop(ctx, id))
		says(t, d, id, isFrozen)
	}
	do(freeAll(ctx, d))
}

// TestTheSentryTellsAChangeAtOnce asks while the guest's threads are still on
// their way: a wrong answer would end the machine, or leave it frozen.
func TestTheSentryTellsAChangeAtOnce(t *testing.T) {
	d, ctx := newDriver(t), testContext(t)
	booted(t, d, "a", guestSpec(t))
	if _, err := (client{d}).do(ctx, "a", "POST", "/count", ""); err != nil {
		t.Fatal(err)
	}
	calls := mustFind(t, d, "a").calls
	busy, idle := context.WithCancel(ctx)
	defer idle()
	for range 4 * runtime.NumCPU() {
		go func() {
			for busy.Err() == nil {
			}
		}()
	}
	for range 60 {
		if err := calls.Pause(); err != nil {
			t.Fatal(err)
		}
		says(t, d, "a", isFrozen)
		if err := calls.Resume(); err != nil {
			t.Fatal(err)
		}
		says(t, d, "a", isRunning)
	}
	if err := freeAll(ctx, d); err != nil {
		t.Error(err)
	}
}

func TestReadStacks(t *testing.T) {
	const (
		started  = "\ncreated by gvisor.dev/gvisor/pkg/sentry/kernel.(*Task).Start in goroutine 1"
		newTask  = "goroutine 9 [runnable]:\ngvisor.dev/gvisor/pkg/sentry/kernel.(*Task).Start.gowrap1()" + started
		task     = "goroutine 9 [select]:\ngvisor.dev/gvisor/pkg/sentry/kernel.(*Task).block(0xc)\ngvisor.dev/gvisor/pkg/sentry/kernel.(*Task).run(0xc, 0x1)" + started
		stopped  = "goroutine 9 [sync.Cond.Wait]:\ngvisor.dev/gvisor/pkg/sentry/kernel.(*Task).doStop(0xc)\ngvisor.dev/gvisor/pkg/sentry/kernel.(*runApp).execute(0x0)\ngvisor.dev/gvisor/pkg/sentry/kernel.(*Task).run(0xc, 0x1)" + started
		waking   = "goroutine 9 [runnable]:\nsync.(*Cond).Wait(0xc)\ngvisor.dev/gvisor/pkg/sentry/kernel.(*Task).doStop(0xc)\ngvisor.dev/gvisor/pkg/sentry/kernel.(*Task).run(0xc, 0x1)" + started
		handler  = "reflect.Value.Call({0x1})\ngvisor.dev/gvisor/pkg/urpc.(*Server).handleOne(0xc)\ncreated by gvisor.dev/gvisor/pkg/urpc.(*Server).StartHandling in goroutine 5"
		asking   = "goroutine 3 [running]:\ngvisor.dev/gvisor/pkg/log.Stacks(0x1)\ngvisor.dev/gvisor/runsc/boot.(*debug).Stacks(0x0)\n" + handler
		starting = "goroutine 3 [chan receive]:\ngvisor.dev/gvisor/runsc/boot.(*containerManager).onStart(0x0)\ngvisor.dev/gvisor/runsc/boot.(*containerManager).StartRoot(0x0)\n" + handler
		waiting  = "goroutine 4 [chan receive]:\ngvisor.dev/gvisor/runsc/boot.(*containerManager).WaitPID(0x0)\n" + handler
		reading  = "goroutine 4 [runnable]:\ngvisor.dev/gvisor/pkg/urpc.(*Server).StartHandling.func1()\ncreated by gvisor.dev/gvisor/pkg/urpc.(*Server).StartHandling in goroutine 5"
		pausing  = "goroutine 4 [semacquire]:\ngvisor.dev/gvisor/pkg/sentry/kernel.(*Kernel).Pause(0xc)\ngvisor.dev/gvisor/runsc/boot.(*containerManager).Pause(0x0)\n" + handler
	)
	for name, c := range map[string]struct {
		stacks []string
		want   string
	}{
		"not started":                    {[]string{asking}, "{request: started:false frozen:false changing:false}"},
		"being started":                  {[]string{asking, starting}, "{request:StartRoot started:false frozen:false changing:false}"},
		"running":                        {[]string{asking, task, task}, "{request: started:true frozen:false changing:false}"},
		"started, and no thread has run": {[]string{asking, newTask, newTask}, "{request: started:true frozen:false changing:false}"},
		"some threads stopped":           {[]string{asking, task, stopped}, "{request: started:true frozen:false changing:false}"},
		"frozen":                         {[]string{stopped, stopped, asking}, "{request: started:true frozen:true changing:false}"},
		"frozen until a moment ago":      {[]string{stopped, waking, asking}, "{request: started:true frozen:true changing:true}"},
		"running, some not yet":          {[]string{task, waking, asking}, "{request: started:true frozen:false changing:false}"},
		"being frozen":                   {[]string{task, pausing, asking}, "{request:Pause started:true frozen:false changing:false}"},
		"a request that changes nothing": {[]string{task, waiting, asking}, "{request: started:true frozen:false changing:false}"},
		"a request that is being read":   {[]string{task, reading, asking}, "{request:unread started:true frozen:false changing:false}"},
	} {
		stacks := ""
		for _, s := range c.stacks {
			stacks += s + "\n\n"
		}
		if got := fmt.Sprintf("%+v", readStacks(stacks)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// damages are states of gVisor's state file after its writer died, or what
// it says when its writer died before.
var damages = map[string]func(t *testing.T, file string, c *container.Container){
	"empty": func(t *testing.T, file string, _ *container.Container) { truncate(t, file, 0) },
	"half":  func(t *testing.T, file string, _ *container.Container) { truncate(t, file, 100) },
	"gone": func(t *testing.T, file string, _ *container.Container) {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	},
	"another status": func(t *testing.T, file string, c *container.Container) {
		other := map[container.Status]container.Status{container.Created: container.Running,
			container.Running: container.Paused, container.Paused: container.Running}
		c.Status = other[c.Status]
		if err := durable.WriteJSON(file, c); err != nil {
			t.Fatal(err)
		}
	},
}

func truncate(t *testing.T, file string, size int64) {
	t.Helper()
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
}

// TestAMachineIsNeverLostToAFile shows that whatever is in gVisor's state file,
// the next driver value adopts the machine as what it is, and mends the file.
func TestAMachineIsNeverLostToAFile(t *testing.T) {
	for damage, apply := range damages {
		t.Run(damage, func(t *testing.T) {
			d, ctx := newDriver(t), testContext(t)
			booted(t, d, "running", guestSpec(t))
			booted(t, d, "stopped", guestSpec(t))
			for _, id := range []string{"running", "stopped"} {
				if err := (client{d}).Write(ctx, id, "k", id); err != nil {
					t.Fatal(err)
				}
			}
			spec := resumed(t, "running", "s")
			spec.RestoreFrom.ResumeImmediately = false
			if err := errors.Join(d.Snapshot(ctx, "running", "s"), d.Stop(ctx, "stopped"),
				d.Create(ctx, "created", guestSpec(t)), d.Create(ctx, "prepared", spec)); err != nil {
				t.Fatal(err)
			}
			want := map[string]vm.Status{"created": vm.StatusCreated, "prepared": vm.StatusStopped,
				"running": vm.StatusRunning, "stopped": vm.StatusStopped}
			files := map[string]string{}
			for id := range want {
				m := mustFind(t, d, id)
				files[id] = d.dirs.ContainerState(m.Key)
				apply(t, files[id], loadState(t, d, m))
			}
			d = reopen(t, d)
			adopted, lost, err := vmtest.Adopted(ctx, d)
			if err != nil {
				t.Fatal(err)
			}
			got := statuses(adopted)
			if fmt.Sprint(got) != fmt.Sprint(want) || len(lost) > 0 {
				t.Errorf("adopted %v, lost %v", got, lost)
			}
			for id, file := range files {
				said := map[string]container.Status{"created": container.Created, "prepared": container.Created,
					"running": container.Running, "stopped": container.Paused}[id]
				if c := loadState(t, d, mustFind(t, d, id)); c.Status != said {
					t.Errorf("%s says %s, want %s", file, c.Status, said)
				}
			}
			if out, err := d.ExecCommand("running", "/init", "uid"); err != nil {
				t.Error(err)
			} else if out, err := out.Output(); err != nil || !bytes.Contains(out, []byte("0 0")) {
				t.Errorf("gVisor's command line says %q, %v", out, err)
			}
			for id, memory := range map[string]string{"created": "", "prepared": "running", "running": "running", "stopped": "stopped"} {
				if got[id] != vm.StatusRunning {
					if err := d.Start(ctx, id); err != nil {
						t.Error(err)
						continue
					}
				}
				if v, err := (client{d}).Read(ctx, id, "k"); err != nil || v != memory {
					t.Errorf("%s has %q, %v", id, v, err)
				}
			}
			if err := freeAll(ctx, d); err != nil {
				t.Error(err)
			}
		})
	}
}

func loadState(t *testing.T, d *Driver, m *machine) *container.Container {
	t.Helper()
	c, err := container.Load(d.dirs.Root(), container.FullID{SandboxID: m.Key, ContainerID: m.Key},
		container.LoadOpts{Exact: true, SkipCheck: true})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// reopen stands for a daemon that died and was started again.
func reopen(t *testing.T, d *Driver) *Driver {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return open(t, d.conf)
}

// TestARequestOfADeadDaemonIsAwaited freezes a sentry with a request on its way
// to it. What the daemon asked for happens when the next one is there already.
func TestARequestOfADeadDaemonIsAwaited(t *testing.T) {
	for name, c := range map[string]struct {
		prepare, do func(d *Driver, ctx context.Context) error
		want        vm.Status
	}{
		"stop":   {nil, func(d *Driver, ctx context.Context) error { return d.Stop(ctx, "a") }, vm.StatusStopped},
		"resume": {func(d *Driver, ctx context.Context) error { return d.Stop(ctx, "a") }, func(d *Driver, ctx context.Context) error { return d.Start(ctx, "a") }, vm.StatusRunning},
		"save":   {nil, func(d *Driver, ctx context.Context) error { return d.Snapshot(ctx, "a", "s") }, vm.StatusRunning},
		"save of a stopped one": {func(d *Driver, ctx context.Context) error { return d.Stop(ctx, "a") },
			func(d *Driver, ctx context.Context) error { return d.Snapshot(ctx, "a", "s") }, vm.StatusStopped},
	} {
		for _, after := range []time.Duration{0, 30 * time.Millisecond} {
			t.Run(fmt.Sprint(name, " ", after), func(t *testing.T) {
				d, ctx := newDriver(t), testContext(t)
				booted(t, d, "a", guestSpec(t))
				if err := (client{d}).Write(ctx, "a", "k", "v"); err != nil {
					t.Fatal(err)
				}
				if c.prepare != nil {
					if err := c.prepare(d, ctx); err != nil {
						t.Fatal(err)
					}
				}
				thaw := vmtest.Freeze(t, mustFind(t, d, "a").sandbox.PID)
				if err := soon(t, func(ctx context.Context) error { return c.do(d, ctx) }); !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("%s ended with %v", name, err)
				}
				d = reopen(t, d)
				thawed := make(chan struct{})
				time.AfterFunc(after, func() { thaw(); close(thawed) })
				views, lost, err := d.Adopt(ctx)
				<-thawed
				if err != nil || len(views) != 1 || len(lost) > 0 {
					t.Fatalf("adopted %+v, lost %v, %v", views, lost, err)
				}
				awaitIdle(t, d, "a")
				if v, _, err := d.Get(ctx, "a"); err != nil || v.Status != c.want {
					t.Errorf("it is %+v, %v, want %s", v, err, c.want)
				}
				if c.want == vm.StatusStopped {
					if err := d.Start(ctx, "a"); err != nil {
						t.Fatal(err)
					}
				}
				if v, err := (client{d}).Read(ctx, "a", "k"); err != nil || v != "v" {
					t.Errorf("the guest has %q, %v", v, err)
				}
				if err := freeAll(ctx, d); err != nil {
					t.Error(err)
				}
			})
		}
	}
}
