package node

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/image/hostbase"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/network"
	"github.com/rundlet/rundlet/node/statedir"
	"github.com/rundlet/rundlet/policy/disk"
	"github.com/rundlet/rundlet/runtime"
	"github.com/rundlet/rundlet/vm"
)

// open takes the locks of the node and assembles it.
func open(ctx context.Context, driver vm.Driver, cfg Config) (_ *Node, err error) {
	if os.Geteuid() != 0 {
		return nil, &vm.Error{Op: "open node", Kind: vm.ErrUnsupported,
			Err: fmt.Errorf("sandboxes need root for namespaces and control groups"), Hint: "run it with sudo"}
	}
	dirs := cfg.Dirs
	lock := statedir.Lock
	if cfg.Ephemeral {
		lock = statedir.Share
	}
	unlockState, err := lock(ctx, dirs)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			unlockState()
		}
	}()
	if dirs, err = statedir.Canonical(ctx, dirs); err != nil {
		return nil, err
	}
	instance := dirs.Instance()
	if cfg.Ephemeral {
		instance = statedir.NewEphemeral()
	} else if err := statedir.CheckRunDir(dirs); err != nil {
		return nil, err
	}
	if !cfg.AcceptEmptyDatabase {
		if err := statedir.CheckDatabase(ctx, dirs); err != nil {
			return nil, err
		}
	}
	unlock, err := statedir.LockInstance(dirs, instance)
	if err != nil {
		return nil, err
	}
	sweepEphemeral(ctx, driver, dirs, cfg.Log)
	n, err := assemble(ctx, driver, dirs, instance, cfg)
	if err != nil {
		unlock()
		return nil, err
	}
	n.closers = append([]func(context.Context) error{func(context.Context) error {
		if cfg.Ephemeral {
			os.RemoveAll(dirs.InstanceDir(instance))
		}
		unlock()
		unlockState()
		return nil
	}}, n.closers...)
	return n, nil
}

// assemble builds the stack of an instance whose lock the caller holds.
func assemble(ctx context.Context, with vm.Driver, dirs layout.Layout, instance string, cfg Config) (_ *Node, err error) {
	n := &Node{Dirs: dirs}
	die, err := failpoint()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			n.Close(LeaveAll)
		}
	}()
	if n.Store, err = statedir.OpenDatabase(ctx, dirs); err != nil {
		return nil, err
	}
	n.OnClose(func(context.Context) error { return n.Store.Close() })
	if cfg.Opened != nil {
		if err := cfg.Opened(n.Store); err != nil {
			return nil, err
		}
	}

	if err := hostbase.Mend(dirs.Base()); err != nil {
		return nil, err
	}
	runDir := dirs.InstanceDir(instance)
	uplink := network.UplinkAuto
	if cfg.NoUplink {
		uplink = network.UplinkNone
	}
	slots, err := network.Open(ctx, network.Config{
		RunDir: filepath.Join(runDir, "net"), Instance: instance, Ahead: cfg.NetworkSlots,
		Uplink: uplink, Nameservers: cfg.Nameservers,
		SlotBandwidth: mbit(cfg.SandboxMbit), UplinkBandwidth: mbit(cfg.UplinkMbit),
		OnError:  func(err error) { cfg.Log.Warn("network", "error", err) },
		OnRepair: func(r network.Repair) { logRepair(cfg.Log, r) },
	})
	if err != nil {
		return nil, err
	}
	n.OnClose(slots.Close)
	n.Network = slots

	var atDriver func(step, id string)
	var atRuntime func(runtime.Step) error
	if die != nil {
		atDriver = func(step, _ string) { die(step) }
		atRuntime = func(step runtime.Step) error { die(string(step)); return nil }
	}
	driver, err := with.New(vm.Options{
		StateDir: dirs.DriverState(with.Name), RunDir: filepath.Join(runDir, "vm"), Instance: instance, Failpoint: atDriver, SetUID: hostbase.SetUID,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			addr, err := netip.ParseAddrPort(address)
			if err != nil {
				return nil, err
			}
			return slots.DialContext(ctx, addr)
		},
	})
	if err != nil {
		return nil, err
	}
	if closer, ok := driver.(io.Closer); ok {
		n.OnClose(func(context.Context) error { return closer.Close() })
	}
	n.Driver = driver

	total, err := host.Host{}.TotalBytes(dirs.StateDir)
	if err != nil {
		return nil, err
	}
	room := disk.Cached(host.Host{}, disk.CacheTTL, time.Now)
	supervision := cfg.Supervision
	supervision.Sample = runtime.HostSample(host.Host{}, room, dirs.StateDir, total)
	supervision.Limits = host.Host{}.Limits
	if counter, ok := driver.(taskCounter); ok {
		supervision.Limits = withTasks(supervision.Limits, counter.Tasks)
	}
	rt, err := runtime.Open(ctx, runtime.Config{
		Instance: instance, Ephemeral: cfg.Ephemeral, ScratchDir: filepath.Join(runDir, "scratch"), Driver: driver, Network: slotNetwork{slots, cfg.NoUplink}, Store: n.Store,
		Base: func(ctx context.Context) (runtime.Image, error) {
			return baseImage(ctx, dirs, cfg.Nameservers, cfg.Log)
		},
		HostStamp: func() string { return hostbase.HostStamp("/") },
		Prune:     func(_ context.Context, keep []string) error { return pruneBases(dirs, keep) },
		LockTemplates: func(ctx context.Context) (func(), error) {
			return statedir.AwaitLock(ctx, filepath.Join(dirs.StateDir, "templates.lock"))
		},
		Disk: room, DiskRoot: dirs.StateDir, Floors: runtime.FloorsFor(total),
		MaxPending: cfg.Capacity.Pending, MaxWait: cfg.Capacity.Wait, Shares: cfg.Shares, Warm: cfg.Warm, Size: cfg.Size, Supervision: supervision, Failpoint: atRuntime,
		Capacity: cfg.Capacity.budget(total), Latency: cfg.Latency, Tracer: cfg.Tracer, Log: cfg.Log, Progress: cfg.Progress, Recovering: cfg.Recovering,
	})
	if err != nil {
		return nil, err
	}
	n.Runtime = rt
	n.OnClose(func(context.Context) error { rt.Close(); return nil })
	return n, nil
}

// taskCounter is a driver that limits the processes and threads of the host that all
// its machines have; both figures are zero where nothing limits them.
type taskCounter interface {
	Tasks() (used, most int64)
}

// withTasks adds the limit of all sandboxes' processes to those of the host: it is
// met first.
func withTasks(limits func() ([]host.Limit, error), tasks func() (used, most int64)) func() ([]host.Limit, error) {
	return func() ([]host.Limit, error) {
		out, err := limits()
		used, most := tasks()
		return append(out, host.Limit{What: host.LackProcesses, Used: used, Max: most}), err
	}
}
