package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rundlet/rundlet/agent/embedded"
	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/image/hostbase"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/network"
	"github.com/rundlet/rundlet/policy/disk"
	"github.com/rundlet/rundlet/runtime"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor"
)

func dispatch() bool { return gvisor.Dispatch() }

// openNode wires the packages of a node, from the bottom to the top.
func openNode(ctx context.Context, dirs layout.Layout, opts nodeOptions) (_ *node, err error) {
	if os.Geteuid() != 0 {
		return nil, &vm.Error{Op: "open node", Kind: vm.ErrUnsupported,
			Err: fmt.Errorf("sandboxes need root for namespaces and control groups"), Hint: "run it with sudo"}
	}
	lock := lockState
	if opts.ephemeral {
		lock = shareState
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
	if dirs, err = underItsPath(ctx, dirs); err != nil {
		return nil, err
	}
	instance := dirs.Instance()
	if opts.ephemeral {
		instance = newEphemeral()
	} else if err := refuseAnotherRunDir(dirs); err != nil {
		return nil, err
	}
	if !opts.acceptEmpty {
		if err := refuseEmptyDatabase(ctx, dirs); err != nil {
			return nil, err
		}
	}
	unlock, err := lockInstance(dirs, instance)
	if err != nil {
		return nil, err
	}
	sweepEphemeral(ctx, dirs, opts)
	n, err := assemble(ctx, dirs, instance, opts)
	if err != nil {
		unlock()
		return nil, err
	}
	n.closers = append([]func(context.Context) error{func(context.Context) error {
		if opts.ephemeral {
			os.RemoveAll(dirs.InstanceDir(instance))
		}
		unlock()
		unlockState()
		return nil
	}}, n.closers...)
	return n, nil
}

// assemble builds the stack of an instance whose lock the caller holds.
func assemble(ctx context.Context, dirs layout.Layout, instance string, opts nodeOptions) (_ *node, err error) {
	n := &node{}
	die, err := failpoint()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			n.Close(leaveAll)
		}
	}()
	if n.store, err = openDatabase(ctx, dirs); err != nil {
		return nil, err
	}
	n.onClose(func(context.Context) error { return n.store.Close() })
	if opts.opened != nil {
		if err := opts.opened(n.store); err != nil {
			return nil, err
		}
	}

	if err := hostbase.Mend(baseDir(dirs)); err != nil {
		return nil, err
	}
	runDir := dirs.InstanceDir(instance)
	uplink := network.UplinkAuto
	if opts.noUplink {
		uplink = network.UplinkNone
	}
	nameservers, err := addresses(opts.nameservers)
	if err != nil {
		return nil, err
	}
	slots, err := network.Open(ctx, network.Config{
		RunDir: filepath.Join(runDir, "net"), Instance: instance, Ahead: opts.ahead,
		Uplink: uplink, Nameservers: nameservers,
		SlotBandwidth: mbit(opts.sandboxMbit), UplinkBandwidth: mbit(opts.uplinkMbit),
		OnError:  func(err error) { opts.log.Warn("network", "error", err) },
		OnRepair: func(r network.Repair) { logRepair(opts.log, r) },
	})
	if err != nil {
		return nil, err
	}
	n.onClose(slots.Close)
	n.network = slots

	var atDriver func(step, id string)
	var atRuntime func(step.Step) error
	if die != nil {
		atDriver = func(step, _ string) { die(step) }
		atRuntime = func(step step.Step) error { die(string(step)); return nil }
	}
	driver, err := gvisor.New(gvisor.Config{
		StateDir: dirs.DriverState("gvisor"), RunDir: filepath.Join(runDir, "vm"), Instance: instance, Failpoint: atDriver, SetUID: hostbase.SetUID,
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
	n.onClose(func(context.Context) error { return driver.Close() })
	n.driver = driver

	total, err := host.Host{}.TotalBytes(dirs.StateDir)
	if err != nil {
		return nil, err
	}
	room := disk.Cached(host.Host{}, disk.CacheTTL, time.Now)
	supervision := opts.supervision
	supervision.Sample = runtime.HostSample(host.Host{}, room, dirs.StateDir, total)
	supervision.Limits = withTasks(host.Host{}.Limits, driver.Tasks)
	rt, err := runtime.Open(ctx, runtime.Config{
		Instance: instance, Ephemeral: opts.ephemeral, ScratchDir: filepath.Join(runDir, "scratch"), Driver: driver, Network: slotNetwork{slots, opts.noUplink}, Store: n.store,
		Base: func(ctx context.Context) (runtime.Image, error) {
			return baseImage(ctx, dirs, opts.nameservers, opts.log)
		},
		HostStamp: func() string { return hostbase.HostStamp("/") },
		Prune:     func(_ context.Context, keep []string) error { return pruneBases(dirs, keep) },
		LockTemplates: func(ctx context.Context) (func(), error) {
			return awaitLock(ctx, filepath.Join(dirs.StateDir, "templates.lock"))
		},
		Disk: room, DiskRoot: dirs.StateDir, Floors: disk.FloorsFor(total),
		MaxPending: opts.capacity.pending, MaxWait: opts.capacity.wait, Shares: opts.shares, Warm: opts.warm, Size: opts.size, Supervision: supervision, Failpoint: atRuntime,
		Capacity: opts.capacity.budget(total), Latency: opts.latency, Tracer: opts.tracer, Log: opts.log, Progress: opts.progress, Recovering: opts.recovering,
	})
	if err != nil {
		return nil, err
	}
	n.runtime = rt
	n.onClose(func(context.Context) error { rt.Close(); return nil })
	return n, nil
}

func addresses(texts []string) (out []netip.Addr, err error) {
	for _, text := range texts {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("--nameserver: %w", err)
		}
		out = append(out, addr)
	}
	return out, nil
}

// baseImage makes the root file system of "base" out of the host's /usr.
func baseImage(ctx context.Context, dirs layout.Layout, nameservers []string, log *slog.Logger) (runtime.Image, error) {
	if err := os.MkdirAll(dirs.AgentDir(), 0o700); err != nil {
		return runtime.Image{}, err
	}
	agent, err := embedded.Extract(dirs.AgentDir())
	if err != nil {
		return runtime.Image{}, err
	}
	base, err := hostbase.Build(ctx, hostbase.Config{Dir: baseDir(dirs), AgentPath: agent, Nameservers: nameservers})
	if err != nil {
		return runtime.Image{}, err
	}
	if len(base.Changed) > 0 {
		log.Info("configuration files of packages were changed on this host and are not in the base", "files", base.Changed)
	}
	return runtime.Image{
		Spec:  vm.Spec{Rootfs: base.Rootfs, Mounts: base.Mounts, Args: base.Args, Env: base.Env, Cwd: "/"},
		Stamp: base.ID,
	}, nil
}

func baseDir(dirs layout.Layout) string { return filepath.Join(dirs.Templates(), "base") }

// pruneBases removes every base but those with these roots, by whatever path.
func pruneBases(dirs layout.Layout, keep []string) error {
	ids, err := hostbase.List(baseDir(dirs))
	for _, id := range ids {
		if !slices.ContainsFunc(keep, func(root string) bool { return filepath.Base(root) == id }) {
			err = errors.Join(err, hostbase.Remove(baseDir(dirs), id))
		}
	}
	return err
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

// logRepair reports what other programs took from the network.
func logRepair(log *slog.Logger, r network.Repair) {
	fields := []any{"lost", strings.Join(r.Lost, ",")}
	if r.By != "" {
		fields = append(fields, "changed_by", r.By)
	}
	switch {
	case r.Err != nil:
		log.Error("network lost and not repaired; sandboxes reach nothing new by it", append(fields, "error", r.Err)...)
	case r.Next > 0:
		log.Error("another program undoes the repairs of the network", append(fields, "next_repair", r.Next.Round(time.Millisecond).String())...)
	default:
		log.Warn("network lost and repaired", fields...)
	}
}

// slotNetwork is the network package as the runtime wants it.
type slotNetwork struct {
	*network.Network
	noUplink bool
}

func (s slotNetwork) Acquire(ctx context.Context, allowInternet bool) (runtime.Slot, error) {
	slot, err := s.Network.Acquire(ctx, network.Policy{AllowInternet: allowInternet && !s.noUplink})
	if err != nil {
		return runtime.Slot{}, err
	}
	return runtime.Slot{ID: slot.ID, NetNS: slot.NetNS, GuestIP: slot.GuestIP}, nil
}

// Release gives the slot to the network's own background: its removal waits for
// the kernel, and nothing runs in it any more.
func (s slotNetwork) Release(_ context.Context, slotID string) error { return s.Network.Retire(slotID) }

func (s slotNetwork) SetInternet(ctx context.Context, slotID string, allow bool) error {
	return s.Network.SetPolicy(ctx, slotID, network.Policy{AllowInternet: allow && !s.noUplink})
}

// Leased implements runtime.SlotLister.
func (s slotNetwork) Leased(context.Context) ([]runtime.Slot, error) {
	slots, err := s.Network.Leased()
	out := make([]runtime.Slot, len(slots))
	for i, slot := range slots {
		out[i] = runtime.Slot{ID: slot.ID, NetNS: slot.NetNS, GuestIP: slot.GuestIP}
	}
	return out, err
}

var (
	_ runtime.SlotLister   = slotNetwork{}
	_ runtime.PathChecker  = slotNetwork{}
	_ runtime.SelfRepairer = slotNetwork{}
)

// mbit is a bandwidth in bytes per second.
func mbit(megabits uint) uint64 { return uint64(megabits) * 1e6 / 8 }
