package vmtest_test

import (
	"context"
	"slices"

	"github.com/rundlet/rundlet/vm"
)

// adopting changes what Adopt returns.
func adopting(change func(b *broken, views []vm.View, lost map[string]string) ([]vm.View, map[string]string)) func(b *broken) {
	return func(b *broken) {
		b.adopt = func(ctx context.Context) ([]vm.View, map[string]string, error) {
			views, lost, err := b.Driver.Adopt(ctx)
			views, lost = change(b, views, lost)
			return views, lost, err
		}
	}
}

// forgetting is an Adopt that keeps quiet about a machine.
func forgetting(id string) func(b *broken) {
	return adopting(func(_ *broken, views []vm.View, lost map[string]string) ([]vm.View, map[string]string) {
		return slices.DeleteFunc(views, func(v vm.View) bool { return v.ID == id }), lost
	})
}

// crashMutants leave something wrong behind when they die half-way.
var crashMutants = []mutant{
	{"a create that dies leaks", "crash/create", func(b *broken) {
		b.create = func(ctx context.Context, id string, spec vm.Spec) error {
			if id == "b" {
				leak(b)
			}
			return b.Driver.Create(ctx, id, spec)
		}
	}},
	{"adopt forgets a machine", "crash/restore", forgetting("a")},
	{"a half restore loses the snapshot", "crash/restore-without-resume", adopting(
		func(b *broken, views []vm.View, lost map[string]string) ([]vm.View, map[string]string) {
			_ = b.Driver.DeleteSnapshot(context.Background(), "a", "one")
			return views, lost
		})},
	{"adopt freezes a machine", "crash/boot-from-files", adopting(
		func(b *broken, views []vm.View, lost map[string]string) ([]vm.View, map[string]string) {
			_ = b.Driver.Stop(context.Background(), "a")
			views[0].Status = vm.StatusStopped
			return views, lost
		})},
	{"a half start loses the machine", "crash/start", adopting(
		func(b *broken, views []vm.View, lost map[string]string) ([]vm.View, map[string]string) {
			_ = b.Driver.Destroy(context.Background(), "b")
			lost["b"] = "its start was not complete"
			return slices.DeleteFunc(views, func(v vm.View) bool { return v.ID == "b" }), lost
		})},
	{"a half stop loses the memory", "crash/stop", adopting(
		func(b *broken, views []vm.View, lost map[string]string) ([]vm.View, map[string]string) {
			b.Driver.Guest("a").Set("k", "")
			return views, lost
		})},
	{"a half snapshot keeps its name", "crash/snapshot", halfSnapshot},
	{"a half snapshot leaves the machine frozen", "crash/snapshot", adopting(
		func(b *broken, views []vm.View, lost map[string]string) ([]vm.View, map[string]string) {
			_ = b.Driver.Stop(context.Background(), "a")
			views[0].Status = vm.StatusStopped
			return views, lost
		})},
	{"a half snapshot of files keeps its name", "crash/snapshot-of-files", halfSnapshot},
	{"a half rename has both ids", "crash/rename", adopting(
		func(_ *broken, views []vm.View, lost map[string]string) ([]vm.View, map[string]string) {
			return append(views, vm.View{ID: "y", Status: vm.StatusRunning}), lost
		})},
	{"a half destroy is reported without a reason", "crash/destroy", adopting(
		func(_ *broken, _ []vm.View, _ map[string]string) ([]vm.View, map[string]string) {
			return nil, map[string]string{"a": ""}
		})},
	{"the destruction of an idle machine waits", "hang/destroy-of-an-idle-machine-is-bounded", slowDestroy},
	{"a destroy waits longer than it says", "hang/destroy-wins-over-abandoned-stop", slowDestroy},
}

// halfSnapshot is a driver whose next value still has the name of a snapshot
// that was not finished.
func halfSnapshot(b *broken) {
	refuses := func(call func(ctx context.Context, id, name string) error) func(ctx context.Context, id, name string) error {
		return func(ctx context.Context, id, name string) error {
			if g := b.Driver.Guest(id); g != nil && g.Get("half") == name {
				return vm.ErrAlreadyExists
			} else if g != nil && name == "new" {
				g.Set("half", name)
			}
			return call(ctx, id, name)
		}
	}
	b.snapshot, b.files = refuses(b.Driver.Snapshot), refuses(b.Driver.SnapshotFilesystem)
}

// slowDestroy takes longer than the harness allows.
func slowDestroy(b *broken) {
	b.destroy = func(ctx context.Context, id string) error {
		ctx, cancel := context.WithTimeout(ctx, 2*limitOfMutants)
		defer cancel()
		<-ctx.Done()
		return b.Driver.Destroy(context.Background(), id)
	}
}
