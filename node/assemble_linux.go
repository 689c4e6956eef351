package node

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/image/hostbase"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/network"
	"github.com/rundlet/rundlet/node/failpoint"
	"github.com/rundlet/rundlet/node/roots"
	"github.com/rundlet/rundlet/node/statedir"
	"github.com/rundlet/rundlet/policy/disk"
	"github.com/rundlet/rundlet/policy/limits"
	"github.com/rundlet/rundlet/runtime"
	"github.com/rundlet/rundlet/runtime/pool"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/runtime/supervise"
	"github.com/rundlet/rundlet/vm"
)

// assembly is a node that is being put together, from the bottom to the top. Each
// step opens one part, and has Close take it apart again.
type assembly struct {
	*Node
	cfg      Config
	instance string
	runDir   string // Of the instance.
	node     string // Its id: see store.Settings.NodeID.
	// authority is the certificate that sandboxes with header rules trust; empty if the node has none.
	authority string
	// die ends the process at the step that a test asked for; nil if none did.
	die func(step string)
}

// assemble builds the node of an instance whose lock the caller holds.
func assemble(ctx context.Context, driver vm.Driver, dirs layout.Layout, instance string, cfg Config) (_ *Node, err error) {
	a := assembly{Node: &Node{Dirs: dirs}, cfg: cfg, instance: instance, runDir: dirs.InstanceDir(instance)}
	if a.die, err = failpoint.Of(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			a.Close(LeaveAll)
		}
	}()
	if err := a.openStore(ctx); err != nil {
		return nil, err
	}
	if err := hostbase.Mend(dirs.Base()); err != nil {
		return nil, err
	}
	if err := a.openNetwork(ctx); err != nil {
		return nil, err
	}
	if err := a.openDriver(driver); err != nil {
		return nil, err
	}
	if err := a.openRuntime(ctx); err != nil {
		return nil, err
	}
	return a.Node, nil
}

func (a *assembly) openStore(ctx context.Context) (err error) {
	if a.Store, err = statedir.OpenDatabase(ctx, a.Dirs); err != nil {
		return err
	}
	a.OnClose(func(context.Context) error { return a.Store.Close() })
	if a.node, err = a.Store.Settings.NodeID(ctx); err != nil {
		return err
	}
	if a.cfg.Opened != nil {
		return a.cfg.Opened(a.Store)
	}
	return nil
}

func (a *assembly) openNetwork(ctx context.Context) (err error) {
	uplink := network.UplinkAuto
	if a.cfg.NoUplink {
		uplink = network.UplinkNone
	}
	named := 0
	if descriptors, err := host.Descriptors(); err == nil {
		named = limits.Divide(descriptors).Named
	}
	certify := a.openEgress()
	a.Network, err = network.Open(ctx, network.Config{
		Certify: certify,
		RunDir:  filepath.Join(a.runDir, "net"), Instance: a.instance, Ahead: a.cfg.NetworkSlots,
		Uplink: uplink, Nameservers: a.cfg.Nameservers, Denied: a.cfg.Denied, NamedConnections: named,
		SlotBandwidth: mbit(a.cfg.SandboxMbit), UplinkBandwidth: mbit(a.cfg.UplinkMbit),
		OnError:  func(err error) { a.cfg.Log.Warn("network", "error", err) },
		OnRepair: func(r network.Repair) { logRepair(a.cfg.Log, r) },
	})
	if err != nil {
		return err
	}
	a.OnClose(a.Network.Close)
	return nil
}

func (a *assembly) openDriver(d vm.Driver) (err error) {
	opts := vm.Options{
		StateDir: a.Dirs.DriverState(d.Name), Kernels: a.Dirs.Kernels(), RunDir: filepath.Join(a.runDir, "vm"), Instance: a.instance, SetUID: hostbase.SetUID,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			addr, err := netip.ParseAddrPort(address)
			if err != nil {
				return nil, err
			}
			return a.Network.DialContext(ctx, addr)
		},
	}
	if a.die != nil {
		opts.Failpoint = func(step, _ string) { a.die(step) }
	}
	if a.Driver, err = d.New(opts); err != nil {
		return err
	}
	if closer, ok := a.Driver.(io.Closer); ok {
		a.OnClose(func(context.Context) error { return closer.Close() })
	}
	return nil
}

func (a *assembly) openRuntime(ctx context.Context) error {
	driver := a.Driver.Info().Driver
	if !a.cfg.Ephemeral {
		if err := a.Store.FillOwner(ctx, a.node, driver); err != nil {
			return err
		}
		other, err := a.Store.OtherDriver(ctx, driver)
		if err != nil {
			return err
		}
		if other != "" { // What is saved would be taken for lost.
			return &vm.Error{Op: "open " + a.Dirs.StateDir, Kind: vm.ErrIncompatible, Err: fmt.Errorf("it has sandboxes or templates of the driver %s; this is %s", other, driver),
				Hint: "use that driver, or another state directory (--state-dir)"}
		}
		a.cfg.Log.Info("node opened", "node_id", a.node, "driver", driver)
	}
	total, err := host.Host{}.TotalBytes(a.Dirs.StateDir)
	if err != nil {
		return err
	}
	probe := disk.Cached(host.Host{}, disk.CacheTTL, time.Now)
	supervision := a.cfg.Supervision
	supervision.Sample = supervise.HostSample(host.Host{}, probe, a.Dirs.StateDir, total)
	supervision.Limits, supervision.Swap = host.Host{}.Limits, host.Host{}.Swap
	if counter, ok := a.Driver.(taskCounter); ok {
		supervision.Limits = withTasks(supervision.Limits, counter.Tasks)
	}
	root, err := roots.Open(ctx, roots.Config{
		Dirs: a.Dirs, Store: a.Store, Nameservers: a.cfg.Nameservers, Mirrors: a.cfg.Mirrors, PrivateRegistries: a.cfg.PrivateRegistries,
		BaseImage: a.cfg.BaseImage, ImagesOnly: a.Driver.Info().RootImage, BaseContainer: a.cfg.BaseContainer, Ephemeral: a.cfg.Ephemeral, Log: a.cfg.Log,
	})
	if err != nil {
		return err
	}
	a.OnClose(root.Close)
	cfg := runtime.Config{
		Uploads: a.Dirs.Uploads(), Image: root.Image, HasImage: root.HasImage, Hold: root.Hold, Fold: root.Fold,
		Instance: a.instance, Node: a.node, Ephemeral: a.cfg.Ephemeral, ScratchDir: filepath.Join(a.runDir, "scratch"),
		Driver: a.Driver, Network: slotNetwork{a.Network, a.cfg.NoUplink}, Store: a.Store,
		Base: root.Base, BaseUnlocked: a.cfg.BaseContainer != "", HostStamp: root.Stamp, Prune: root.Prune,
		LockTemplates: func(ctx context.Context) (func(), error) {
			return statedir.AwaitLock(ctx, filepath.Join(a.Dirs.StateDir, "templates.lock"))
		},
		Disk: probe, DiskRoot: a.Dirs.StateDir, Floors: disk.FloorsFor(total),
		Capacity: a.cfg.Capacity.budget(total), MaxPending: a.cfg.Capacity.Pending, MaxWait: a.cfg.Capacity.Wait, Shares: a.cfg.Shares,
		Authority: a.authority, Warm: a.cfg.Warm, WarmTemplates: warmTemplates(a.cfg), Size: a.cfg.Size, Supervision: supervision,
		Latency: a.cfg.Latency, Tracer: a.cfg.Tracer, Log: a.cfg.Log, Progress: a.cfg.Progress, Recovering: a.cfg.Recovering,
	}
	if a.die != nil {
		cfg.Failpoint = func(s step.Step) error { a.die(string(s)); return nil }
	}
	rt, err := runtime.Open(ctx, cfg)
	if err != nil {
		return err
	}
	a.Runtime = rt
	a.OnClose(func(context.Context) error { rt.Close(); return nil })
	return nil
}

// warmTemplates are the targets of templates that clients build: as old as those of the base, at most.
func warmTemplates(cfg Config) map[string]pool.Target {
	targets := map[string]pool.Target{}
	for name, ready := range cfg.WarmTemplates {
		targets[name] = pool.Target{Ready: ready, MaxAge: cfg.Warm.MaxAge}
	}
	return targets
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
