package vmtest_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/memvm"
)

// ignoring turns errors of one class into success: a forgotten check.
func ignoring(class error, call func(context.Context, string) error) func(context.Context, string) error {
	return func(ctx context.Context, id string) error {
		if err := call(ctx, id); !errors.Is(err, class) {
			return err
		}
		return nil
	}
}

// mutants are the defects of which the suite must catch each.
var mutants = slices.Concat(basicMutants, snapshotMutants, hangMutants, honourMutants, crashMutants, weightMutants, pageOutMutants, readLayerMutants)

// mutant is a defect and a rule that must catch it.
type mutant struct {
	name, rule string
	plant      func(b *broken)
}

var basicMutants = []mutant{
	{"start forgets its transition check", "start/running-is-invalid-transition", func(b *broken) {
		b.start = ignoring(vm.ErrInvalidTransition, b.Driver.Start)
	}},
	{"stop forgets its transition check", "stop/created-is-invalid-transition", func(b *broken) {
		b.stop = ignoring(vm.ErrInvalidTransition, b.Driver.Stop)
	}},
	{"destroy is idempotent", "destroy/destroyed-is-invalid-transition", func(b *broken) {
		b.destroy = ignoring(vm.ErrInvalidTransition, b.Driver.Destroy)
	}},
	{"start of an unknown machine succeeds", "start/unknown-is-not-found", func(b *broken) {
		b.start = ignoring(vm.ErrNotFound, b.Driver.Start)
	}},
	{"create of a used id succeeds", "create/used-id-is-already-exists", func(b *broken) {
		b.create = func(ctx context.Context, id string, spec vm.Spec) error {
			return ignoring(vm.ErrAlreadyExists, func(ctx context.Context, id string) error {
				return b.Driver.Create(ctx, id, spec)
			})(ctx, id)
		}
	}},
	{"destroy takes the snapshots along", "destroy/snapshots-survive", func(b *broken) {
		b.destroy = func(ctx context.Context, id string) error {
			names, _, _ := b.Driver.ListSnapshots(ctx, id)
			for _, name := range names {
				_ = b.Driver.DeleteSnapshot(ctx, id, name)
			}
			return b.Driver.Destroy(ctx, id)
		}
	}},
	{"destroy heeds its context", "cancel/destroy-before-still-destroys", func(b *broken) {
		b.destroy = func(ctx context.Context, id string) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return b.Driver.Destroy(ctx, id)
		}
	}},
	{"destroy leaks", "destroy/created-leaves-nothing", func(b *broken) {
		b.destroy = func(ctx context.Context, id string) error {
			err := b.Driver.Destroy(ctx, id)
			if err == nil {
				leak(b)
			}
			return err
		}
	}},
	{"list is not sorted", "list/sorted-and-includes-destroyed", func(b *broken) {
		b.list = func(ctx context.Context) ([]vm.View, error) {
			views, err := b.Driver.List(ctx)
			slices.Reverse(views)
			return views, err
		}
	}},
	{"list forgets the destroyed", "list/sorted-and-includes-destroyed", func(b *broken) {
		b.list = func(ctx context.Context) ([]vm.View, error) {
			views, err := b.Driver.List(ctx)
			return slices.DeleteFunc(views, func(v vm.View) bool { return v.Status == vm.StatusDestroyed }), err
		}
	}},
	{"get of an unknown machine is an error", "get/unknown-is-none-not-an-error", func(b *broken) {
		b.get = func(ctx context.Context, id string) (vm.View, bool, error) {
			v, ok, err := b.Driver.Get(ctx, id)
			if !ok {
				err = vm.ErrNotFound
			}
			return v, ok, err
		}
	}},
	{"a failed create leaks", "failure/create-half-way-leaves-nothing", func(b *broken) {
		b.create = func(ctx context.Context, id string, spec vm.Spec) error {
			err := b.Driver.Create(ctx, id, spec)
			if errors.Is(err, errInjected) {
				leak(b)
			}
			return err
		}
	}},
	{"a refused spec leaks", "spec/fields-not-honoured-are-refused-before-any-effect", func(b *broken) {
		b.create = func(ctx context.Context, id string, spec vm.Spec) error {
			err := b.Driver.Create(ctx, id, spec)
			if errors.Is(err, vm.ErrUnsupported) {
				leak(b)
			}
			return err
		}
	}},
	{"a spec field is dropped silently", "spec/fields-not-honoured-are-refused-before-any-effect", func(b *broken) {
		b.create = func(ctx context.Context, id string, spec vm.Spec) error {
			spec.Vsock = nil
			return b.Driver.Create(ctx, id, spec)
		}
	}},
	{"network overrides are ignored", "create/restore-does-not-ignore-network-overrides", func(b *broken) {
		b.create = func(ctx context.Context, id string, spec vm.Spec) error {
			if ref := spec.RestoreFrom; ref != nil {
				spec.RestoreFrom = &vm.SnapshotRef{VMID: ref.VMID, SnapshotID: ref.SnapshotID, ResumeImmediately: ref.ResumeImmediately}
			}
			return b.Driver.Create(ctx, id, spec)
		}
	}},
	{"restore refuses cold boot fields", "create/restore-ignores-cold-boot-fields", func(b *broken) {
		b.create = func(ctx context.Context, id string, spec vm.Spec) error {
			if spec.Kernel != "" {
				return vm.ErrUnsupported
			}
			return b.Driver.Create(ctx, id, spec)
		}
	}},
	{"restore does not resume", "restore/resume-immediately-is-running", func(b *broken) {
		b.create = func(ctx context.Context, id string, spec vm.Spec) error {
			if ref := spec.RestoreFrom; ref != nil {
				spec.RestoreFrom = &vm.SnapshotRef{VMID: ref.VMID, SnapshotID: ref.SnapshotID, NetworkOverrides: ref.NetworkOverrides}
			}
			return b.Driver.Create(ctx, id, spec)
		}
	}},
	{"a taken snapshot name is replaced", "snapshot/name-taken-is-already-exists", func(b *broken) {
		b.snapshot = func(ctx context.Context, id, name string) error {
			_ = b.Driver.DeleteSnapshot(ctx, id, name)
			return b.Driver.Snapshot(ctx, id, name)
		}
	}},
	{"a snapshot stops the machine", "snapshot/running-goes-on-running", func(b *broken) {
		b.snapshot = func(ctx context.Context, id, name string) error {
			_ = b.Driver.Stop(ctx, id)
			return b.Driver.Snapshot(ctx, id, name)
		}
	}},
	{"a snapshot saves no memory", "restore/without-resume-is-stopped-until-start", func(b *broken) {
		b.snapshot = func(ctx context.Context, id, name string) error {
			if g := b.Driver.Guest(id); g != nil {
				was := g.Get("k")
				g.Set("k", "")
				defer g.Set("k", was)
			}
			return b.Driver.Snapshot(ctx, id, name)
		}
	}},
	{"info promises too much", "info/capabilities-agree-with-interfaces", func(b *broken) {
		b.info = func() vm.Info {
			i := b.Driver.Info()
			i.Capabilities = append(i.Capabilities, "warp")
			return i
		}
	}},
	{"info hides a capability", "info/capabilities-agree-with-interfaces", func(b *broken) {
		b.info = func() vm.Info {
			i := b.Driver.Info()
			i.Capabilities = i.Capabilities[1:]
			return i
		}
	}},
	{"rename onto a used id succeeds", "rename/new-id-used-is-already-exists", func(b *broken) {
		b.rename = func(ctx context.Context, oldID, newID string) error {
			return ignoring(vm.ErrAlreadyExists, func(ctx context.Context, id string) error {
				return b.Driver.Rename(ctx, id, newID)
			})(ctx, oldID)
		}
	}},
	{"rename leaves the snapshots behind", "rename/snapshots-travel", func(b *broken) {
		b.rename = func(ctx context.Context, oldID, newID string) error {
			names, _, _ := b.Driver.ListSnapshots(ctx, oldID)
			err := b.Driver.Rename(ctx, oldID, newID)
			for _, name := range names {
				_ = b.Driver.DeleteSnapshot(ctx, newID, name)
			}
			return err
		}
	}},
	{"dial reaches a stopped machine", "dial/not-running-is-invalid-transition", func(b *broken) {
		b.dial = func(ctx context.Context, id string, port uint16) (net.Conn, error) {
			c, err := b.Driver.Dial(ctx, id, port)
			if errors.Is(err, vm.ErrInvalidTransition) {
				c, other := net.Pipe()
				other.Close()
				return c, nil
			}
			return c, err
		}
	}},
	{"the console tail is the head", "console/newest-lines-oldest-first", func(b *broken) {
		b.console = func(ctx context.Context, id string, max int) ([]string, error) {
			lines, err := b.Driver.ConsoleTail(ctx, id, 0)
			if max > 0 && len(lines) > max {
				lines = lines[:max]
			}
			return lines, err
		}
	}},
	{"delete of a missing snapshot is an error", "delete-snapshot/idempotent", func(b *broken) {
		b.remove = func(ctx context.Context, id, name string) error {
			if names, _, _ := b.Driver.ListSnapshots(ctx, id); !slices.Contains(names, name) && vm.ValidateSnapshotID(name) == nil {
				return vm.ErrNotFound
			}
			return b.Driver.DeleteSnapshot(ctx, id, name)
		}
	}},
	{"delete does nothing", "delete-snapshot/removes-name-and-files", func(b *broken) {
		b.remove = func(context.Context, string, string) error { return nil }
	}},
	{"adopt keeps the dead", "adopt/dead-is-freed-and-reported", func(b *broken) {
		b.adopt = func(ctx context.Context) ([]vm.View, map[string]string, error) {
			views, _, err := b.Driver.Adopt(ctx)
			return views, nil, err
		}
	}},
	{"wait says nothing about destroy", "wait/returns-destroyed-on-destroy", func(b *broken) {
		b.wait = func(ctx context.Context, id string) (string, error) {
			reason, err := b.Driver.Wait(ctx, id)
			return strings.TrimPrefix(reason, "destroyed"), err
		}
	}},
	{"start checks before its turn", "concurrency/start-has-one-winner", func(b *broken) {
		var calls atomic.Int32
		meet := make(chan struct{})
		b.start = func(ctx context.Context, id string) error {
			// The first two calls both see the machine as it was.
			switch calls.Add(1) {
			case 1:
				<-meet
			case 2:
				close(meet)
			default:
				return b.Driver.Start(ctx, id)
			}
			return ignoring(vm.ErrInvalidTransition, b.Driver.Start)(ctx, id)
		}
	}},
	{"machines share one lock", "concurrency/different-machines-do-not-wait-for-each-other", func(b *broken) {
		var mu sync.Mutex
		b.stop = func(ctx context.Context, id string) error {
			mu.Lock()
			defer mu.Unlock()
			return b.Driver.Stop(ctx, id)
		}
		b.start = func(ctx context.Context, id string) error {
			mu.Lock()
			defer mu.Unlock()
			return b.Driver.Start(ctx, id)
		}
	}},
	{"queries wait for calls", "query/never-waits-for-a-lifecycle-call", func(b *broken) {
		var mu sync.Mutex
		b.stop = func(ctx context.Context, id string) error {
			mu.Lock()
			defer mu.Unlock()
			return b.Driver.Stop(ctx, id)
		}
		b.get = func(ctx context.Context, id string) (vm.View, bool, error) {
			mu.Lock()
			defer mu.Unlock()
			return b.Driver.Get(ctx, id)
		}
	}},
	{"a destroyed id is free again", "create/destroyed-id-stays-used", func(b *broken) {
		b.create = func(ctx context.Context, id string, spec vm.Spec) error {
			if v, _, _ := b.Driver.Get(ctx, id); v.Status == vm.StatusDestroyed {
				return nil
			}
			return b.Driver.Create(ctx, id, spec)
		}
	}},
	{"a cancelled rename takes the new id", "cancel/rename-half-way-is-old-or-new", func(b *broken) {
		b.rename = func(ctx context.Context, oldID, newID string) error {
			err := b.Driver.Rename(ctx, oldID, newID)
			if err != nil && ctx.Err() != nil {
				_ = b.Driver.Create(context.WithoutCancel(ctx), newID, vm.Spec{})
			}
			return err
		}
	}},
	{"a cancelled create stays", "cancel/create-before-leaves-nothing", func(b *broken) {
		b.create = func(ctx context.Context, id string, spec vm.Spec) error {
			if err := ctx.Err(); err != nil {
				_ = b.Driver.Create(context.WithoutCancel(ctx), id, spec)
				return err
			}
			return b.Driver.Create(ctx, id, spec)
		}
	}},
}

// leak leaves an object on the host.
func leak(b *broken) {
	other := memvm.New(memvm.Options{Host: b.Driver.Host()})
	_ = other.Create(context.Background(), "leaked", vm.Spec{})
}
