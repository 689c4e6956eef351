package vmtest_test

import (
	"context"
	"io"
	"net"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/memvm"
)

// broken is a driver with a defect: the calls that are set replace its own.
type broken struct {
	*memvm.Driver
	create   func(ctx context.Context, id string, spec vm.Spec) error
	start    func(ctx context.Context, id string) error
	stop     func(ctx context.Context, id string) error
	snapshot func(ctx context.Context, id, name string) error
	destroy  func(ctx context.Context, id string) error
	list     func(ctx context.Context) ([]vm.View, error)
	get      func(ctx context.Context, id string) (vm.View, bool, error)
	info     func() vm.Info
	rename   func(ctx context.Context, oldID, newID string) error
	dial     func(ctx context.Context, id string, port uint16) (net.Conn, error)
	console  func(ctx context.Context, id string, max int) ([]string, error)
	remove   func(ctx context.Context, id, name string) error
	adopt    func(ctx context.Context) ([]vm.View, map[string]string, error)
	wait     func(ctx context.Context, id string) (string, error)
	files    func(ctx context.Context, id, name string) error
	all      func(ctx context.Context) ([]vm.SnapshotInfo, error)
	inspect  func(ctx context.Context, id, name string) (vm.SnapshotInfo, error)
	stamp    func() vm.Stamp
	stats    func(ctx context.Context, id string) (vm.Stats, error)
	weigh    func(ctx context.Context, id string, weight int) error
	pageOut  func(ctx context.Context, id string) (int64, error)

	readLayer func(ctx context.Context, id string, largest int64, w io.Writer) error
}

func (b *broken) Unwrap() *memvm.Driver { return b.Driver }

func (b *broken) Create(ctx context.Context, id string, spec vm.Spec) error {
	if b.create != nil {
		return b.create(ctx, id, spec)
	}
	return b.Driver.Create(ctx, id, spec)
}

func (b *broken) Start(ctx context.Context, id string) error {
	if b.start != nil {
		return b.start(ctx, id)
	}
	return b.Driver.Start(ctx, id)
}

func (b *broken) Stop(ctx context.Context, id string) error {
	if b.stop != nil {
		return b.stop(ctx, id)
	}
	return b.Driver.Stop(ctx, id)
}

func (b *broken) Snapshot(ctx context.Context, id, name string) error {
	if b.snapshot != nil {
		return b.snapshot(ctx, id, name)
	}
	return b.Driver.Snapshot(ctx, id, name)
}

func (b *broken) Destroy(ctx context.Context, id string) error {
	if b.destroy != nil {
		return b.destroy(ctx, id)
	}
	return b.Driver.Destroy(ctx, id)
}

func (b *broken) List(ctx context.Context) ([]vm.View, error) {
	if b.list != nil {
		return b.list(ctx)
	}
	return b.Driver.List(ctx)
}

func (b *broken) Get(ctx context.Context, id string) (vm.View, bool, error) {
	if b.get != nil {
		return b.get(ctx, id)
	}
	return b.Driver.Get(ctx, id)
}

func (b *broken) Info() vm.Info {
	if b.info != nil {
		return b.info()
	}
	return b.Driver.Info()
}

func (b *broken) Rename(ctx context.Context, oldID, newID string) error {
	if b.rename != nil {
		return b.rename(ctx, oldID, newID)
	}
	return b.Driver.Rename(ctx, oldID, newID)
}

func (b *broken) Dial(ctx context.Context, id string, port uint16) (net.Conn, error) {
	if b.dial != nil {
		return b.dial(ctx, id, port)
	}
	return b.Driver.Dial(ctx, id, port)
}

func (b *broken) ConsoleTail(ctx context.Context, id string, max int) ([]string, error) {
	if b.console != nil {
		return b.console(ctx, id, max)
	}
	return b.Driver.ConsoleTail(ctx, id, max)
}

func (b *broken) DeleteSnapshot(ctx context.Context, id, name string) error {
	if b.remove != nil {
		return b.remove(ctx, id, name)
	}
	return b.Driver.DeleteSnapshot(ctx, id, name)
}

func (b *broken) Adopt(ctx context.Context) ([]vm.View, map[string]string, error) {
	if b.adopt != nil {
		return b.adopt(ctx)
	}
	return b.Driver.Adopt(ctx)
}

func (b *broken) Wait(ctx context.Context, id string) (string, error) {
	if b.wait != nil {
		return b.wait(ctx, id)
	}
	return b.Driver.Wait(ctx, id)
}

func (b *broken) SnapshotFilesystem(ctx context.Context, id, name string) error {
	if b.files != nil {
		return b.files(ctx, id, name)
	}
	return b.Driver.SnapshotFilesystem(ctx, id, name)
}

func (b *broken) Snapshots(ctx context.Context) ([]vm.SnapshotInfo, error) {
	if b.all != nil {
		return b.all(ctx)
	}
	return b.Driver.Snapshots(ctx)
}

func (b *broken) InspectSnapshot(ctx context.Context, id, name string) (vm.SnapshotInfo, error) {
	if b.inspect != nil {
		return b.inspect(ctx, id, name)
	}
	return b.Driver.InspectSnapshot(ctx, id, name)
}

func (b *broken) HostStamp() vm.Stamp {
	if b.stamp != nil {
		return b.stamp()
	}
	return b.Driver.HostStamp()
}

func (b *broken) Stats(ctx context.Context, id string) (vm.Stats, error) {
	if b.stats != nil {
		return b.stats(ctx, id)
	}
	return b.Driver.Stats(ctx, id)
}

func (b *broken) SetWeight(ctx context.Context, id string, weight int) error {
	if b.weigh != nil {
		return b.weigh(ctx, id, weight)
	}
	return b.Driver.SetWeight(ctx, id, weight)
}

func (b *broken) PageOut(ctx context.Context, id string) (int64, error) {
	if b.pageOut != nil {
		return b.pageOut(ctx, id)
	}
	return b.Driver.PageOut(ctx, id)
}

func (b *broken) ReadLayer(ctx context.Context, id string, largest int64, w io.Writer) error {
	if b.readLayer != nil {
		return b.readLayer(ctx, id, largest, w)
	}
	return b.Driver.ReadLayer(ctx, id, largest, w)
}
